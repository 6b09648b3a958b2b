"""Combine the verified chunks, and list the damaged ones."""

from pathlib import Path

import pyarrow.parquet as pq

from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.outcomes import NO_DAMAGE
from gbif_webdataset.verify.verify_chunk import BATCH_ROWS, VALID


def combine_chunks(
    chunks: list[Path], verified: Path, errors: Path, scratch: Path, memory_limit: str
) -> dict[str, int]:
    """The number of images that are `valid` or have each defect.

    The rows of all `chunks` are written to `verified` (Parquet), one chunk after another. The images whose files are
    damaged are listed in `errors` (CSV: image_path, error, identifier), sorted by path.
    """
    schema = pq.read_schema(chunks[0]).remove_metadata()
    batches = (batch for chunk in chunks for batch in pq.ParquetFile(chunk).iter_batches(BATCH_ROWS))
    arrow.write_parquet(batches, verified, schema)
    with tables.open_database(scratch, memory_limit) as connection:
        source = tables.parquet_source([verified])
        sound = ", ".join(tables.quote_text(code) for code in sorted(NO_DAMAGE))
        with atomic_file(errors) as temporary:
            connection.execute(
                f"COPY (SELECT image_path, error, identifier FROM {source} "
                f"WHERE NOT valid AND error NOT IN ({sound}) ORDER BY image_path) "
                f"TO {tables.quote_text(str(temporary))} (FORMAT csv, HEADER)"
            )
        outcome = f"CASE WHEN valid THEN '{VALID}' ELSE error END"
        return dict(tables.fetch_rows(connection, f"SELECT {outcome}, count(*) FROM {source} GROUP BY 1 ORDER BY 1"))
