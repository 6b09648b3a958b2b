import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from gbif_webdataset.audit.check_file import Expected, Finding
from gbif_webdataset.audit.check_shard import ExpectedShard, check_shard, list_samples, read_samples
from gbif_webdataset.storage.target_record import FileRecord
from tests.support.audited_folder import AuditedFolder

TAR, INDEX = "shards/train/train-000001.tar", "shards/train/train-000001.idx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return AuditedFolder(tmp_path).paths.output


def expect(output: Path, samples: int = 3) -> ExpectedShard:
    tar, index = (
        Expected(name, "CreateWebDataset", file.bytes, file.sha256)
        for name in (TAR, INDEX)
        for file in [FileRecord.of(output / name)]
    )
    return ExpectedShard(tar, index, samples)


def check(output: Path, shard: ExpectedShard) -> list[tuple[str, str]]:
    return [(finding.file, finding.kind) for finding in check_shard(output, shard)]


def test_a_whole_shard_has_no_difference(folder: Path) -> None:
    assert check_shard(folder, expect(folder)) == []
    (first, *_), *_ = read_samples(folder / TAR)
    assert first == ("cls", 512, 1)


@pytest.mark.parametrize("mode", ["r:", "r|"])
def test_no_member_is_kept_in_memory(folder: Path, mode: Literal["r:", "r|"]) -> None:
    with (folder / TAR).open("rb") as file, tarfile.open(fileobj=file, mode=mode) as archive:
        kept = [len(vars(archive)["members"]) for _ in list_samples(archive)]
    assert kept == [0, 0, 0]


def test_changed_bytes_of_tar_and_index_are_found(folder: Path) -> None:
    shard = expect(folder)
    for name in (TAR, INDEX):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"?")
        assert check(folder, shard) == [(name, "changed")]
        path.write_bytes(whole[:700] if name == TAR else whole[:7])
        assert check(folder, shard) == [(name, "truncated")]
        path.write_bytes(whole)


def test_another_number_of_samples_than_in_the_list_is_found(folder: Path) -> None:
    [finding] = check_shard(folder, expect(folder, samples=4))
    assert finding == Finding(TAR, "changed", "CreateWebDataset", "3 samples instead of 4")


def test_a_tar_whose_members_cannot_be_read_is_found_although_it_is_as_recorded(folder: Path) -> None:
    path = folder / TAR
    path.write_bytes(b"\xff" * path.stat().st_size)
    [finding] = check_shard(folder, expect(folder))
    assert (finding.file, finding.kind) == (TAR, "unreadable")


@pytest.mark.parametrize("content", ["", "v1.2 3\ncls 512 1 x\n", "nothing", "v1.2 3\n" + "cls 5 1 a jpg 9 9 b\n" * 3])
def test_an_index_of_another_tar_is_found_although_nothing_is_recorded_of_it(folder: Path, content: str) -> None:
    shard = expect(folder)
    (folder / INDEX).write_text(content)
    shard = replace(shard, index=Expected(INDEX, "CreateWebDataset", None, None))
    [finding] = check_shard(folder, shard)
    assert finding == Finding(INDEX, "changed", "CreateWebDataset", "it does not agree with the tar")
