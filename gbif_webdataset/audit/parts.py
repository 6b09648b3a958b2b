"""The parts of an audit: tables, images of a chunk, and shards, each read at once."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow.parquet as pq

from gbif_webdataset.audit.check_file import Expected, Finding, check_file
from gbif_webdataset.audit.check_images import ImageTable, check_images, find_image_table, is_being_fetched
from gbif_webdataset.audit.check_shard import ExpectedShard, check_shard
from gbif_webdataset.audit.records import DatasetRecords, ledger_label, output_name
from gbif_webdataset.errors import DatasetError
from gbif_webdataset.remote.address_claim import CLAIM
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.storage.chunks import parse_chunk_name
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import find_chunk_removal
from gbif_webdataset.terms.differences import Difference

FILES_PER_PART = 64

SHARDS = "CreateWebDataset"
"""The label of the record of the shards."""

Item = TypeVar("Item")


class Part(Protocol):
    """A part of an audit."""

    @property
    def name(self) -> str:
        """The name of the part within an audit."""

    @property
    def identity(self) -> str:
        """A text that changes if other bytes are expected."""

    @property
    def files(self) -> int:
        """The number of files."""

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding] | None:
        """Read the files; return their differences, or None if another run is changing the files."""


@dataclass(frozen=True)
class TablePart:
    """Tables and other files that records name."""

    name: str
    expected: Sequence[Expected]

    @property
    def identity(self) -> str:
        """The sizes and SHA-256 that the records have."""
        return digest_of({file.file: astuple(file) for file in self.expected})

    @property
    def files(self) -> int:
        """The number of files."""
        return len(self.expected)

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding]:
        """Compare the files with their records."""
        return list(filter(None, pool.map(partial(check_file, paths.output), self.expected)))


@dataclass(frozen=True)
class LedgerPart:
    """A ledger that no record names: it can be read or not. `label` is that of the task that writes it."""

    name: str
    identity: str
    label: str
    files: int = 1

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding]:
        """Read the table."""
        try:
            for _ in arrow.iterate_parquet(paths.output / self.name, 4_096):
                pass
        except (DatasetError, OSError):
            return [Finding(self.name, str(Difference.UNREADABLE), self.label, "the table is damaged")]
        return []


@dataclass(frozen=True)
class ImagePart:
    """The images of a chunk that were downloaded; `table` has their sizes and SHA-256."""

    name: str
    chunk: int
    table: ImageTable
    identity: str
    files: int

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding] | None:
        """Compare the images with the ledger; None if the chunk is being fetched, before or after that."""
        if is_being_fetched(paths, self.chunk):
            return None
        try:
            findings = list(check_images(paths, self.chunk, self.table, pool))
        except DatasetError:  # the table is damaged, and reported itself
            findings = []
        return None if is_being_fetched(paths, self.chunk) else findings


@dataclass(frozen=True)
class ShardPart:
    """Some shards."""

    name: str
    shards: Sequence[ExpectedShard]

    @property
    def identity(self) -> str:
        """The sizes and SHA-256 that the record has, and the samples."""
        return digest_of({shard.tar.file: astuple(shard) for shard in self.shards})

    @property
    def files(self) -> int:
        """The number of files."""
        return 2 * len(self.shards)

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding]:
        """Compare the shards with their record, shards.csv and their indexes."""
        return list(chain.from_iterable(pool.map(partial(check_shard, paths.output), self.shards)))


def list_table_parts(paths: DatasetPaths, records: DatasetRecords) -> list[Part]:
    """The files that records name, except shards, and ledgers that none names, such as those of earlier manifests."""
    recorded = records.list_files()
    files = [file for name, file in sorted(recorded.items()) if not _is_shard(name)]
    parts: list[Part] = [TablePart(f"tables-{at:06d}", some) for at, some in cut(files)]
    for ledger in paths.list_chunks("fetched"):
        name = output_name(paths.output, ledger)
        if name not in recorded:
            parts.append(LedgerPart(name, _stamp(ledger), ledger_label(parse_chunk_name(ledger.name))))
    for table in sorted((paths.fetched / "earlier").glob("*.parquet")):
        parts.append(LedgerPart(output_name(paths.output, table), _stamp(table), ""))
    return parts


def list_image_parts(paths: DatasetPaths, records: DatasetRecords, damaged: Collection[str]) -> list[ImagePart]:
    """The images of each chunk, as its ledger or, if that is `damaged`, a table made from it names them."""
    chunks = {parse_chunk_name(path.name) for path in paths.list_chunks("fetched")}
    chunks |= {int(label.partition("-")[2]) for label in records.checked if label.startswith(ledger_label(0)[:-5])}
    parts = []
    for chunk in sorted(chunks):
        if table := find_image_table(paths, chunk, damaged):
            removed = find_chunk_removal(records.whole.get(ledger_label(chunk)))
            rows = 0 if removed else pq.read_metadata(table.manifest or table.path).num_rows
            parts.append(ImagePart(f"images-{chunk:05d}", chunk, table, _stamp(table.path), rows))
    return parts


def list_shard_parts(paths: DatasetPaths, records: DatasetRecords, damaged: Collection[str]) -> list[ShardPart]:
    """The shards that the record of CreateWebDataset names, or without it shards.csv, some at a time."""
    files = records.list_files()
    listed = {} if output_name(paths.output, paths.shard_list) in damaged else read_shard_list(paths)
    tars = {name: file for name, file in files.items() if name.startswith("shards/") and name.endswith(".tar")}
    if SHARDS not in records.whole:
        is_stored = (paths.output / CLAIM).exists()  # then the tars may be at an address, which is not known
        on_disk = [name for name in listed if not is_stored or (paths.output / name).exists()]
        tars = {name: listed[name][0] for name in on_disk}
    shards = []
    for name, file in sorted(tars.items()):
        index = f"{name.removesuffix('.tar')}.idx"
        samples = listed[name][1] if name in listed else None
        shards.append(ExpectedShard(file, files.get(index, Expected(index, file.record, None, None)), samples))
    return [ShardPart(f"shards-{at:06d}", some) for at, some in cut(shards)]


def _is_shard(name: str) -> bool:
    """Whether a file is a shard or its index. ReportDataset writes the `.tar.idx`."""
    return name.startswith("shards/") and name.endswith((".tar", ".idx")) and not name.endswith(".tar.idx")


def cut(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    """The items of each part, with the number of the first one."""
    for at in range(0, len(items), FILES_PER_PART):
        yield at, items[at : at + FILES_PER_PART]


def _stamp(path: Path) -> str:
    """The size and time of modification of a file."""
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def read_shard_list(paths: DatasetPaths) -> dict[str, tuple[Expected, int]]:
    """The shards in shards.csv and the number of their samples, by path below the output folder."""
    try:
        with tables.open_csv(paths.shard_list) as rows:
            found = [(f"shards/{row['shard']}", row) for row in rows]
            return {
                name: (Expected(name, SHARDS, int(row["bytes"]), row["sha256"]), int(row["samples"]))
                for name, row in found
            }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
