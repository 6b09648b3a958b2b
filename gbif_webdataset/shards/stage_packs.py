"""Copy the packs that a part of the shards reads to a disk of the machine, which answers small reads faster."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from gbif_webdataset.formatting import format_count, format_size
from gbif_webdataset.shards.plan_shards import read_samples
from gbif_webdataset.shards.shard_files import ShardFolders
from gbif_webdataset.storage.atomic import TEMPORARY, temporary_folder
from gbif_webdataset.storage.pack_places import Place, locate_pack

MIN_READ_SHARE = 0.25
"""Part of a pack that has to be read from it; to copy a whole pack for less would take longer than to read it."""
MAX_DISK_SHARE = 0.8
"""Part of the free space on the disk that copies may take."""


@contextlib.contextmanager
def stage_packs(
    folders: ShardFolders, groups: Collection[int], disk: Path, report: Callable[[str], None]
) -> Iterator[ShardFolders]:
    """The folders to write `groups` from: packs that are read enough and fit are copied to `disk` until the block ends.

    `report` is called with a sentence about the copies. A pack that cannot be copied is read where it is.
    """
    with contextlib.ExitStack() as stack:
        try:
            staged = stack.enter_context(temporary_folder(disk, "packs"))  # it deletes those of killed processes first
            free = shutil.disk_usage(disk).free
        except OSError as error:
            report(f"no pack is copied to {disk}: {error.strerror}")
        else:
            packs = _choose_packs(folders, groups, MAX_DISK_SHARE * free)
            reserve = free - MAX_DISK_SHARE * free
            copied = [size for place, size in packs.items() if _copy_pack(folders.images, staged, place, reserve)]
            if packs:
                report(f"{format_count(len(copied), 'pack')} ({format_size(sum(copied))}) copied to {disk}")
            folders = replace(folders, staged=staged)
        yield folders


def _choose_packs(folders: ShardFolders, groups: Collection[int], max_bytes: float) -> dict[Path, int]:
    """The packs to copy, by path below images/, with their sizes: those of which most is read come first."""
    read: Counter[Path] = Counter()
    for group in groups:
        for sample in read_samples(folders.shards, group):
            if sample.place:
                place = Place.parse(sample.place)
                read[locate_pack(place)] += place.size
    found = {pack: (folders.images / pack).stat().st_size for pack in read if (folders.images / pack).is_file()}
    sizes = {pack: size for pack, size in found.items() if size}
    chosen: dict[Path, int] = {}
    for pack in sorted(sizes, key=lambda pack: (-read[pack] / sizes[pack], pack)):
        if read[pack] >= MIN_READ_SHARE * sizes[pack] and sum(chosen.values()) + sizes[pack] <= max_bytes:
            chosen[pack] = sizes[pack]
    return chosen


def _copy_pack(images: Path, staged: Path, pack: Path, reserve: float) -> bool:
    """Copy a pack; whether it is complete on the disk, which keeps `reserve` bytes free, whoever else writes there."""
    source, target = images / pack, staged / pack
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    try:
        if shutil.disk_usage(staged).free - source.stat().st_size < reserve:
            return False
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError:  # the disk is full, or the pack was written again
        temporary.unlink(missing_ok=True)
        return False
    return True
