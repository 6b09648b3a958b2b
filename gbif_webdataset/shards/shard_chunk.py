"""Writing a group of samples: tar files of fixed bytes, each read back before it gets its name."""

import json
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import webdataset

from gbif_webdataset.errors import DatasetError, MissingPieceError, SelectionError
from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.shards import tar_writer
from gbif_webdataset.shards.plan_shards import PARTS, Plan, read_plan, samples_of
from gbif_webdataset.shards.prefetch import in_order, read_ahead
from gbif_webdataset.shards.sample import Picture, Sample, picture_of
from gbif_webdataset.storage.atomic import atomic_file, sync

_REPORT_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class Part:
    """A tar file of a group, a shard to be, and its index: `bytes` and `sha256` are the tar's."""

    file: str
    samples: int
    bytes: int
    sha256: str
    index: str
    index_bytes: int


@dataclass
class Record:
    """What a group came to; written when all of its parts are. `treatments` counts images by samples.TREATMENTS."""

    parts: list[Part] = field(default_factory=list)
    treatments: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Packed:
    """A sample ready to be written: each member's name, header and data, and the bytes that they take in a tar."""

    key: str
    members: list[tuple[str, bytes, bytes]]
    bytes: int


def record_name(group: int) -> str:
    return f"group-{group:06d}.json"


def read_record(folder: Path, group: int) -> Record:
    """The record of a group that is written."""
    record = json.loads((folder / PARTS / record_name(group)).read_text(encoding="utf-8"))
    return Record(**{**record, "parts": [Part(**part) for part in record["parts"]]})


def write_group(folder: Path, images: Path, group: int, progress: Callable[[int], None], threads: int = 1) -> None:
    """Write the parts of one group of the plan in `folder`, then its record; `progress` gets samples as they are done.

    `threads` decode and encode side by side, which changes no byte. Needs nothing but the plan, so groups can be
    written in any order by any number of processes or machines. Raises MissingPieceError for an image that isn't as
    verified or a part that doesn't read back, SelectionError for a sample larger than a shard, DatasetError where this
    machine's codecs aren't those of the plan.
    """
    plan = read_plan(folder)
    if plan is None:
        raise MissingPieceError(f"{folder / PARTS}: there is no plan of the shards; run CreateWebDataset again")
    if plan.codecs != jpeg_decode.CODECS:
        raise DatasetError(
            f"{folder}: these shards were begun with {plan.codecs}, but this machine has {jpeg_decode.CODECS}, whose "
            "bytes are others; install requirements.lock on both, which need one kind of processor"
        )
    record = Record()
    packed = _packed(images, _pictures(folder, images, group, plan, threads), plan, record, progress)
    first = next(packed, None)
    while first is not None:
        path = folder / PARTS / f"group-{group:06d}-{len(record.parts):03d}.tar"
        index = path.with_suffix(".idx")
        with atomic_file(path) as temporary:
            tar, checksum, first = _write_part(temporary, first, packed, plan.max_shard_size)
            sync(temporary)
            _read_back(temporary, path, checksum)
            with atomic_file(index) as lines:
                lines.write_bytes(tar.index)
        record.parts.append(Part(path.name, tar.samples, tar.bytes, tar.sha256, index.name, len(tar.index)))
    with atomic_file(folder / PARTS / record_name(group)) as temporary:
        temporary.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")


def _pictures(folder: Path, images: Path, group: int, plan: Plan, threads: int) -> Iterator[tuple[Sample, Picture]]:
    def picture(found: tuple[Sample, bytes]) -> tuple[Sample, Picture]:
        sample, data = found
        return sample, picture_of(sample, data, images, plan.look)

    read = read_ahead(samples_of(folder, group), images)
    return map(picture, read) if threads == 1 else in_order(picture, read, threads)


def _packed(
    images: Path,
    pictures: Iterator[tuple[Sample, Picture]],
    plan: Plan,
    record: Record,
    progress: Callable[[int], None],
) -> Iterator[_Packed]:
    treatments: Counter[str] = Counter()
    unreported, reported_at = 0, time.monotonic()
    for sample, picture in pictures:
        contents = {"cls": str(sample.category).encode(), picture.extension: picture.data}
        if sample.json is not None:
            contents["json"] = sample.json.encode()
        packed = _pack(sample.key, contents)
        if tar_writer.tar_bytes(packed.bytes) > plan.max_shard_size:
            raise SelectionError(
                f"{images / sample.image_path}: alone takes a shard of {tar_writer.tar_bytes(packed.bytes):,} bytes, "
                f"more than max_shard_size, {plan.max_shard_size:,}; raise max_shard_size or set resize_min_size"
            )
        yield packed
        treatments.update(picture.treatments)
        unreported += 1
        if time.monotonic() - reported_at >= _REPORT_EVERY:
            progress(unreported)
            unreported, reported_at = 0, time.monotonic()
    record.treatments = dict(sorted(treatments.items()))
    progress(unreported)


def _pack(key: str, contents: dict[str, bytes]) -> _Packed:
    members = []
    for extension, data in sorted(contents.items()):
        name = f"{key}.{extension}"
        members.append((name, tar_writer.header(name, len(data)), data))
    return _Packed(key, members, sum(tar_writer.member_bytes(head, data) for _, head, data in members))


def _write_part(
    temporary: Path, first: _Packed, rest: Iterator[_Packed], limit: int
) -> tuple[tar_writer.Tar, int, _Packed | None]:
    """Write samples until the next one would exceed `limit`; return the tar, its content's checksum, the next."""
    content = 0
    following: _Packed | None = first
    with temporary.open("wb") as file:
        tar = tar_writer.Tar(file)
        while following is not None and tar_writer.tar_bytes(tar.bytes + following.bytes) <= limit:
            tar.add(following.members)
            for name, _, data in following.members:
                content = _checksum(content, name, data)
            following = next(rest, None)
        tar.close()
    return tar, content, following


def _read_back(temporary: Path, path: Path, written: int) -> None:
    """Read a part as a trainer will: the same keys in the same order with the same bytes, or MissingPieceError."""
    content = 0
    try:
        with temporary.open("rb") as file:
            # by its descriptor, because webdataset takes paths for URLs and cuts them at '#' and '?'
            dataset = webdataset.WebDataset(
                [f"/dev/fd/{file.fileno()}"],
                shardshuffle=False,
                nodesplitter=None,
                workersplitter=None,
                empty_check=False,
            )
            for sample in dataset:
                for extension in sorted(name for name in sample if not name.startswith("__")):
                    content = _checksum(content, f"{sample['__key__']}.{extension}", sample[extension])
    except (tarfile.TarError, ValueError, OSError) as error:
        raise MissingPieceError(f"{path}: can't be read back ({error}); check the disk and run again") from error
    if content != written:
        raise MissingPieceError(f"{path}: reads back other than it was written; check the disk and run again")


def _checksum(so_far: int, name: str, data: bytes) -> int:
    """CRC-32 of a member after those before it, several times as fast as SHA-256."""
    return zlib.crc32(data, zlib.crc32(f"{name}\0{len(data)}\0".encode(), so_far))
