"""Verify the images of a chunk: decode and measure every image that was downloaded."""

import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing.pool import IMapIterator, ThreadPool
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.columns import VERIFIED
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.verify.check_image import check_image
from gbif_webdataset.verify.decoding_watch import DecodingWatch
from gbif_webdataset.verify.earlier_findings import EarlierFindings
from gbif_webdataset.verify.finding import Finding

VALID = "valid"
"""The name under which images without a defect are counted."""
BATCH_ROWS = 1024
IMAGES_PER_CALL = 16  # handing single images to the threads would take a quarter of the time of a small photo
WATCH_SECONDS = 1.0  # from one look at the running decoders to the next
COLUMNS = arrow.to_schema(VERIFIED)
"""The columns that verifying adds to the ledger, or replaces in it."""


@dataclass(frozen=True)
class VerifyOptions:
    """How images are verified.

    Images of more than `max_pixels` pixels (width x height) are not decoded. With `strict`, decoder warnings count as
    errors. `workers` images are decoded at the same time. `earlier` is a verified table that was made with the same
    options: images that have the same bytes as one of its images are not decoded again.
    """

    max_pixels: int
    strict: bool = False
    workers: int = 1
    earlier: Path | None = None


def verify_chunk(
    ledger: Path, images: Path, target: Path, options: VerifyOptions, progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """The number of images of a chunk that are `valid` or have each defect. Their rows are written to `target`.

    `ledger` is the chunk's table in `fetched/`, `images` the folder of the images. Images that were not downloaded get
    no row. `progress` is called with the counts after each image.

    Raises:
        HungDecoderError: an image has been decoded for so long that its decoder hangs. Its thread cannot be stopped and
            ends with the process.
    """
    counts: Counter[str] = Counter()
    source = pq.ParquetFile(ledger)
    ledger_columns = [name for name in source.schema_arrow.names if name not in COLUMNS.names]
    failed = arrow.to_scalar(str(Status.FAILED))
    schema = pa.schema([*(source.schema_arrow.field(name) for name in ledger_columns), *COLUMNS])

    earlier, watch = EarlierFindings(options.earlier), DecodingWatch()

    def check_images(rows: Sequence[tuple[str, str, str]]) -> list[Finding]:
        files = [(images / path, sha256) for path, sha256, _ in rows]
        findings = []
        for (path, sha256), (_, _, url), found in zip(files, rows, earlier.find(files), strict=True):
            watch.start(path, url)
            findings.append(found or check_image(path, sha256, options.max_pixels, options.strict, watch.decode_alone))
            watch.stop()
        return findings

    def verify_batches() -> Iterator[pa.RecordBatch]:
        with ThreadPool(options.workers) as pool:  # its threads are daemons, so that a hung one ends with the process
            for batch in source.iter_batches(BATCH_ROWS):
                rows = batch.filter(pc.not_equal(batch.column("status"), failed))
                names = (rows.column(name).to_pylist() for name in ("image_path", "sha256", "identifier"))
                calls = list(zip(*names, strict=True))
                parts = (calls[at : at + IMAGES_PER_CALL] for at in range(0, len(calls), IMAGES_PER_CALL))
                findings: list[Finding] = []
                for finding in chain.from_iterable(_watch_results(pool.imap(check_images, parts), watch)):
                    counts[finding.error or VALID] += 1
                    progress(counts)
                    findings.append(finding)
                columns = [_make_column(field, findings, rows) for field in COLUMNS]
                ledger_values = (rows.column(name) for name in ledger_columns)
                yield pa.RecordBatch.from_arrays([*ledger_values, *columns], schema=schema)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about unusual metadata
        arrow.write_parquet(verify_batches(), target, schema)
    return counts


def _watch_results(results: "IMapIterator[list[Finding]]", watch: DecodingWatch) -> Iterator[list[Finding]]:
    """The results in their order, as long as no decoder hangs."""
    while True:
        try:
            yield results.next(timeout=WATCH_SECONDS)
        except StopIteration:
            return
        except multiprocessing.TimeoutError:
            watch.check()


def _make_column(field: pa.Field, findings: list[Finding], rows: pa.RecordBatch) -> pa.Array:
    if field.name == "fetch_date":
        return pc.utf8_slice_codeunits(rows.column("fetched_at"), 0, 10)
    return arrow.to_typed_array([getattr(finding, field.name) for finding in findings], field.type)
