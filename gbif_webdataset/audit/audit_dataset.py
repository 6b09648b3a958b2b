"""AuditDataset: read every file of a dataset again, and compare it with its record."""

import csv
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, count, islice

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.audit.findings_file import FindingsFile
from gbif_webdataset.audit.object_parts import ObjectPart, find_stored_shards, list_object_parts
from gbif_webdataset.audit.parts import SHARDS, Part, list_image_parts, list_shard_parts, list_table_parts
from gbif_webdataset.audit.records import DatasetRecords, has_changed, load_records
from gbif_webdataset.audit.repair import repair_dataset
from gbif_webdataset.audit.stored_shards import StoredShards, list_unrecorded
from gbif_webdataset.audit.unrecorded_files import find_unrecorded_files, to_text
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import find_removal
from gbif_webdataset.storage.target_record import CheckedRecord
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.differences import HARMLESS, Difference

MAX_SHOWN = 3
PARTLY_READ = ""
"""The identity of a part that an audit that continues reads again.

Another run was changing its files, or objects differ, which may have been restored until then.
"""
FINDINGS_PER_PART = 10_000
"""Findings of unrecorded files that are in memory at the same time. There may be as many as images."""


@dataclass
class AuditResult:
    """What an audit found: files read, findings by kind, and the first few files of each kind.

    `repaired` are the records that were deleted. `parts_before` is the number of parts that an earlier audit, which was
    stopped, had read. `uncompared` files were not compared, because another run was changing them.
    """

    files: int = 0
    uncompared: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    repaired: Sequence[str] = ()
    parts_before: int = 0
    is_run_active: bool = False

    @property
    def differences(self) -> int:
        """The number of files that differ."""
        return sum(number for kind, number in self.counts.items() if kind not in HARMLESS)

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.counts[finding.kind] += 1
        shown = self.first.setdefault(finding.kind, [])
        if len(shown) < MAX_SHOWN:
            shown.append(finding.file)


def count_files(paths: DatasetPaths) -> int:
    """The number of files that an audit reads.

    Raises:
        MissingPieceError: there is no dataset in the folder.
    """
    records = load_records(paths)
    if not records.checked and not paths.list_chunks("fetched"):
        raise MissingPieceError(
            f"{paths.output}: there is no dataset in this folder; give the --output of an earlier run"
        )
    later = _list_later_parts(paths, records, (), find_stored_shards(paths, records))
    parts = (*list_table_parts(paths, records), *later)
    return len(records.checked) + sum(part.files for part in parts)


def audit_dataset(
    paths: DatasetPaths,
    *,
    workers: int,
    repair: bool,
    is_run_active: Callable[[], bool],
    progress: Callable[[int], None],
) -> AuditResult:
    """Compare every file of a dataset with its record, its ledger or shards.csv, and write audit.csv.

    `workers` files are read at the same time. A stopped audit continues where it stopped. With `repair` the next run
    makes again what differs; otherwise nothing else is written. `is_run_active` says whether another run works on the
    dataset now: what it changes is no difference. `progress` gets the number of files that are read.

    Raises:
        StoreError: shards are at an address that refuses a request or does not answer. The next audit continues.
        ParameterError: a package for this address is not installed.
    """
    started_ns = time.time_ns()
    records = load_records(paths)
    was_active = is_run_active()
    with FindingsFile(paths.audit_progress) as found, ThreadPoolExecutor(workers, "audit") as pool:
        audit = _Audit(paths, records, found, pool, progress)
        audit.read_parts()
        active = was_active or is_run_active()
        of_records = list(_check_records(paths, records, active))
        result = AuditResult(
            files=audit.files - audit.uncompared,
            uncompared=audit.uncompared,
            parts_before=audit.parts_before,
            is_run_active=active,
        )
        if not active:
            audit.find_unrecorded(started_ns)
        _write_table(paths, chain(of_records, audit.list_findings()), result)
        if repair:
            result.repaired = repair_dataset(paths, chain(of_records, audit.list_findings()))
        found.delete()
    return result


