"""What each fetched image is: decoded, measured, and compared with the bytes that were served."""

import hashlib
import io
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from gbif_webdataset.images import perceptual_hash
from gbif_webdataset.images.convert import (
    Pixels,
    count_decoded_pixels,
    decode_small_jpeg,
    read_orientation,
    read_stored_size,
    shrink_to_grey,
    turn_upright,
)
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.verify import finding as findings
from gbif_webdataset.verify import jpeg_damage, png_damage
from gbif_webdataset.verify.finding import Finding

ROWS = 1024
AT_ONCE = 16  # images that a thread is given: handing over each by itself takes a quarter of a small photo's time
COLUMNS = pa.schema(
    [("valid", pa.bool_()), ("error", pa.string()), ("warning", pa.string()), ("format", pa.string()),
     ("mode", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("stored_width", pa.int32()),
     ("stored_height", pa.int32()), ("flat", pa.bool_()), ("perceptual_hash", pa.string()),
     ("file_size", pa.int64()), ("sha256", pa.string()), ("fetch_date", pa.string())]
)  # fmt: skip
# What `identify_image` knows and Pillow decodes itself: EPS would start Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000")
Seen = tuple[int, Pixels | None]  # the EXIF orientation and, of a sound image, a small grey picture
WITHOUT_DECODER = ("heic", "jxl")


def look(path: Path, sha256: str, max_pixels: int, strict: bool = False) -> Finding:
    """Decode the image at `path`. `sha256` is of the bytes served, `max_pixels` the most to decode.

    Where `strict`, what else is a warning is an error.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Finding(findings.MISSING_FILE)
    found = Finding(file_size=len(data), sha256=hashlib.sha256(data).hexdigest())
    if found.sha256 != sha256:
        found.error = findings.CHANGED_FILE
        return found
    try:
        turn, grey = _looked_at(data, max_pixels, found) or _opened(data, max_pixels, found)
    except MemoryError:
        raise
    except Exception as fault:  # a decoder raises what its format's author chose: none may stop the chunk
        found.error = _code_of(fault, data)
        return found
    if turn >= 5:
        found.width, found.height = found.height, found.width
    if strict and found.warning:
        found.error, found.warning = found.warning, ""
    if grey is not None and not found.error:
        grey = turn_upright(grey, turn)
        found.flat, found.perceptual_hash = perceptual_hash.is_flat(grey), perceptual_hash.compute_hash(grey)
    return found


def _looked_at(data: bytes, max_pixels: int, found: Finding) -> Seen | None:
    """Measure a JPEG, as most are, without Pillow; None for any other file."""
    header = jpeg_damage.plain(data) if jpeg_damage.IS_STRICT else None
    if header is None or header.mode == "CMYK":
        return None
    found.format, found.mode = "JPEG", header.mode
    found.width, found.height = found.stored_width, found.stored_height = header.width, header.height
    if header.width * header.height > max_pixels:
        found.error = findings.TOO_MANY_PIXELS
        return 1, None
    looked = jpeg_damage.look(data, header.width, header.height)
    found.error, found.warning = looked.error, looked.warning
    return (1, looked.grey) if looked.error or looked.grey is not None else None


def _opened(data: bytes, max_pixels: int, found: Finding) -> Seen:
    """Measure a file by Pillow, which raises what it likes where the file is no image or a damaged one."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        found.format, found.mode = image.format, image.mode
        found.width, found.height = image.size
        found.stored_width, found.stored_height = read_stored_size(image)
        if count_decoded_pixels(image) > max_pixels:
            found.error = findings.TOO_MANY_PIXELS
            return 1, None
        if image.format in ("JPEG", "MPO"):
            turn = read_orientation(image)
            looked = jpeg_damage.look(data, *image.size) if jpeg_damage.IS_STRICT else jpeg_damage.Look()
            found.error, found.warning, grey = looked.error, looked.warning, looked.grey
            if not found.error and (grey is None or image.mode == "CMYK"):  # whose grey no two libraries agree on
                grey = decode_small_jpeg(image, jpeg_damage.LEAST)
            return turn, grey
        found.error = png_damage.fault_of(data) if image.format == "PNG" else ""
        grey = None if found.error else shrink_to_grey(image, jpeg_damage.LEAST)
        return read_orientation(image), grey


def _code_of(fault: Exception, data: bytes) -> str:
    """The code for a file that Pillow could not open or decode."""
    kind = identify_image(data[:HEAD_BYTES])
    if isinstance(fault, UnidentifiedImageError):
        if kind is None:
            return findings.NOT_AN_IMAGE
        if kind in WITHOUT_DECODER:
            return findings.UNSUPPORTED
    breaks_off = (kind == "jpeg" and jpeg_damage.breaks_off(data)) or (kind == "webp" and _webp_bytes(data) > len(data))
    return findings.TRUNCATED if breaks_off or "truncated" in str(fault).lower() else findings.CORRUPT


def _webp_bytes(data: bytes) -> int:
    """How long a WebP file is by its own account."""
    return int(struct.unpack_from("<I", data, 4)[0]) + 8


def verify_chunk(
    fetched: Path,
    images: Path,
    target: Path,
    workers: int,
    max_pixels: int,
    strict: bool,
    progress: Callable[[Counter[str]], None],
) -> Counter[str]:
    """Look at every image that `fetched` (a chunk's ledger) says is there, and write its rows with what was found.

    Rows of images that failed to come are left out. Returns how many images are `valid`, or have which error.
    """
    counts: Counter[str] = Counter()
    source = pq.ParquetFile(fetched)
    kept = [name for name in source.schema_arrow.names if name not in COLUMNS.names]
    schema = pa.schema([*(source.schema_arrow.field(name) for name in kept), *COLUMNS])

    def look_at(rows: Sequence[tuple[str, str]]) -> list[Finding]:
        return [look(images / path, sha256, max_pixels, strict) for path, sha256 in rows]

    def verified() -> Iterator[pa.RecordBatch]:
        with ThreadPoolExecutor(workers, "verify") as pool:
            for batch in source.iter_batches(ROWS):
                there = batch.filter(pa.compute.not_equal(batch.column("status"), Status.FAILED))
                columns = (there.column(name).to_pylist() for name in ("image_path", "sha256"))
                rows = list(zip(*columns, strict=True))
                found: list[Finding] = []
                parts = (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))
                for finding in chain.from_iterable(pool.map(look_at, parts)):
                    counts[finding.error or "valid"] += 1
                    progress(counts)
                    found.append(finding)
                measured = [_column(field, found, there) for field in COLUMNS]
                yield pa.RecordBatch.from_arrays([*(there.column(name) for name in kept), *measured], schema=schema)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of a file's metadata
        arrow.write_parquet(verified(), target, schema)
    return counts


