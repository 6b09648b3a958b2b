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
from gbif_webdataset.storage.image_store import ImageStore
from gbif_webdataset.terms.columns import VERIFIED
from gbif_webdataset.terms.outcomes import Defect, Status
from gbif_webdataset.verify.check_image import check_image
from gbif_webdataset.verify.decoding_watch import DecodingWatch
from gbif_webdataset.verify.earlier_findings import EarlierFindings
from gbif_webdataset.verify.finding import Finding

VALID = "valid"
"""The name under which images without a defect are counted."""
BATCH_ROWS = 8192
"""Images of which the results are in memory; they are read in the order of the disk."""
IMAGES_PER_CALL = 16  # handing single images to the threads would take a quarter of the time of a small photo
WATCH_SECONDS = 1.0  # from one look at the running decoders to the next
_Image = tuple[str, str, str]
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
    ledger: Path, store: ImageStore, target: Path, options: VerifyOptions, progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """The number of images of a chunk that are `valid` or have each defect. Their rows are written to `target`.

    `ledger` is the chunk's table in `fetched/`, `store` has its images. Images that were not downloaded get
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

    checker = _ImageChecker(store, options)

    def verify_batches() -> Iterator[pa.RecordBatch]:
        with ThreadPool(options.workers) as pool:  # its threads are daemons, so that a hung one ends with the process
            for batch in source.iter_batches(BATCH_ROWS):
                rows = batch.filter(pc.not_equal(batch.column("status"), failed))
                names = (rows.column(name).to_pylist() for name in ("image_path", "sha256", "identifier"))
                calls = list(zip(*names, strict=True))
                by_position: dict[int, Finding] = {}
                for position, finding in checker.check_all(calls, pool):
                    counts[finding.error or VALID] += 1
                    progress(counts)
                    by_position[position] = finding
                findings = [by_position[position] for position in range(len(calls))]
                columns = [_make_column(field, findings, rows) for field in COLUMNS]
                ledger_values = (rows.column(name) for name in ledger_columns)
                yield pa.RecordBatch.from_arrays([*ledger_values, *columns], schema=schema)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about unusual metadata
        arrow.write_parquet(verify_batches(), target, schema)
    return counts


class _ImageChecker:
    """Checks images of a store, each given by its path, SHA-256 and URL."""

    def __init__(self, store: ImageStore, options: VerifyOptions) -> None:
        self._store, self._options = store, options
        self._earlier, self._watch = EarlierFindings(options.earlier), DecodingWatch()

    def check_all(self, images: Sequence[_Image], pool: ThreadPool) -> Iterator[tuple[int, Finding]]:
        """The position of each image and its result, in the order in which the store reads them fastest."""
        order = self._store.sort([path for path, _, _ in images])
        ordered = [images[position] for position in order]
        parts = (ordered[at : at + IMAGES_PER_CALL] for at in range(0, len(ordered), IMAGES_PER_CALL))
        results = chain.from_iterable(_watch_results(pool.imap(self._check_part, parts), self._watch))
        return zip(order, results, strict=True)

    def _check_part(self, images: Sequence[_Image]) -> list[Finding]:
        found = self._earlier.find([(path, sha256) for path, sha256, _ in images], self._store)
        return [finding or self._check(*image) for image, finding in zip(images, found, strict=True)]

    def _check(self, path: str, sha256: str, url: str) -> Finding:
        options, watch = self._options, self._watch
        watch.start(path, url)
        try:
            return check_image(self._store.read(path), sha256, options.max_pixels, options.strict, watch.decode_alone)
        except FileNotFoundError:
            return Finding(Defect.MISSING_FILE)
        finally:
            watch.stop()


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
