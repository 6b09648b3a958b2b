"""CreateWebDataset: from the splits and the images to shards.

A plan fixes the order of the samples and cuts it into groups. Groups are written in any order, to parts. When all are
written, the parts get their final names, in the order of the groups. So the bytes do not depend on the number of
workers, and a killed run continues with the groups that are missing.
"""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.shards.loader_files import write_loader_files
from gbif_webdataset.shards.plan_shards import Plan, prepare_plan, read_plan
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards.sample import TRANSFORMS
from gbif_webdataset.shards.shard_chunk import rewrite_groups, write_groups
from gbif_webdataset.shards.shard_files import (
    PARTS,
    SHARD_LIST,
    GroupRecord,
    Shard,
    ShardFolders,
    find_unwritten_groups,
    name_shards,
    read_record,
)
from gbif_webdataset.shards.shard_store import ShardStore
from gbif_webdataset.storage.atomic import atomic_file, sync
from gbif_webdataset.terms import columns


@dataclass(frozen=True)
class ShardCounts:
    """What the shards contain, in samples unless stated otherwise. The names are those of the task's record."""

    samples: dict[str, int]  # by split
    dropped: dict[str, int]  # rows in dropped.csv, by reason
    passed_through: int  # with the bytes of the file
    reencoded: int  # all others
    cropped: int  # to the box of the animal
    enlarged: int  # to a square larger than the image
    turned: int  # as EXIF states
    transparent: int  # put on white
    deep: int  # more than 8 bits per channel, scaled
    animated: int  # only the first picture was used
    cmyk: int  # converted to sRGB
    boxes_ignored: int  # boxes without area, or with a number that is not finite
    without_detection: int  # not cropped because there is no usable box
    shards: int  # shards
    bytes: int  # bytes of all shards


def create_shards(
    folders: ShardFolders, recipe: Recipe, workers: int, progress: Callable[[int, int], None]
) -> ShardCounts:
    """Write the samples of the splits to shards; a stopped run is continued.

    The shards are <split>/<split>-000000.tar and so on, each with its index, <split>-000000.idx. Beside the splits are
    category_map.json, classes.csv, dropped.csv and, written when the shards have their names, shards.csv and the files
    of loader_files. `progress` gets (samples written, all samples).

    Raises:
        SelectionError: a column is unknown, the category map lacks a label, or a sample is larger than a shard.
        MissingPieceError: a split is missing, or an image has changed since it was verified.
        ParameterError: a parameter is out of range, or a file that it names is missing or not valid.
    """
    plan = prepare_plan(folders, recipe)
    write_groups(folders, plan, range(len(plan.groups)), workers, progress)
    if folders.to and (lost := _find_lost_groups(ShardStore(folders.to), folders.shards, plan)):
        rewrite_groups(folders, plan, lost, workers, progress)
    return finish_shards(folders)


def _find_lost_groups(store: ShardStore, shards: Path, plan: Plan) -> list[int]:
    """The groups with a part that the store does not have. Their records stay: final names are found by all records."""
    lost = store.find_lost_parts(shards, list(name_shards(plan.groups, _read_records(shards, plan))))
    return sorted({shard.group for shard in lost})


def finish_shards(folders: ShardFolders) -> ShardCounts:
    """Give the parts their final names, write shards.csv and the files for loaders, and delete the plan.

    Raises:
        MissingPieceError: a group is not written.
        StoreError: the address of the shards refuses a request, or cannot be reached.
    """
    shards = folders.shards
    plan = read_plan(shards)
    if plan is None or (missing := find_unwritten_groups(shards, plan.groups, bool(folders.to))):
        problem = f"group {missing[0]} of the shards is missing" if plan else "the plan of the shards is missing"
        raise MissingPieceError(f"{shards / PARTS}: {problem}; run CreateWebDataset again")
    records = _read_records(shards, plan)
    named = list(name_shards(plan.groups, records))
    for split in {shard.split for shard in named}:
        (shards / split).mkdir(exist_ok=True)
    if folders.to:
        store = ShardStore(folders.to)
        store.name_shards(shards, named)
        store.delete_parts(named)
    _rename_parts(shards, named)
    _write_shard_list(shards / SHARD_LIST, named)
    write_loader_files(shards)
    shutil.rmtree(shards / PARTS)
    return _count(plan, records, named)


def _read_records(shards: Path, plan: Plan) -> list[GroupRecord]:
    return [record for group in range(len(plan.groups)) if (record := read_record(shards, group))]


def _rename_parts(shards: Path, named: list[Shard]) -> None:
    for shard in named:
        for rename in shard.renames:
            part = shards / PARTS / rename.part_file
            if part.exists():  # a killed run may have renamed it
                part.replace(shards / rename.name)
    for split in {shard.split for shard in named}:
        sync(shards / split)


def _write_shard_list(path: Path, named: list[Shard]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in columns.SHARDS])
        for shard in named:
            writer.writerow([shard.split, shard.name, shard.part.samples, shard.part.bytes, shard.part.sha256])


def _count(plan: Plan, records: list[GroupRecord], named: list[Shard]) -> ShardCounts:
    return ShardCounts(
        samples=plan.samples,
        dropped=plan.dropped,
        **{name: sum(record.transforms.get(name, 0) for record in records) for name in TRANSFORMS},
        boxes_ignored=plan.boxes_ignored,
        without_detection=plan.without_detection,
        shards=len(named),
        bytes=sum(shard.part.bytes for shard in named),
    )
