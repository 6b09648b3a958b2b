"""CreateWebDataset's work: from the splits and the images to shards.

The plan is made first, groups of samples are written in any order to parts, and what the parts are called in the end
follows from the groups' records alone. So the shards are the same for any number of workers, and a run that was killed
goes on where it stopped.
"""

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.process_pool import run_in_processes
from gbif_webdataset.shards.category_map import LABEL_NAMES
from gbif_webdataset.shards.plan_shards import PARTS, Plan, make_plan, read_plan
from gbif_webdataset.shards.recipe import Recipe, digest_of
from gbif_webdataset.shards.sample import TREATMENTS
from gbif_webdataset.shards.shard_chunk import Part, Record, read_record, record_name, write_group
from gbif_webdataset.storage.atomic import TEMPORARY, atomic_file, sync
from gbif_webdataset.terms.splits import SPLITS

__all__ = [
    "SOME_TABLES",
    "TABLES",
    "Outcome",
    "Plan",
    "Recipe",
    "create",
    "finish",
    "planned",
    "prepare",
    "unwritten",
    "write",
    "write_group",
]

TABLES = ("shards.csv", "category_map.json", "classes.csv", "dropped.csv")
SAMPLES_PER_PROCESS = 500  # threads of one process write so many before a second process has started
SOME_TABLES = (LABEL_NAMES,)  # which not all shards have
# What publication.write puts beside the shards, which tells of these and no others.
PUBLISHED = (
    *("README.md", "croissant.json", "CITATION.cff", "citations.txt", "rights.txt"),
    *("attribution.parquet", "derived_dataset.csv"),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a run, in samples unless said otherwise."""

    samples: dict[str, int]  # by split
    dropped: dict[str, int]  # by reason; the rows are in dropped.csv
    passed_through: int  # byte for byte; all others are reencoded
    reencoded: int
    cropped: int  # to their box
    enlarged: int  # to a square larger than they were
    turned: int  # as EXIF says
    transparent: int  # laid on white
    deep: int  # more than 8 bits a channel, scaled
    animated: int  # the first of several pictures was taken
    cmyk: int  # inks converted to sRGB
    boxes_ignored: int  # boxes without area
    without_detection: int  # left whole for want of a usable box
    shards: int
    bytes: int


@dataclass(frozen=True)
class _Shard:
    split: str
    name: str  # relative to the shards' folder
    part: Part

    @property
    def files(self) -> tuple[tuple[str, str, int], ...]:
        """(the part's file, its final name, its bytes) of the index and, last, the tar."""
        index = self.name.removesuffix(".tar") + ".idx"
        return (self.part.index, index, self.part.index_bytes), (self.part.file, self.name, self.part.bytes)


def create(
    splits: Path,
    images: Path,
    folder: Path,
    recipe: Recipe,
    workers: int,
    scratch: Path,
    progress: Callable[[int, int], None],
) -> Outcome:
    """Write the samples of splits/{train,val,test}.csv to `folder`/<split>/<split>-000000.tar and so on.

    Beside each stands its index, <split>-000000.idx; beside the splits category_map.json, classes.csv, dropped.csv and,
    written last, shards.csv. `progress` gets (done, total) samples. A run that was stopped goes on with the groups
    that are missing; other input or another recipe removes the old shards first. Raises DatasetError's children:
    ParameterError, SelectionError, MissingPieceError.
    """
    plan = prepare(splits, images, folder, recipe, scratch)
    groups = unwritten(folder, plan)
    write(folder, images, plan, groups, workers, sum(group.samples for group in plan.groups), progress)
    return finish(folder)


def write(
    folder: Path,
    images: Path,
    plan: Plan,
    groups: Sequence[int],
    workers: int,
    total: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write `groups` of the plan, which are what is left of `total` samples; `progress` gets (done, total)."""
    done = total - sum(plan.groups[group].samples for group in groups)
    progress(done, total)

    def advance(samples: int) -> None:
        nonlocal done
        done += samples
        progress(done, total)

    processes = max(1, min(workers, len(groups), 1 + (total - done) // SAMPLES_PER_PROCESS))
    threads = workers // processes  # of each process
    for _ in run_in_processes(partial(_write, folder, images, threads), groups, processes, advance):
        pass


def prepare(splits: Path, images: Path, folder: Path, recipe: Recipe, scratch: Path) -> Plan:
    """The plan of these shards: the one that a stopped run left, or a new one in a folder cleared of older shards."""
    if plan := planned(splits, folder, recipe):
        _sweep(folder)
        return plan
    _clear(folder)
    return make_plan(splits, images, folder, recipe, digest_of(splits, recipe), scratch)


def planned(splits: Path, folder: Path, recipe: Recipe) -> Plan | None:
    """The plan of these shards; None where there is none yet, or only one of others."""
    plan = read_plan(folder)
    return plan if plan is not None and plan.digest == digest_of(splits, recipe) else None


def unwritten(folder: Path, plan: Plan) -> list[int]:
    """The groups of which a part or the record is missing, from one listing of each folder."""
    sizes = _sizes(folder / PARTS)
    recorded = [group for group in range(len(plan.groups)) if record_name(group) in sizes]
    records = {group: read_record(folder, group) for group in recorded}
    renamed: dict[str, int] = {}
    if len(records) == len(plan.groups):
        final = {f"{split}/{name}": size for split in SPLITS for name, size in _sizes(folder / split).items()}
        shards = _shards(plan, [records[group] for group in recorded])
        renamed = {file: final.get(name, -1) for shard in shards for file, name, _ in shard.files}

    def is_there(file: str, size: int) -> bool:
        return size in (sizes.get(file), renamed.get(file))

    written = {
        group
        for group, record in records.items()
        if all(is_there(part.file, part.bytes) and is_there(part.index, part.index_bytes) for part in record.parts)
    }
    return [group for group in range(len(plan.groups)) if group not in written]


def finish(folder: Path) -> Outcome:
    """Number the parts, give them their final names, write shards.csv, and take the plan and the records away.

    Raises MissingPieceError where a group isn't written.
    """
    plan = read_plan(folder)
    if plan is None or (missing := unwritten(folder, plan)):
        which = f"group {missing[0]} of the shards isn't written" if plan else "there is no plan of the shards"
        raise MissingPieceError(f"{folder / PARTS}: {which}; run CreateWebDataset again")
    records = [read_record(folder, group) for group in range(len(plan.groups))]
    shards = list(_shards(plan, records))
    for split in SPLITS:
        if any(shard.split == split for shard in shards):
            (folder / split).mkdir(exist_ok=True)
    for shard in shards:
        for part_file, name, _ in shard.files:
            part = folder / PARTS / part_file
            if part.exists():
                part.replace(folder / name)
    for split in {shard.split for shard in shards}:
        sync(folder / split)
    with atomic_file(folder / "shards.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["split", "shard", "samples", "bytes", "sha256"])
        for shard in shards:
            lines.writerow([shard.split, shard.name, shard.part.samples, shard.part.bytes, shard.part.sha256])
    shutil.rmtree(folder / PARTS)
    return Outcome(
        samples=plan.samples,
        dropped=plan.dropped,
        **{name: sum(record.treatments.get(name, 0) for record in records) for name in TREATMENTS},
        boxes_ignored=plan.boxes_ignored,
        without_detection=plan.without_detection,
        shards=len(shards),
        bytes=sum(shard.part.bytes for shard in shards),
    )


def _write(folder: Path, images: Path, threads: int, group: int, progress: Callable[[int], None]) -> None:
    write_group(folder, images, group, progress, threads)


def _shards(plan: Plan, records: list[Record]) -> Iterator[_Shard]:
    """The parts in the order of their groups, under their final names."""
    numbers = dict.fromkeys(SPLITS, 0)
    for group, record in zip(plan.groups, records, strict=True):
        for part in record.parts:
            name = f"{group.split}/{group.split}-{numbers[group.split]:06d}.tar"
            numbers[group.split] += 1
            yield _Shard(group.split, name, part)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}


def _clear(folder: Path) -> None:
    """Take away the plan, then what tells that the shards are whole, then the shards."""
    (folder / PARTS / "plan.json").unlink(missing_ok=True)
    for name in (*TABLES, *SOME_TABLES, *PUBLISHED):
        (folder / name).unlink(missing_ok=True)
    for split in SPLITS:
        for name in _sizes(folder / split):
            if re.fullmatch(rf"{split}-\d+\.(tar|idx)", name):
                (folder / split / name).unlink()
    if (folder / PARTS).exists():
        shutil.rmtree(folder / PARTS)
    (folder / PARTS).mkdir(parents=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Take away what a killed run left under temporary names."""
    for place in (folder, folder / PARTS):
        for path in place.glob(f"{TEMPORARY}*"):
            path.unlink()
