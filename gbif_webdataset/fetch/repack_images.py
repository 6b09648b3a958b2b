"""Move images in packs to the chunks of a new manifest, by copying, so that nothing is downloaded twice."""

import contextlib
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb

from gbif_webdataset.storage import tables
from gbif_webdataset.storage.chunks import index_name, list_packed_chunks, pack_folder_name
from gbif_webdataset.storage.image_store import is_packed
from gbif_webdataset.storage.pack_places import create_places
from gbif_webdataset.storage.pack_store import PackStore, restore_indexes
from gbif_webdataset.terms.outcomes import Status


def repack_images(connection: duckdb.DuckDBPyConnection, images: Path, chunks: int, pack_bytes: int) -> None:
    """Move each image in packs to the chunks for which the table `assigned` has its outcome.

    Images that no chunk needs are kept, in one of the `chunks` chunks. One chunk after the other is copied to the
    others, and then its images are removed; after a crash every image is in at least one of both.
    """
    restore_indexes(images)
    sources = list_packed_chunks(images)
    if not sources:
        return
    _plan_moves(connection, images, chunks)
    targets: dict[int, PackStore] = {}
    for source in sources:
        store = PackStore(images, source, pack_bytes)
        for target, paths in _list_copies(connection, source):
            if target not in targets:
                targets[target] = PackStore(images, target, pack_bytes)
            with targets[target].writing():
                for path in paths:
                    targets[target].put_bytes(path, store.read(path))
            targets[target].forget_index()
        query = f"SELECT image_path FROM move WHERE source = {source} GROUP BY 1 HAVING bool_and(target <> source)"
        moved = [path for (path,) in tables.fetch_rows(connection, query)]
        if moved:
            store = targets.get(source, store)
            with store.writing():
                store.writer.discard(moved)
            store.forget_index()
        if source >= chunks:
            _delete_empty_store(images, source)
    if not is_packed(images, 0):
        (images / index_name(0)).touch()  # the dataset remains packed, even without an image


def _plan_moves(connection: duckdb.DuckDBPyConnection, images: Path, chunks: int) -> None:
    """Fill the table `move`: the chunks where each packed image has to be, and whether it is there already."""
    create_places(connection, images)
    connection.execute(f"""CREATE TABLE move AS
        WITH present AS (SELECT * FROM packed
            QUALIFY row_number() OVER (PARTITION BY chunk, image_path ORDER BY pack DESC, position DESC) = 1),
        needed AS (SELECT DISTINCT chunk, image_path, sha256 FROM assigned
            WHERE chunk IS NOT NULL AND status <> '{Status.FAILED}')
        SELECT present.chunk AS source, present.image_path, pack, position, present.sha256,
            coalesce(needed.chunk, present.chunk % {chunks}) AS target
        FROM present LEFT JOIN needed USING (image_path, sha256)""")
    connection.execute("""CREATE TABLE copy AS SELECT source, target, image_path, pack, position FROM move
        ANTI JOIN packed ON packed.chunk = move.target AND packed.image_path = move.image_path
            AND packed.sha256 = move.sha256
        QUALIFY row_number() OVER (PARTITION BY target, image_path ORDER BY source) = 1""")


def _list_copies(connection: duckdb.DuckDBPyConnection, source: int) -> list[tuple[int, list[str]]]:
    """For each chunk that needs images of the chunk `source`, their paths in the order of the packs."""
    query = f"SELECT target, image_path FROM copy WHERE source = {source} ORDER BY target, pack, position"
    rows = tables.fetch_rows(connection, query)
    return [(target, [path for _, path in some]) for target, some in groupby(rows, key=itemgetter(0))]


def _delete_empty_store(images: Path, chunk: int) -> None:
    with contextlib.suppress(OSError):  # a folder that is not empty is left to the user
        (images / pack_folder_name(chunk)).rmdir()
        (images / index_name(chunk)).unlink()