class _Audit:
    """The parts that are read so far, and the tables among them that differ."""

    def __init__(
        self,
        paths: DatasetPaths,
        records: DatasetRecords,
        found: FindingsFile,
        pool: ThreadPoolExecutor,
        progress: Callable[[int], None],
    ) -> None:
        self.paths, self.records = paths, records
        self._found, self._pool, self._progress = found, pool, progress
        self._store = find_stored_shards(paths, records)
        self._objects = self._store.list_sizes() if self._store else {}
        self._read: list[tuple[str, str]] = []
        self.damaged: set[str] = set()
        self.files = len(records.checked)
        self.uncompared = 0
        self.parts_before = 0

    def read_parts(self) -> None:
        """Read tables, then the images that their ledgers name and the shards."""
        for part in list_table_parts(self.paths, self.records):
            identity = self._read_part(part)
            self.damaged.update(finding.file for finding in self._found.read_part(part.name, identity))
        for part in _list_later_parts(self.paths, self.records, self.damaged, self._store):
            self._read_part(part)

    def find_unrecorded(self, started_ns: int) -> None:
        """Find the files that neither a record nor a ledger names, now or when the audit began."""
        recorded: Collection[str] = {
            name
            for records in (self.records, load_records(self.paths))
            for record in records.whole.values()
            for name in record.files
        }
        ledgers = {part.table.path for part in list_image_parts(self.paths, self.records, self.damaged)}
        files = find_unrecorded_files(self.paths, recorded, sorted(ledgers), started_ns)
        findings = chain(files, self._find_unrecorded_objects())
        for number in count():
            some = list(islice(findings, FINDINGS_PER_PART))
            if not some:
                return
            name = f"unrecorded-{number:06d}"
            self._found.add_part(name, PARTLY_READ, some)
            self._read.append((name, PARTLY_READ))

    def _find_unrecorded_objects(self) -> Iterator[Finding]:
        """The objects that the address had when the audit began, although no record names them."""
        if self._store is None or (self.paths.shards / ".parts").exists():  # the next run continues or deletes these
            return
        recorded = {
            name
            for record in (self.records.whole.get(SHARDS), load_records(self.paths).whole.get(SHARDS))
            if record
            for name in record.objects
        }
        for name in list_unrecorded(self._objects, recorded):
            yield Finding(to_text(self._store.name_file(name)), str(Difference.NOT_RECORDED))

    def list_findings(self) -> Iterator[Finding]:
        """The findings of all parts."""
        for name, identity in self._read:
            yield from self._found.read_part(name, identity)

    def _read_part(self, part: Part) -> str:
        """Read a part, unless an earlier audit has; return the identity with which its findings are stored."""
        identity = part.identity
        if self._found.has_part(part.name, identity):
            self.parts_before += 1
        else:
            found = part.check(self.paths, self._pool)
            findings = [finding for finding in found or () if not self._is_outdated(finding)]
            uncompared = part.files if found is None else len(found) - len(findings)
            self.uncompared += uncompared
            if uncompared or (findings and isinstance(part, ObjectPart)):
                identity = PARTLY_READ
            self._found.add_part(part.name, identity, findings)
        self._read.append((part.name, identity))
        self.files += part.files
        self._progress(self.files)
        return identity

    def _is_outdated(self, finding: Finding) -> bool:
        """Whether another run has changed the record that names the file since the audit began."""
        before = self.records.checked.get(finding.record, CheckedRecord())
        return bool(finding.record) and has_changed(self.paths, finding.record, before)


def _list_later_parts(
    paths: DatasetPaths, records: DatasetRecords, damaged: Collection[str], store: StoredShards | None
) -> list[Part]:
    return [
        *list_image_parts(paths, records, damaged),
        *list_shard_parts(paths, records, damaged),
        *list_object_parts(paths, records, damaged, store),
    ]


def _check_records(paths: DatasetPaths, records: DatasetRecords, active: bool) -> Iterator[Finding]:
    """The damaged and missing records. Another run deletes and writes records."""
    for finding in records.find_damaged(paths):
        before = records.checked.get(finding.record, CheckedRecord())
        is_disturbed = active and finding.kind == Difference.MISSING
        if not is_disturbed and not has_changed(paths, finding.record, before):
            yield finding


def _write_table(paths: DatasetPaths, findings: Iterable[Finding], result: AuditResult) -> None:
    with atomic_file(paths.audit_table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in columns.AUDIT])
        for finding in findings:
            result.add(finding)
            writer.writerow([finding.file, finding.kind, finding.record, finding.detail])


def summarize_audit(paths: DatasetPaths, result: AuditResult) -> str:
    """A few lines for the terminal: the number of files that were read, and the findings of each kind."""
    lines = [f"{result.files:,} files of {paths.output} read"]
    if result.parts_before:
        lines.append(f"  an audit that was stopped had read {result.parts_before:,} parts of them")
    if removal := find_removal(paths):
        lines.append(f"  {removal} removed after the report, which is no difference")
    if result.is_run_active:
        lines.append("  another run is working on this dataset: files that no record names are not listed")
    if result.uncompared:
        files = format_count(result.uncompared, "file")
        lines.append(f"  {files} not compared, because another run is changing them")
    for kind in filter(result.counts.__contains__, Difference):
        first, number = ", ".join(result.first[kind]), result.counts[kind]
        more = ", ..." if number > len(result.first[kind]) else ""
        lines.append(f"  {number:>9,} {kind}: {first}{more}")
    if not result.differences:
        lines.append(f"  every {'other ' if result.uncompared else ''}file is as it was written")
    if result.counts:
        lines.append(f"  table  {paths.audit_table}")
    return "\n".join(lines)
