"""Tars and their index, compared with tarfile, webdataset and GNU tar."""

import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset

from gbif_webdataset.shards import tar_writer
from gbif_webdataset.shards.tar_writer import TarWriter
from gbif_webdataset.storage import tar_headers


def make_samples() -> list[tuple[str, dict[str, bytes]]]:
    rng = random.Random(7)
    keys = [f"ds/{number}" for number in range(20)] + [f"{'long' * 40}/{number}" for number in range(3)] + ["ds/é 1"]
    return [(key, {"cls": b"12", "jpg": rng.randbytes(rng.randrange(3000)), "json": b"{}"}) for key in keys]


def write_samples(file: io.BytesIO) -> TarWriter:
    tar = TarWriter(file)
    for key, contents in make_samples():
        tar.add([tar_writer.make_member(f"{key}.{extension}", data) for extension, data in contents.items()])
    tar.close()
    return tar


def test_a_tar_has_the_bytes_of_webdatasets_writer() -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    tar = write_samples(ours)
    with webdataset.TarWriter(
        theirs, user="", group="", mode=tar_headers.MODE, mtime=tar_headers.MTIME, encoder=False
    ) as writer:
        for key, contents in make_samples():
            writer.write({"__key__": key, **contents})
    assert ours.getvalue() == theirs.getvalue()
    assert (tar.bytes, tar.samples) == (len(ours.getvalue()), len(make_samples()))


def test_the_index_has_offset_and_size_of_each_member() -> None:
    file = io.BytesIO()
    head, *lines = write_samples(file).index.decode().splitlines()
    assert head == f"v1.2 {len(make_samples())}"
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        members = [(member.name, member.offset_data, member.size) for member in tar]
    found = [line.split(" ")[at : at + 4] for line in lines for at in (0, 4, 8)]
    assert len(found) == len(members)
    for (extension, offset, size, name), (expected, start, length) in zip(found, members, strict=True):
        assert (int(offset), int(size)) == (start, length)
        assert extension == expected.rpartition(".")[2]
        assert name == expected.replace(" ", "_")  # a space would end the name
    assert all(len(line.split(" ")) == 12 for line in lines)


def test_the_index_has_the_offsets_of_gnu_tar(tmp_path: Path) -> None:
    """As wds2idx finds them: a member's data end where the next one's header begins."""
    file = io.BytesIO()
    index = write_samples(file).index.decode().splitlines()[1:]
    path = tmp_path / "a.tar"
    path.write_bytes(file.getvalue())
    listing = subprocess.run(["tar", "--list", "--block-number", "--file", path], check=True, capture_output=True)
    blocks = [
        int(line.split(b":")[0].removeprefix(b"block ")) for line in listing.stdout.splitlines() if b"**" not in line
    ]
    flat = [field for line in index for field in line.split(" ")]
    starts, sizes = [int(offset) for offset in flat[1::4]], [int(size) for size in flat[2::4]]
    for start, size, following in zip(starts, sizes, blocks[1:], strict=False):
        end = start + -(-size // 512) * 512
        assert following * 512 - end in (0, 1024)  # an extended header may lie between them


@pytest.mark.parametrize("members", [0, 1024, 9216, 9217, 100_000])
def test_the_size_of_a_tar_is_computed_from_its_members(members: int) -> None:
    assert tar_writer.count_tar_bytes(members) % 10_240 == 0
    assert 1024 <= tar_writer.count_tar_bytes(members) - members <= 10_240 + 1024
