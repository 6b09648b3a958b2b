"""CHANGES.csv: what a new version changes in each shard, and by which part of the version it has to be raised."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.formatting import format_count
from gbif_webdataset.publish.attribution import ATTRIBUTION
from gbif_webdataset.publish.description import Shard
from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.shards.sample_classes import CATEGORY_MAP
from gbif_webdataset.storage.atomic import atomic_file, temporary_folder
from gbif_webdataset.storage.tables import fetch_rows, insert_batches, open_database, parquet_source
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.published_version import PublishedVersion
from gbif_webdataset.upload.version_numbers import Part

KEYS = pa.schema([("split", pa.string()), ("shard", pa.string()), ("key", pa.string())])
CHANGES = ("added", "removed", "relabelled")
NORMAL_KEY = r"regexp_replace(trim(key), '\s+', '_', 'g')"  # as indexes have it


@dataclass(frozen=True)
class ShardChange:
    """The samples that a version adds to a shard, removes from it, or gives another label."""

    shard: str
    added: int
    removed: int
    relabelled: int


@dataclass(frozen=True)
class Changes:
    """What differs between two versions.

    `renumbered` counts the classes that have another number, or whose number another class has.
    """

    shards: Sequence[ShardChange]
    renumbered: int = 0

    @property
    def part(self) -> Part:
        """The part of the version to raise."""
        if self.renumbered:
            return Part.MAJOR
        return Part.MINOR if self._count("added") or self._count("relabelled") else Part.PATCH

    def __str__(self) -> str:
        """Such as `12 samples added, 3 removed`."""
        described = [f"{format_count(self.renumbered, 'class', 'classes')} renumbered"] if self.renumbered else []
        for name in CHANGES:
            if samples := self._count(name):
                described.append(f"{format_count(samples, 'sample')} {name}")
        return ", ".join(described) or "no sample added, removed or relabelled"

    def _count(self, name: str) -> int:
        return sum(getattr(shard, name) for shard in self.shards)


@dataclass(frozen=True)
class NewVersion:
    """The version to publish: its files by path, the shards' names at the target by path, and what it replaces.

    `download` writes an object of the target to a file.
    """

    files: Mapping[str, RecordedFile]
    names: Mapping[str, str]
    published: PublishedVersion
    download: Callable[[str, Path], None]


def find_changes(version: NewVersion, scratch: Path) -> Changes:
    """Compare the files to publish with the published version.

    Of the target only the indexes of shards that changed are downloaded, the labels of the samples, and the numbers of
    the labels.
    """
    files, old = version.files, version.published.by_path
    gone = [path for path in old if _is_index(path) and not _is_same(path, version)]
    new = [path for path in files if _is_index(path)]
    changed = {_name_tar(old[path].name) for path in gone}
    changed |= {_name_tar(version.names[path]) for path in new if not _is_same(path, version)}
    with open_database(scratch) as connection, temporary_folder(scratch, "published") as folder:
        temporary = folder / "object"

        def download(path: str) -> Path:
            version.download(old[path].name, temporary)
            return temporary

        old_keys = ((path, _name_tar(old[path].name), download(path)) for path in gone)
        new_keys = ((path, _name_tar(version.names[path]), files[path].path) for path in new)
        _insert_keys(connection, "old_keys", old_keys)
        _insert_keys(connection, "new_keys", new_keys)
        counts: dict[str, Counter[str]] = {shard: Counter() for shard in changed}
        if old[ATTRIBUTION].sha256 != files[ATTRIBUTION].sha256:
            for shard, change, samples in _count_changes(connection, files[ATTRIBUTION].path, download(ATTRIBUTION)):
                counts.setdefault(shard, Counter())[change] = samples
        before = json.loads(download(CATEGORY_MAP).read_bytes())
    after = json.loads(files[CATEGORY_MAP].read())
    shards = [ShardChange(shard, **{name: counts[shard][name] for name in CHANGES}) for shard in sorted(counts)]
    return Changes(shards, _count_renumbered(before, after))


def count_first_version(shards: Iterable[Shard], names: Mapping[str, str]) -> Changes:
    """The changes of a version that is the first: all samples are added."""
    return Changes([ShardChange(names[shard.path], shard.samples, 0, 0) for shard in shards])


def write_changes(path: Path, changes: Changes) -> None:
    """Write CHANGES.csv."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in columns.CHANGES])
        writer.writerows((one.shard, one.added, one.removed, one.relabelled) for one in changes.shards)


def _count_changes(
    connection: duckdb.DuckDBPyConnection, attribution: Path, published: Path
) -> list[tuple[str, str, int]]:
    """The samples of each change, by shard: (shard, change, samples)."""
    for table, path in (("old_labels", published), ("new_labels", attribution)):
        selected = f"SELECT split, {NORMAL_KEY} AS key, label FROM {parquet_source([path])}"
        connection.execute(f"CREATE TABLE {table} AS {selected}")
    return fetch_rows(
        connection,
        """
        SELECT coalesce(shard, ''), change, count(*) FROM (
            SELECT split, key, 'added' AS change FROM new_labels ANTI JOIN old_labels USING (split, key)
            UNION ALL SELECT split, key, 'relabelled' FROM new_labels JOIN old_labels AS old USING (split, key)
            WHERE new_labels.label IS DISTINCT FROM old.label
        ) LEFT JOIN new_keys USING (split, key) GROUP BY ALL
        UNION ALL SELECT coalesce(shard, ''), 'removed', count(*) FROM (
            SELECT split, key FROM old_labels ANTI JOIN new_labels USING (split, key)
        ) LEFT JOIN old_keys USING (split, key) GROUP BY ALL
        """,
    )


def _count_renumbered(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """The labels that have another number than before, or that are gone while another label has their number."""
    taken = set(after.values())
    return sum(after.get(label) != number and (label in after or number in taken) for label, number in before.items())


def _insert_keys(connection: duckdb.DuckDBPyConnection, table: str, indexes: Iterable[tuple[str, str, Path]]) -> None:
    """Create a table of the samples that indexes list; an index is given as its path in the dataset, shard and file."""

    def read_batches() -> Iterator[pa.RecordBatch]:
        for path, shard, file in indexes:
            keys = list(_read_keys(file))
            values = [[path.partition("/")[0]] * len(keys), [shard] * len(keys), keys]
            yield pa.record_batch([pa.array(column, pa.string()) for column in values], KEYS)

    insert_batches(connection, f"CREATE TABLE {table} AS SELECT * FROM rows", KEYS, read_batches())


def _read_keys(index: Path) -> Iterator[str]:
    """The key of each sample in a shard's index, whose lines have `extension start size name` for each member."""
    with index.open(encoding="utf-8") as lines:
        next(lines, None)
        for line in lines:
            extension, _, _, name, *_ = line.split()
            yield name.removesuffix(f".{extension}")


def _is_index(path: str) -> bool:
    """Whether a path is that of a shard's index that names its members."""
    return bool(find_shard(path)) and path.removeprefix(find_shard(path)) == ".idx"


def _is_same(path: str, version: NewVersion) -> bool:
    """Whether the shard of an index is the same in both versions."""
    tar, old = path.removesuffix(".idx") + ".tar", version.published.by_path
    return tar in old and tar in version.files and old[tar].sha256 == version.files[tar].sha256


def _name_tar(index: str) -> str:
    return index.removesuffix(".idx") + ".tar"
