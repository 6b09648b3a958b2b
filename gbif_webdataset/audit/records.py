"""The records of a dataset, and the files that they name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.audit.check_file import Expected, Finding
from gbif_webdataset.audit.unrecorded_files import UNRECORDED
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import CheckedRecord, TargetRecord, load_checked_record
from gbif_webdataset.terms.differences import Difference
from gbif_webdataset.terms.output_files import OUTPUTS

_LABEL = re.compile(r"[A-Z][A-Za-z]+(?:-(\d{5}))?")
READ, FETCH = "ReadArchive", "FetchChunk"
WITHOUT_RECORD = ("FetchChunk", "VerifyChunk", "CompareDatasets", "AuditDataset")
"""Tasks that write no record of this name."""


@dataclass(frozen=True)
class DatasetRecords:
    """The records by label, such as FetchChunk-00003, without those of chunks that an earlier number of chunks had."""

    checked: Mapping[str, CheckedRecord]

    @property
    def whole(self) -> dict[str, TargetRecord]:
        """The records that are not damaged."""
        return {label: one.record for label, one in self.checked.items() if one.record}

    @property
    def current(self) -> dict[str, TargetRecord]:
        """The records that are not damaged, without those whose files the next run makes again in any case."""
        whole = self.whole
        return {label: record for label, record in whole.items() if not _is_outdated(record, whole)}

    def list_files(self) -> dict[str, Expected]:
        """The files that the current records name, by path."""
        return {
            name: Expected(name, label, file.bytes, file.sha256)
            for label, record in self.current.items()
            for name, file in record.files.items()
        }

    def find_damaged(self, paths: DatasetPaths) -> Iterator[Finding]:
        """The damaged records, those without a checksum, and missing ones whose files exist or whose readers do."""
        folder = output_name(paths.output, paths.records)
        for label, one in self.checked.items():
            file = f"{folder}/{label}.json"
            if one.damage:
                yield Finding(file, str(Difference.UNREADABLE), label, one.damage)
            elif not one.has_checksum:
                yield Finding(file, str(Difference.NO_CHECKSUM), label)
        named = {
            READ if name.startswith("manifest/") else name: f"the record of {label} names it"
            for label, record in self.current.items()
            for name in record.fingerprint.inputs
        }
        files = [one for one in OUTPUTS if one.path not in UNRECORDED and (paths.output / one.path).exists()]
        named |= {one.task: f"{one.path} exists" for one in files}
        for label, detail in sorted(named.items()):
            if _LABEL.fullmatch(label) and label not in self.checked and label not in WITHOUT_RECORD:
                yield Finding(f"{folder}/{label}.json", str(Difference.MISSING), label, detail)


def load_records(paths: DatasetPaths) -> DatasetRecords:
    """The records of a dataset, in the order of their labels."""
    labels = sorted(path.stem for path in paths.records.glob("*.json") if _LABEL.fullmatch(path.stem))
    checked = {label: load_checked_record(paths.record(label)) for label in labels}
    read = checked[READ].record if READ in checked else None
    chunks = read.fingerprint.inputs.get("chunks", "") if read else ""
    if chunks.isdigit():
        checked = {label: one for label, one in checked.items() if _chunk_of(label) < int(chunks)}
    return DatasetRecords(checked)


def has_changed(paths: DatasetPaths, label: str, before: CheckedRecord) -> bool:
    """Whether a record was deleted or written since it was loaded, because its task runs at the same time.

    A task deletes its record before it changes a file, so differences that were found in between do not count.
    """
    return load_checked_record(paths.record(label)) != before


def ledger_label(chunk: int) -> str:
    """The label of the record of a ledger."""
    return f"{FETCH}-{chunk:05d}"


def _chunk_of(label: str) -> int:
    found = _LABEL.fullmatch(label)
    return int(found[1] or 0) if found else 0


def _is_outdated(record: TargetRecord, whole: Mapping[str, TargetRecord]) -> bool:
    """Whether an input has changed since the files were made. A missing or damaged record of an input shows nothing."""
    read = whole.get(READ)
    manifest = read.files if read else {}
    for name, digest in record.fingerprint.inputs.items():
        if name in whole and digest not in (whole[name].digest, whole[name].digest_of_images):
            return True
        if name.startswith("manifest/") and name in manifest and manifest[name].sha256 != digest:
            return True
    return False


def output_name(output: Path, path: Path) -> str:
    """The path of a file below the output folder."""
    return path.relative_to(output).as_posix()
