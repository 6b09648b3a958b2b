"""Let the next run make again what an audit found to differ."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.audit.check_images import ImageTable, find_image_table
from gbif_webdataset.audit.records import FETCH, output_name
from gbif_webdataset.errors import DatasetError
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.chunks import journal_name
from gbif_webdataset.storage.ledger_marks import has_image, mark_in_ledger
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import find_chunk_removal
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.columns import IDENTIFIER, IMAGE_PATH, LEDGER
from gbif_webdataset.terms.differences import HARMLESS, Difference
from gbif_webdataset.terms.outcomes import WITHOUT_FILE, Defect

OUTCOME = tuple(column.name for column in (IMAGE_PATH, IDENTIFIER, *LEDGER))
"""The values of a line of a journal."""
BATCH_ROWS = 2_048
NOT_REPAIRED = HARMLESS | {Difference.NOT_RECORDED}
"""Kinds of findings that a run does not change."""


def repair_dataset(paths: DatasetPaths, findings: Iterable[Finding]) -> list[str]:
    """Delete the records of files that differ, and mark images in their ledgers; the labels of the records.

    `findings` have tables before images. A damaged ledger is deleted; what a verified table shows of it becomes the
    journal of the chunk, so that the next run downloads only images that differ. No other file is deleted, except
    damaged lists that no task makes again. A chunk whose images were removed after the report keeps its record, which
    says so.
    """
    labels: set[str] = set()
    repaired: set[str] = set()
    damaged: set[str] = set()
    for label, some in groupby(findings, key=lambda finding: finding.record):
        found = [finding for finding in some if finding.kind not in NOT_REPAIRED]
        is_removed = find_chunk_removal(TargetRecord.load(paths.record(label))) is not None
        if found and label:
            labels.add(label)
            if not is_removed:  # otherwise the next run would download all images of the chunk again
                _delete_file(paths.record(label))
        images = [finding for finding in found if finding.file.startswith("images/") and not is_removed]
        changed = {finding.file.removeprefix("images/"): _name_defect(finding) for finding in images}
        damaged.update(finding.file for finding in found if not finding.file.startswith("images/"))
        if changed:
            _repair_chunk(paths, label, damaged, changed)
            repaired.add(label)
    for label in sorted(labels - repaired):
        if label.startswith(f"{FETCH}-"):
            _repair_chunk(paths, label, damaged, {})
    for name in damaged:
        if name == output_name(paths.output, paths.deleted) or name.startswith("fetched/earlier/"):
            _delete_file(paths.output / name)
    return sorted(labels)


def _delete_file(path: Path) -> None:
    """Delete a file. A folder in its place is left to the user, and the next run says so."""
    if not path.is_dir():
        path.unlink(missing_ok=True)


def _name_defect(finding: Finding) -> str:
    return Defect.MISSING_FILE if finding.kind == Difference.MISSING else Defect.CHANGED_FILE


def _repair_chunk(paths: DatasetPaths, label: str, damaged: set[str], changed: Mapping[str, str]) -> None:
    """Mark the changed images in the ledger of a chunk, or replace the ledger by a journal if it is damaged."""
    chunk = int(label.partition("-")[2])
    ledger = paths.chunk("fetched", chunk)
    if output_name(paths.output, ledger) not in damaged and ledger.exists():
        if has_image(ledger, changed):
            mark_in_ledger(ledger, changed)
        return
    table = find_image_table(paths, chunk, damaged)
    if table and output_name(paths.output, table.path) not in damaged:
        _restore_journal(table, paths.fetched / journal_name(chunk), changed)
    _delete_file(ledger)


def _restore_journal(table: ImageTable, journal: Path, changed: Mapping[str, str]) -> None:
    """Write the outcomes of the downloaded images to the journal, before those that it has."""
    present = journal.read_bytes() if journal.exists() else b""
    with atomic_file(journal) as temporary, temporary.open("wb") as file, contextlib.suppress(DatasetError):
        for values in _list_outcomes(table):
            if values[0] not in changed:
                file.write(json.dumps(values).encode() + b"\n")
        file.write(present)


def _list_outcomes(table: ImageTable) -> Iterator[list[object]]:
    names = table.read_names()
    for batch in arrow.iterate_parquet(table.path, BATCH_ROWS):
        for row in batch.to_pylist():
            if row["error"] not in WITHOUT_FILE and (names is None or row["image_path"] in names):
                yield [{**row, "error": ""}.get(name) for name in OUTCOME]