def combine(chunks: list[Path], verified: Path, errors: Path, scratch: Path, memory_limit: str) -> dict[str, int]:
    """Put the verified chunks together in `verified`, one after another, and list in `errors` the images to delete.

    Returns how many images are `valid`, or have which error.
    """
    schema = pq.read_schema(chunks[0]).remove_metadata()
    batches = (batch for chunk in chunks for batch in pq.ParquetFile(chunk).iter_batches(ROWS))
    arrow.write_parquet(batches, verified, schema)
    with tables.open_database(scratch, memory_limit) as connection:
        whole = tables.parquet_source([verified])
        with atomic_file(errors) as temporary:
            connection.execute(
                f"COPY (SELECT image_path, error, identifier FROM {whole} WHERE NOT valid ORDER BY image_path) "
                f"TO {tables.quote_text(str(temporary))} (FORMAT csv, HEADER)"
            )
        found = "CASE WHEN valid THEN 'valid' ELSE error END"
        return dict(tables.fetch_rows(connection, f"SELECT {found}, count(*) FROM {whole} GROUP BY 1 ORDER BY 1"))


def _column(field: pa.Field, found: list[Finding], rows: pa.RecordBatch) -> pa.Array:
    if field.name == "fetch_date":
        return pa.compute.utf8_slice_codeunits(rows.column("fetched_at"), 0, 10)
    return pa.array([getattr(finding, field.name) for finding in found], field.type)
