"""The ledger: the outcome for each image, and which bytes came from which URL.

An outcome belongs to the URL that was requested, `requested_url`. `identifier` is the archive's URL, from which
`requested_url` was made.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.outcomes import Status

COLUMNS = arrow.to_schema(columns.LEDGER)
"""The columns that the ledger adds to the manifest."""
OUTCOME_COLUMNS = arrow.to_schema([columns.IMAGE_PATH, columns.IDENTIFIER, *columns.LEDGER])
"""The columns of a table of outcomes without the manifest."""
READ_ROWS = 2_048  # rows read at a time; as Python objects they take ten times as much memory
WRITTEN_ROWS = 4_096  # rows written at a time, with all columns of the manifest
_RECURRING_COLUMNS = ("status", "error", "content_type", "fetched_at")  # many outcomes share their values


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one image. `error` is empty if the image was downloaded or copied; `fetched_at` is UTC, ISO 8601.

    In ledgers made before version 0.3 `requested_url` is missing; it is the `identifier`.
    """

    image_path: str
    identifier: str
    status: str
    error: str = ""
    http_status: int | None = None
    attempts: int = 0
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    final_url: str | None = None
    fetched_at: str | None = None
    requested_url: str = ""

    def __post_init__(self) -> None:
        # Equal texts share one object in memory: a chunk may have 100,000 outcomes.
        share = object.__setattr__
        if not self.requested_url or self.requested_url == self.identifier:
            share(self, "requested_url", self.identifier)
        if self.final_url == self.requested_url:
            share(self, "final_url", self.requested_url)
        for name in _RECURRING_COLUMNS:
            if text := getattr(self, name):
                share(self, name, sys.intern(str(text)))

    @property
    def has_bytes(self) -> bool:
        """Whether the image's bytes are in its file, or were before the file was deleted."""
        return self.status != Status.FAILED


outcome_values = attrgetter(*(field.name for field in fields(Outcome)))
"""The values of an outcome, in the order of OUTCOME_COLUMNS. dataclasses.astuple takes ten times as long."""

PackedOutcome = tuple[Any, ...]
"""The values of COLUMNS for one image, with _IDENTIFIER in place of URLs that equal the manifest's `identifier`."""
_IDENTIFIER = object()


def pack_outcome(outcome: Outcome) -> PackedOutcome:
    """An outcome in less memory: a chunk keeps up to 100,000 of them until its ledger is written."""
    values = outcome_values(outcome)[-len(COLUMNS) :]
    return tuple(_IDENTIFIER if value is outcome.identifier else value for value in values)


def read_manifest_urls(manifest: Path) -> Iterator[tuple[str, str]]:
    """The image path and the URL of each row of a manifest chunk."""
    names = ["image_path", "identifier"]
    for batch in pq.ParquetFile(manifest).iter_batches(READ_ROWS, columns=names, use_threads=False):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def write_ledger(manifest: Path, target: Path, outcomes: Mapping[str, PackedOutcome]) -> None:
    """Write the rows of a manifest chunk to `target`, each with the outcome for its image path, in the same order."""
    pa.default_memory_pool().release_unused()  # memory of the first reading of the manifest
    source = arrow.open_parquet(manifest)
    fields = [field.with_type(RECURRING) if field.name in _RECURRING_COLUMNS else field for field in COLUMNS]
    schema = pa.schema([*source.schema_arrow.remove_metadata(), *fields])

    def join_outcomes() -> Iterator[pa.RecordBatch]:
        for batch in source.iter_batches(READ_ROWS, use_threads=False):
            urls = batch.column("identifier").to_pylist()
            rows = [outcomes[path] for path in batch.column("image_path").to_pylist()]
            for at, field in enumerate(fields):
                values = [url if row[at] is _IDENTIFIER else row[at] for row, url in zip(rows, urls, strict=True)]
                batch = batch.append_column(field, arrow.to_typed_array(values, field.type))
            yield batch.cast(schema)
            pa.default_memory_pool().release_unused()

    arrow.write_parquet(join_outcomes(), target, schema, WRITTEN_ROWS)


def make_outcome_table(outcomes: Iterable[Outcome]) -> pa.Table:
    """An Arrow table of outcomes with the columns OUTCOME_COLUMNS."""
    rows = list(outcomes)
    values = [arrow.to_typed_array([getattr(row, field.name) for row in rows], field.type) for field in OUTCOME_COLUMNS]
    return pa.table(values, OUTCOME_COLUMNS)
