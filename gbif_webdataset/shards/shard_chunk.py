"""Write groups of samples: tars whose bytes depend on the plan alone, each read back before it gets its name."""

import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gbif_webdataset.errors import DamagedFileError, DatasetError, MissingPieceError, SelectionError
from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.process_pool import run_in_processes
from gbif_webdataset.shards.caption import CaptionTemplate, parse_template
from gbif_webdataset.shards.plan_shards import Plan, read_plan, read_samples
from gbif_webdataset.shards.prefetch import map_in_order, prefetch_images
from gbif_webdataset.shards.recipe import format_option
from gbif_webdataset.shards.sample import Picture, Sample, make_picture
from gbif_webdataset.shards.shard_files import (
    PARTS,
    GroupRecord,
    Part,
    ShardFolders,
    delete_temporary_parts,
    find_unwritten_groups,
    write_record,
)
from gbif_webdataset.shards.shard_store import ShardStore
from gbif_webdataset.shards.tar_writer import Member, TarWriter, count_member_bytes, count_tar_bytes, make_member
from gbif_webdataset.storage.atomic import atomic_file, place_file, sync, temporary_file
from gbif_webdataset.storage.image_reader import ImageReader

_REPORT_SECONDS = 0.2  # between two calls of progress

SAMPLES_PER_PROCESS = 500
"""Threads of one process write this many samples before a second process has started."""


@dataclass(frozen=True)
class _PackedSample:
    """A sample ready to be written: its members, and the bytes that they take in a tar."""

    members: list[Member]
    bytes: int


def write_groups(
    folders: ShardFolders, plan: Plan, groups: Sequence[int], workers: int, progress: Callable[[int, int], None]
) -> None:
    """Write those of `groups` that are not written yet, in `workers` processes or, if they are small, threads.

    `progress` gets (samples written, samples of `groups`). See write_group for the errors.
    """
    missing = set(find_unwritten_groups(folders.shards, plan.groups, is_stored=bool(folders.to)))
    total = sum(plan.groups[group].samples for group in groups)

    def report(done: int, missing_samples: int) -> None:
        progress(total - missing_samples + done, total)

    rewrite_groups(folders, plan, [group for group in groups if group in missing], workers, report)


