"""Writing a group of samples: tar files of fixed bytes, each read back before it gets its name."""

import hashlib
import json
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import webdataset

from tasks.core.errors import MissingPieceError, SelectionError
from tasks.core.files import sync, whole_file
from tasks.core.samples import Sample, jpeg_of
from tasks.core.shard_plan import PARTS, Plan, read_plan, samples_of

MTIME = 946_684_800  # 2000-01-01: GNU tar warns of older files
MODE = 0o644
_REPORT_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class Part:
    """A tar file of a group, a shard to be."""

    file: str
    samples: int
    bytes: int
    sha256: str


@dataclass
class Record:
    """What a group came to; written when all of its parts are."""

    parts: list[Part] = field(default_factory=list)
    passed_through: int = 0
    reencoded: int = 0
    cropped: int = 0


@dataclass(frozen=True)
class _Packed:
    """A sample ready to be written, and the bytes it takes in a tar."""

    sample: Sample
    members: dict[str, bytes]
    bytes: int


def record_name(group: int) -> str:
    return f"group-{group:06d}.json"


def read_record(folder: Path, group: int) -> Record:
    """The record of a group that is written."""
    record = json.loads((folder / PARTS / record_name(group)).read_text(encoding="utf-8"))
    return Record(**{**record, "parts": [Part(**part) for part in record["parts"]]})


def write_group(folder: Path, images: Path, group: int, progress: Callable[[int], None]) -> None:
    """Write the parts of one group of the plan in `folder`, then its record; `progress` gets samples as they are done.

    Needs nothing but the plan, so groups can be written in any order by any number of processes or machines. Raises
    MissingPieceError for an image that isn't as verified or a part that doesn't read back, SelectionError for a sample
    larger than a shard.
    """
    plan = read_plan(folder)
    if plan is None:
        raise MissingPieceError(f"{folder / PARTS}: there is no plan of the shards; run CreateWebDataset again")
    record = Record()
    packed = _packed(folder, images, group, plan, record, progress)
    first = next(packed, None)
    while first is not None:
        path = folder / PARTS / f"group-{group:06d}-{len(record.parts):03d}.tar"
        with whole_file(path) as temporary:
            part, checksum, first = _write_part(temporary, path.name, first, packed, plan.max_shard_size)
            sync(temporary)
            _read_back(temporary, path, checksum)
        record.parts.append(part)
    with whole_file(folder / PARTS / record_name(group)) as temporary:
        temporary.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")


def _packed(
    folder: Path, images: Path, group: int, plan: Plan, record: Record, progress: Callable[[int], None]
) -> Iterator[_Packed]:
    unreported, reported_at = 0, time.monotonic()
    for sample in samples_of(folder, group):
        data, untouched = jpeg_of(sample, images, plan.look)
        members = {"cls": str(sample.category).encode(), "jpg": data}
        if sample.json is not None:
            members["json"] = sample.json.encode()
        packed = _Packed(sample, members, sum(_member_bytes(f"{sample.key}.{e}", len(d)) for e, d in members.items()))
        if tar_bytes(packed.bytes) > plan.max_shard_size:
            raise SelectionError(
                f"{images / sample.image_path}: alone takes a shard of {tar_bytes(packed.bytes):,} bytes, more than "
                f"max_shard_size, {plan.max_shard_size:,}; raise max_shard_size or set resize_min_size"
            )
        yield packed
        record.passed_through += untouched
        record.reencoded += not untouched
        record.cropped += sample.box is not None
        unreported += 1
        if time.monotonic() - reported_at >= _REPORT_EVERY:
            progress(unreported)
            unreported, reported_at = 0, time.monotonic()
    progress(unreported)


def _member_bytes(name: str, size: int) -> int:
    """A member's bytes in a tar: its header, the extended one of a long name too, and its data in whole blocks."""
    header = tarfile.TarInfo(name)
    header.size = size
    head = len(header.tobuf(tarfile.DEFAULT_FORMAT, tarfile.ENCODING, "surrogateescape"))
    return head + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def tar_bytes(members: int) -> int:
    """The length of a tar file whose members take that many bytes: two empty blocks, then filled to whole records."""
    return -(-(members + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _write_part(
    temporary: Path, name: str, first: _Packed, rest: Iterator[_Packed], limit: int
) -> tuple[Part, int, _Packed | None]:
    """Write samples until the next one would exceed `limit`; return the part, its content's checksum, the next."""
    content = samples = filled = 0
    following: _Packed | None = first
    with temporary.open("wb") as file:
        stream = _Hashed(file)
        with webdataset.TarWriter(stream, user="", group="", mode=MODE, mtime=MTIME, encoder=False) as tar:
            while following is not None and tar_bytes(filled + following.bytes) <= limit:
                tar.write({"__key__": following.sample.key, **following.members})
                tar.tarstream.members = []  # tarfile keeps every header it wrote
                content = _checksum(content, following.sample.key, following.members)
                samples, filled = samples + 1, filled + following.bytes
                following = next(rest, None)
    return Part(name, samples, stream.bytes, stream.sha256.hexdigest()), content, following


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        return self.file.write(data)


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
                members = {name: data for name, data in sample.items() if not name.startswith("__")}
                content = _checksum(content, sample["__key__"], members)
    except (tarfile.TarError, ValueError, OSError) as error:
        raise MissingPieceError(f"{path}: can't be read back ({error}); check the disk and run again") from error
    if content != written:
        raise MissingPieceError(f"{path}: reads back other than it was written; check the disk and run again")


def _checksum(so_far: int, key: str, members: dict[str, bytes]) -> int:
    """CRC-32 of everything a sample is, after the samples before it: eight times as fast as SHA-256."""
    for name in sorted(members):
        so_far = zlib.crc32(members[name], zlib.crc32(f"{key}\0{name}\0{len(members[name])}\0".encode(), so_far))
    return so_far
