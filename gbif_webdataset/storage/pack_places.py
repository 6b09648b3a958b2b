"""Where the packs of all chunks have their images, by queries on the indexes."""

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.chunks import index_name, list_indexes, list_packed_chunks, pack_folder_name
from gbif_webdataset.storage.pack_index import ADDED, REMOVED, find_damaged_line

_COLUMNS = ("path", "pack", "position", "size", "sha256", "action", "checksum")


class Place(NamedTuple):
    """An image in a pack of a chunk: where its bytes begin, and how many they are."""

    chunk: int
    pack: int
    offset: int
    size: int

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The place that a column `place` names."""
        return cls(*map(int, text.split("/")))


def locate_pack(place: Place) -> Path:
    """The path of a pack below images/."""
    return Path(pack_folder_name(place.chunk)) / f"{place.pack:03d}.tar"


def create_places(connection: duckdb.DuckDBPyConnection, images: Path, table: str = "") -> None:
    """Create the table `packed`: image_path, chunk, pack, position, size, sha256 and place of all images in packs.

    With `table`, only images whose image_path is in it. An image that is in several chunks has several rows; so has
    one that a later image at its path replaced: the later one has the greater `pack` or `position`.

    Raises:
        DamagedFileError: an index is damaged, or missing beside packs.
    """
    _check_indexes(images)
    files = ", ".join(tables.quote_text(str(path)) for path in list_indexes(images))
    if not files:
        connection.execute(
            "CREATE TABLE packed (image_path VARCHAR, chunk INT, pack INT, position BIGINT, size BIGINT, "
            "sha256 VARCHAR, place VARCHAR)"
        )
        return
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in _COLUMNS)
    chosen = f"SEMI JOIN {table} ON path = {table}.image_path" if table else ""
    connection.execute(f"""CREATE TABLE packed AS WITH line AS MATERIALIZED (
            SELECT path, action, sha256, regexp_extract(filename, 'chunk-(\\d+)\\.idx$', 1)::INT AS chunk,
                TRY_CAST(pack AS INT) AS pack, TRY_CAST(position AS BIGINT) AS position,
                TRY_CAST(size AS BIGINT) AS size
            FROM read_csv([{files}], header = false, auto_detect = false, delim = '\t', quote = '', escape = '',
                new_line = '\\n', ignore_errors = true, filename = true, hive_partitioning = false,
                columns = {{{types}}}) {chosen})
        SELECT path AS image_path, chunk, pack, position, size, sha256,
            concat_ws('/', chunk, pack, position, size) AS place
        FROM (SELECT * FROM line WHERE action = '{ADDED}')
        ANTI JOIN (SELECT * FROM line WHERE action = '{REMOVED}') AS removed USING (chunk, pack, position)
        WHERE position IS NOT NULL AND pack IS NOT NULL AND size IS NOT NULL""")


def _check_indexes(images: Path) -> None:
    for chunk in list_packed_chunks(images):
        path = images / index_name(chunk)
        number = find_damaged_line(path) if path.exists() else 0
        if number is not None:
            raise DamagedFileError.of_list(f"{path}, line {number}" if number else path)


def find_ends(images: Path) -> dict[tuple[int, int], int]:
    """Where the bytes of the last image of each pack end, by chunk and pack; packs without images are left out."""
    with closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar = false")
        create_places(connection, images)
        query = "SELECT chunk, pack, max(position + size) FROM packed GROUP BY chunk, pack"
        return {(chunk, pack): end for chunk, pack, end in tables.fetch_rows(connection, query)}


def find_places(images: Path, image_paths: Collection[str] | None) -> dict[str, list[Place]]:
    """The places of these images, or of all, in packs; of several at a path the latest of each chunk comes first.

    Raises:
        DamagedFileError: an index is damaged, or missing beside packs.
    """
    if not list_packed_chunks(images):
        return {}
    with closing(duckdb.connect()) as connection:
        connection.execute("SET enable_progress_bar = false")
        if image_paths is not None:
            chosen = pa.table([arrow.to_text_array(list(image_paths))], ["image_path"])
            connection.register("chosen", chosen)
        create_places(connection, images, "chosen" if image_paths is not None else "")
        query = (
            "SELECT image_path, chunk, pack, position, size FROM packed ORDER BY image_path, pack DESC, position DESC"
        )
        places: dict[str, list[Place]] = {}
        for path, *place in tables.fetch_rows(connection, query):
            places.setdefault(path, []).append(Place(*place))
        return places
