"""The files in the folder of the shards: parts while groups are written, and their final names."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.shards.categories import NAME as CATEGORIES
from gbif_webdataset.shards.class_changes import NAME as CLASS_CHANGES
from gbif_webdataset.shards.sample_classes import CATEGORY_MAP, CLASSES, LABEL_NAMES
from gbif_webdataset.shards.size_groups import Group
from gbif_webdataset.storage.atomic import TEMPORARY, delete_unless_locked
from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json
from gbif_webdataset.terms.splits import SPLITS

SHARD_LIST = "shards.csv"
TABLES = (SHARD_LIST, CATEGORY_MAP, CATEGORIES, CLASSES, "dropped.csv")
OPTIONAL_TABLES = (LABEL_NAMES, CLASS_CHANGES)
PUBLISHED_FILES = (
    *("README.md", "croissant.json", "CITATION.cff", "citations.txt", "rights.txt"),
    *("attribution.parquet", "derived_dataset.csv"),
)
"""The files that ReportDataset writes beside the shards. They describe these shards only, so they go with them."""
TIMM_INFO, CLASS_WEIGHTS = "_info.json", "class_weights.json"
ENERGON_INFO, ENERGON_SPLITS, ENERGON_TYPE = ".nv-meta/.info.json", ".nv-meta/split.yaml", ".nv-meta/dataset.yaml"
LOADER_FILES = (TIMM_INFO, CLASS_WEIGHTS, ENERGON_INFO, ENERGON_SPLITS, ENERGON_TYPE)
"""Files that loaders and trainers read, besides the index of each shard."""
PARTS = ".parts"
"""The folder of the plan, and of the groups that are written."""
PLAN = "plan.json"


@dataclass(frozen=True)
class ShardFolders:
    """The folders that CreateWebDataset reads (`splits`, `images`) and writes (`shards`, temporarily `scratch`).

    Packs that are also in the folder `staged` are read there. With `to` the tars are written to this address instead.
    """

    splits: Path
    images: Path
    shards: Path
    scratch: Path
    staged: Path | None = None
    to: StoreAddress | None = None


@dataclass(frozen=True)
class Part:
    """A tar of a group, which will be a shard, and its index. `bytes` and `sha256` are those of the tar.

    If it `is_stored`, the tar is at the address of the shards; only the index is in the folder.
    """

    file: str
    samples: int
    bytes: int
    sha256: str
    index: str
    index_bytes: int
    is_stored: bool = False


@dataclass
class GroupRecord:
    """The parts of a group, and its images by transform; it is written after all parts."""

    parts: list[Part] = field(default_factory=list)
    transforms: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rename:
    """A file of a part, its final name in the folder of the shards, and its size in bytes."""

    part_file: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Shard:
    """A part with its final name, such as `train/train-000000.tar`, and the number of its group."""

    group: int
    split: str
    name: str
    part: Part

    @property
    def renames(self) -> tuple[Rename, Rename]:
        """The files of the shard: the index and, last, the tar."""
        index = self.name.removesuffix(".tar") + ".idx"
        return (
            Rename(self.part.index, index, self.part.index_bytes),
            Rename(self.part.file, self.name, self.part.bytes),
        )


def record_name(group: int) -> str:
    """The file name of a group's record."""
    return f"group-{group:06d}.json"


def write_record(shards: Path, group: int, record: GroupRecord) -> None:
    """Write the record of a group whose parts are written."""
    write_checked_json(shards / PARTS / record_name(group), asdict(record))


def read_record(shards: Path, group: int) -> GroupRecord | None:
    """The record of a group that is written; None if there is none, or a damaged one."""
    try:
        record, has_checksum = read_checked_json(shards / PARTS / record_name(group))
        parsed = GroupRecord(**{**record, "parts": [Part(**part) for part in record["parts"]]})
    except (FileNotFoundError, DamagedJsonError, TypeError, KeyError):
        return None
    return parsed if has_checksum else None


def name_shards(groups: Sequence[Group], records: Sequence[GroupRecord]) -> Iterator[Shard]:
    """The parts of all groups, in their order, with their final names."""
    numbers = dict.fromkeys(SPLITS, 0)
    for number, (group, record) in enumerate(zip(groups, records, strict=True)):
        for part in record.parts:
            name = f"{group.split}/{group.split}-{numbers[group.split]:06d}.tar"
            numbers[group.split] += 1
            yield Shard(number, group.split, name, part)


def find_unwritten_groups(shards: Path, groups: Sequence[Group], is_stored: bool = False) -> list[int]:
    """The numbers of the groups whose record or any part is missing; each folder is listed once, and no address.

    `is_stored` states whether the tars of the plan are at an address. Parts that are elsewhere count as missing.
    """
    sizes = list_sizes(shards / PARTS)
    numbers = [number for number in range(len(groups)) if record_name(number) in sizes]
    records = {number: record for number in numbers if (record := read_record(shards, number))}
    if len(records) == len(groups):  # then some parts may have their final names already
        final_sizes = {f"{split}/{name}": size for split in SPLITS for name, size in list_sizes(shards / split).items()}
        for shard in name_shards(groups, list(records.values())):
            for rename in shard.renames:
                if final_sizes.get(rename.name) == rename.bytes:
                    sizes[rename.part_file] = rename.bytes

    def is_written(part: Part) -> bool:
        has_tar = part.is_stored or sizes.get(part.file) == part.bytes
        return part.is_stored == is_stored and has_tar and sizes.get(part.index) == part.index_bytes

    written = {number for number, record in records.items() if all(map(is_written, record.parts))}
    return [number for number in range(len(groups)) if number not in written]


def list_sizes(folder: Path) -> dict[str, int]:
    """The size of each file in a folder, by name; nothing if there is no such folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}


def delete_shards(shards: Path) -> None:
    """Delete the plan, then the tables that mark the shards as complete, then the shards; leave an empty PARTS."""
    (shards / PARTS / PLAN).unlink(missing_ok=True)
    for name in (*TABLES, *OPTIONAL_TABLES, *PUBLISHED_FILES, *LOADER_FILES):
        (shards / name).unlink(missing_ok=True)
    for split in SPLITS:
        for name in list_sizes(shards / split):
            if re.fullmatch(rf"{split}-\d+\.(tar|idx|tar\.idx)", name):
                (shards / split / name).unlink()
    if (shards / PARTS).exists():
        shutil.rmtree(shards / PARTS)
    (shards / PARTS).mkdir(parents=True)
    delete_temporary_files(shards)


def delete_temporary_files(shards: Path) -> None:
    """Delete the temporary files that killed runs left, and none of a process that is running."""
    for folder in (shards, shards / PARTS):
        for path in folder.glob(f"{TEMPORARY}*"):
            delete_unless_locked(path)


def delete_temporary_parts(shards: Path, group: int) -> None:
    """Delete the temporary files of a group that killed processes left: a tar may fill a small disk."""
    for path in (shards / PARTS).glob(f"{TEMPORARY}group-{group:06d}*"):
        delete_unless_locked(path)