def rewrite_groups(
    folders: ShardFolders, plan: Plan, groups: Sequence[int], workers: int, progress: Callable[[int, int], None]
) -> None:
    """Write all of `groups` as write_groups does; the records of those that are written are replaced."""
    done, total = 0, sum(plan.groups[group].samples for group in groups)
    progress(done, total)

    def add(samples: int) -> None:
        nonlocal done
        done += samples
        progress(done, total)

    processes = max(1, min(workers, len(groups), 1 + total // SAMPLES_PER_PROCESS))
    write = partial(_write_group, folders, plan.digest, workers // processes)
    for _ in run_in_processes(write, groups, processes, add):
        pass


def _write_group(folders: ShardFolders, digest: str, threads: int, group: int, progress: Callable[[int], None]) -> None:
    write_group(folders, digest, group, progress, threads)


def write_group(
    folders: ShardFolders, digest: str, group: int, progress: Callable[[int], None], threads: int = 1
) -> None:
    """Write the parts of a group of the plan with this digest, then its record. It needs only the plan and the images.

    `progress` gets numbers of samples as they are written. `threads` images are decoded and encoded at a time.

    Raises:
        MissingPieceError: the plan was made again, an image has changed since it was verified, or a part cannot be read
            back.
        SelectionError: a sample is larger than a shard.
        DatasetError: the codecs of this machine are not those of the plan.
        StoreError: the address of the shards refuses a part, or cannot be reached.
    """
    plan = _read_same_plan(folders.shards, digest)
    if plan.codecs != jpeg_decode.CODECS:
        raise DatasetError(
            f"{folders.shards}: these shards were started with {plan.codecs}; this machine has {jpeg_decode.CODECS}, "
            "which encodes images to different bytes. Install the same requirements.lock on all machines and use "
            f"machines of one CPU architecture, or delete {folders.shards / PARTS} to start over"
        )
    delete_temporary_parts(folders.shards, group)
    record, store = GroupRecord(), ShardStore(folders.to) if folders.to else None
    packed = _pack_samples(_make_pictures(folders, group, plan, threads), plan, record, progress)
    first = next(packed, None)
    while first is not None:
        path = folders.shards / PARTS / f"group-{group:06d}-{len(record.parts):03d}.tar"
        with temporary_file(path) as temporary:
            tar, checksum, first = _write_part(temporary, first, packed, plan.max_shard_size)
            sync(temporary)
            _read_back(temporary, path, checksum)
            _read_same_plan(folders.shards, digest)
            index = path.with_suffix(".idx")
            with atomic_file(index) as temporary_index:
                temporary_index.write_bytes(tar.index)
            name = path.name
            if store:
                name = f"{path.stem}-{digest[:8]}.tar"  # no process with an older plan can replace it
                try:
                    store.put_part(temporary, name, tar.bytes, tar.sha256)
                except DamagedFileError:
                    raise _make_damage_error(path) from None
            else:
                place_file(temporary, path)
        is_stored, size = store is not None, len(tar.index)
        record.parts.append(Part(name, tar.samples, tar.bytes, tar.sha256, index.name, size, is_stored))
    _read_same_plan(folders.shards, digest)
    write_record(folders.shards, group, record)


def _read_same_plan(shards: Path, digest: str) -> Plan:
    """The plan. It is read again before files get the names of its parts, as another process may have replaced it.

    Raises:
        MissingPieceError: there is none, or one with another digest.
    """
    plan = read_plan(shards)
    if plan is None:
        raise MissingPieceError(f"{shards / PARTS}: the plan of the shards is missing; repeat the command")
    if plan.digest != digest:
        raise MissingPieceError(f"{shards / PARTS}: the plan of the shards was made again; run the same command again")
    return plan


def _make_pictures(folders: ShardFolders, group: int, plan: Plan, threads: int) -> Iterator[tuple[Sample, Picture]]:
    def convert(read: tuple[Sample, bytes]) -> tuple[Sample, Picture]:
        sample, data = read
        return sample, make_picture(sample, data, folders.images, plan.image_settings)

    samples = prefetch_images(read_samples(folders.shards, group), ImageReader(folders.images, folders.staged))
    return map(convert, samples) if threads == 1 else map_in_order(convert, samples, threads)


def _pack_samples(
    pictures: Iterator[tuple[Sample, Picture]],
    plan: Plan,
    record: GroupRecord,
    progress: Callable[[int], None],
) -> Iterator[_PackedSample]:
    """The samples ready to be written. Sets `record.transforms` at the end."""
    transforms: Counter[str] = Counter()
    template = parse_template(plan.caption_template) if plan.caption_template else None
    unreported, reported_at = 0, time.monotonic()
    for sample, picture in pictures:
        packed = _pack(sample, picture, template)
        if (size := count_tar_bytes(packed.bytes)) > plan.max_shard_size:
            raise SelectionError(
                f"{format_option('max_shard_size', plan.max_shard_size)}: a shard with only images/{sample.image_path} "
                f"has {size:,} bytes; raise this value, or shrink images with {format_option('resize_min_size')}"
            )
        yield packed
        transforms.update(picture.transforms)
        unreported += 1
        if time.monotonic() - reported_at >= _REPORT_SECONDS:
            progress(unreported)
            unreported, reported_at = 0, time.monotonic()
    record.transforms = dict(sorted(transforms.items()))
    progress(unreported)


def _pack(sample: Sample, picture: Picture, template: CaptionTemplate | None) -> _PackedSample:
    contents = {"cls": str(sample.category).encode(), picture.extension: picture.data}
    if sample.json is not None:
        contents["json"] = sample.json.encode()
    if template is not None and sample.caption is not None:
        contents["txt"] = template.compose(sample.caption).encode()
    members = [make_member(f"{sample.key}.{extension}", data) for extension, data in sorted(contents.items())]
    return _PackedSample(members, sum(map(count_member_bytes, members)))


def _write_part(
    temporary: Path, first: _PackedSample, others: Iterator[_PackedSample], max_bytes: int
) -> tuple[TarWriter, int, _PackedSample | None]:
    """Write samples until the tar is full; return the tar, the checksum of its members, and the next sample."""
    checksum = 0
    sample: _PackedSample | None = first
    with temporary.open("wb") as file:
        tar = TarWriter(file)
        while sample is not None and count_tar_bytes(tar.bytes + sample.bytes) <= max_bytes:
            tar.add(sample.members)
            for member in sample.members:
                checksum = _update_checksum(checksum, member.name, member.data)
            sample = next(others, None)
        tar.close()
    return tar, checksum, sample


def _read_back(temporary: Path, path: Path, expected: int) -> None:
    """Read a part as a trainer does, and compare the checksum of its members with `expected`.

    Raises:
        MissingPieceError: the part cannot be read, or its keys, their order or the data differ.
    """
    import webdataset  # only here: every task imports this module, and webdataset takes 20 ms

    checksum = 0
    try:
        with temporary.open("rb") as file:
            # webdataset takes a path for a URL and cuts it at '#' and '?', so it gets the descriptor
            dataset = webdataset.WebDataset(
                [f"/dev/fd/{file.fileno()}"],
                shardshuffle=False,
                nodesplitter=None,
                workersplitter=None,
                empty_check=False,
            )
            for sample in dataset:
                for extension in sorted(name for name in sample if not name.startswith("__")):
                    checksum = _update_checksum(checksum, f"{sample['__key__']}.{extension}", sample[extension])
    except (tarfile.TarError, ValueError, OSError) as error:
        raise MissingPieceError(
            f"{path}: cannot be read back after writing ({error}); check the disk and repeat the command"
        ) from error
    if checksum != expected:
        raise _make_damage_error(path)


def _make_damage_error(path: Path) -> MissingPieceError:
    return MissingPieceError(f"{path}: differs from the data that were written; check the disk and repeat the command")


def _update_checksum(checksum: int, name: str, data: bytes) -> int:
    """CRC-32 of all members so far, which takes a fraction of SHA-256's time."""
    return zlib.crc32(data, zlib.crc32(f"{name}\0{len(data)}\0".encode(), checksum))
