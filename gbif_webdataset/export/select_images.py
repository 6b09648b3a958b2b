"""The images of a dataset that meet a condition on the columns of its ledgers and verified tables."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.read.where_clause import Subject, WhereClause
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.chunks import parse_chunk_name
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.outcomes import Status

IMAGES = Subject("--where", "image", "images")
BATCH_ROWS = 4_096


def select_images(paths: DatasetPaths, where: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each chunk, and the paths of its downloaded images for which `where` is true, in several batches.

    `where` is an SQL condition; if it is empty, all images are selected. Its columns are those of the verified tables
    if all chunks are verified, or else those of the ledgers. All of them are text.

    Raises:
        MissingPieceError: nothing was downloaded.
        ParameterError: `where` is not a condition on these columns.
    """
    tables = _list_tables(paths)
    clause = WhereClause(where, arrow.read_parquet_schema(tables[0]).names, IMAGES) if where else None
    columns = list(dict.fromkeys(("image_path", "status", *(clause.columns if clause else ()))))
    failed = arrow.to_scalar(str(Status.FAILED))
    for table in tables:
        for batch in arrow.iterate_parquet(table, BATCH_ROWS, columns):
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(pc.not_equal(rows.column("status"), failed))
            if clause:
                texts = pa.table({name: rows.column(name).cast(pa.string()) for name in clause.columns})
                rows = rows.filter(clause.evaluate(texts))
            names = rows.column("image_path").to_pylist()
            yield parse_chunk_name(table.name), [name for name in names if not leads_out(name)]


def leads_out(image_path: str) -> bool:
    """Whether a path, such as one of a damaged table, leads out of images/."""
    return image_path.startswith("/") or ".." in image_path.split("/")


def _list_tables(paths: DatasetPaths) -> list[Path]:
    """The verified tables if there is one for each ledger; otherwise the ledgers."""
    ledgers, verified = paths.list_chunks("fetched"), paths.list_chunks("verified")
    if not ledgers:
        raise MissingPieceError(
            f"{paths.output}: no images were downloaded to this folder; give the folder of a dataset"
        )
    return verified if [path.name for path in verified] == [path.name for path in ledgers] else ledgers
