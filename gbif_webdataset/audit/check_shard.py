"""Compare a shard with its record, with shards.csv and with its index."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gbif_webdataset.audit.check_file import Expected, Finding, check_file
from gbif_webdataset.terms.differences import Difference

Entry = tuple[str, int, int]
"""Extension, offset and length of a member of a tar."""


@dataclass(frozen=True)
class ExpectedShard:
    """A tar and its index. `samples` is the number in shards.csv; None if that cannot be read."""

    tar: Expected
    index: Expected
    samples: int | None


def check_shard(output: Path, shard: ExpectedShard) -> list[Finding]:
    """The differences of a tar and its index, at most one for each of them."""
    found = [check_file(output, file) for file in (shard.tar, shard.index)]
    findings = [finding for finding in found if finding]
    if findings:
        return findings
    try:
        samples = list(read_samples(output / shard.tar.file))
    except (tarfile.TarError, ValueError, OSError) as error:
        return [shard.tar.differs(Difference.UNREADABLE, f"its members cannot be read: {error}")]
    if shard.samples is not None and len(samples) != shard.samples:
        return [shard.tar.differs(Difference.CHANGED, f"{len(samples)} samples instead of {shard.samples}")]
    if read_index(output / shard.index.file) != samples:
        return [shard.index.differs(Difference.CHANGED, "it does not agree with the tar")]
    return []


def read_samples(tar: Path) -> Iterator[list[Entry]]:
    """The members of each sample, in their order. Only the headers are read.

    Raises:
        tarfile.TarError, ValueError, OSError: the tar cannot be read.
    """
    with tarfile.open(tar, "r:") as archive:
        yield from list_samples(archive)


def list_samples(archive: tarfile.TarFile) -> Iterator[list[Entry]]:
    """The members of each sample of an open tar, in their order."""
    names = ((member.name.rpartition("."), member) for member in _list_members(archive))
    for _, members in groupby(names, key=lambda pair: pair[0][0]):
        yield [(extension, member.offset_data, member.size) for (_, _, extension), member in members]


def _list_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of an open tar, which tarfile would keep in memory until the tar is closed."""
    while member := archive.next():
        archive.members.clear()  # type: ignore[attr-defined]
        yield member


def read_index(path: Path) -> list[list[Entry]]:
    """The members of each sample in an index of DALI; empty if it is not one."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        words = [line.split(" ") for line in lines]
        entries = [[(w[at], int(w[at + 1]), int(w[at + 2])) for at in range(0, len(w), 4)] for w in words]
    except (ValueError, IndexError):
        return []
    return entries if header.split(" ")[-1] == str(len(entries)) else []
