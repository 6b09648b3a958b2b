"""What each fetched image is: decoded in full, measured, and compared with the bytes that were served."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from tasks.core import tables
from tasks.core.files import whole_file
from tasks.core.ledger import FAILED

ROWS = 1024
Image.MAX_IMAGE_PIXELS = None  # `look` has its own limit
COLUMNS = pa.schema(
    [("valid", pa.bool_()), ("error", pa.string()), ("format", pa.string()), ("mode", pa.string()),
     ("width", pa.int32()), ("height", pa.int32()), ("file_size", pa.int64()), ("sha256", pa.string()),
     ("fetch_date", pa.string())]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file is. `error` is empty for a sound image; `width` and `height` are pixels as stored."""

    error: str = ""
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    file_size: int | None = None
    sha256: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the image can be used."""
        return not self.error


def look(path: Path, sha256: str, max_pixels: int) -> Finding:
    """Decode the image at `path` in full. `sha256` is of the bytes served, `max_pixels` the most to decode."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Finding("missing-file")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        return Finding("changed-file", file_size=len(data), sha256=found)
    kind: dict[str, str | int | None] = {}
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
            error = "too-many-pixels" if image.width * image.height > max_pixels else ""
            if not error:
                image.load()
    except UnidentifiedImageError:
        error = "not-an-image"
    except Exception as fault:  # a decoder raises what its format's author chose: none may stop the chunk
        error = "truncated" if "truncated" in str(fault).lower() else "corrupt-data"
    return Finding(error, file_size=len(data), sha256=found, **kind)  # type: ignore[arg-type]


def verify_chunk(
    fetched: Path, images: Path, target: Path, workers: int, max_pixels: int, progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Look at every image that `fetched` (a chunk's ledger) says is there, and write its rows with what was found.

    Rows of images that failed to come are left out. Returns how many images are `valid`, or have which error.
    """
    counts: Counter[str] = Counter()
    source = pq.ParquetFile(fetched)
    kept = [name for name in source.schema_arrow.names if name not in COLUMNS.names]
    schema = pa.schema([*(source.schema_arrow.field(name) for name in kept), *COLUMNS])

    def look_at(row: tuple[str, str]) -> Finding:
        return look(images / row[0], row[1], max_pixels)

    def verified() -> Iterator[pa.RecordBatch]:
        with ThreadPoolExecutor(workers, "verify") as pool:
            for batch in source.iter_batches(ROWS):
                there = batch.filter(pa.compute.not_equal(batch.column("status"), FAILED))
                rows = zip(there.column("image_path").to_pylist(), there.column("sha256").to_pylist(), strict=True)
                findings = []
                for finding in pool.map(look_at, rows):
                    counts[finding.error or "valid"] += 1
                    progress(counts)
                    findings.append(finding)
                columns = [_column(field, findings, there) for field in COLUMNS]
                yield pa.RecordBatch.from_arrays([*(there.column(name) for name in kept), *columns], schema=schema)

    tables.write_parquet(verified(), target, schema)
    return counts


def combine(chunks: list[Path], verified: Path, errors: Path, scratch: Path, memory_limit: str) -> dict[str, int]:
    """Put the verified chunks together in `verified`, one after another, and list in `errors` the images to delete.

    Returns how many images are `valid`, or have which error.
    """
    schema = pq.read_schema(chunks[0]).remove_metadata()
    batches = (batch for chunk in chunks for batch in pq.ParquetFile(chunk).iter_batches(ROWS))
    tables.write_parquet(batches, verified, schema)
    with tables.database(scratch, memory_limit) as connection:
        whole = tables.parquet([verified])
        with whole_file(errors) as temporary:
            connection.execute(
                f"COPY (SELECT image_path, error, identifier FROM {whole} WHERE NOT valid ORDER BY image_path) "
                f"TO {tables.text(str(temporary))} (FORMAT csv, HEADER)"
            )
        found = "CASE WHEN valid THEN 'valid' ELSE error END"
        return dict(tables.rows(connection, f"SELECT {found}, count(*) FROM {whole} GROUP BY 1 ORDER BY 1"))


def _column(field: pa.Field, findings: list[Finding], rows: pa.RecordBatch) -> pa.Array:
    if field.name == "fetch_date":
        return pa.compute.utf8_slice_codeunits(rows.column("fetched_at"), 0, 10)
    return pa.array([getattr(finding, field.name) for finding in findings], field.type)
