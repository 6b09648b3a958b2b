"""The steps of a version on the Hub; test_hub_repository.py has the requests on an imitation of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.upload import publish_to_hub
from gbif_webdataset.upload.hub_repository import HubRepository
from gbif_webdataset.upload.prepare_version import PreparedVersion, prepare_version
from gbif_webdataset.upload.publish_to_hub import check_limits, commit_version
from gbif_webdataset.upload.published_version import NAME, PublishedObject, PublishedVersion
from tests.support.publishable import QUICK, Publishable


class SlowRepository:
    """A repository whose second batch is refused once."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.committed: list[str] = []

    def track_large_files(self) -> None:
        self.batches = []

    def send(self, files: Mapping[str, LocalFile]) -> list[str]:
        self.batches.append(list(files))
        if len(self.batches) == 2:
            raise TemporaryStoreError("HTTP 503")
        return list(files)

    def commit(self, additions: Sequence[Any], deleted: Sequence[str], message: str, version: bytes) -> None:
        self.committed += additions


def test_only_the_batch_that_failed_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_to_hub, "BATCH_FILES", 10)
    dataset, repository, progress = Publishable.made(tmp_path / "dataset", 16), SlowRepository(), []
    target = StoreAddress.parse("hf://datasets/me/moths")
    prepared = prepare_version(dataset.paths, target, None, QUICK)
    counts = commit_version(
        cast(HubRepository, repository),
        Retries(target.option, pause=0),
        prepared,
        prepared.version,
        lambda done, total: progress.append((done, total)),
    )
    names = [*(one.name for one in prepared.new_objects), NAME]
    assert repository.committed == names
    assert repository.batches[0] == names[:10]
    assert repository.batches[1] == repository.batches[2] == names[10:20]
    assert (counts.objects, counts.bytes) == (len(names), progress[-1][1])
    assert progress[-1][0] == progress[-1][1]


def list_version(*counts: tuple[str, int]) -> PreparedVersion:
    """A first version with so many files in each folder."""
    names = [f"{folder}/{number}" for folder, count in counts for number in range(count)]
    files = {name: LocalFile.of_content(Path(name), b"x") for name in names}
    objects = [PublishedObject(name, name, 1, files[name].sha256) for name in names]
    return PreparedVersion(PublishedVersion("0", "Moths", "1.0.0", objects), files, None)


def test_versions_that_the_hub_would_refuse_are_refused_before_anything_is_sent() -> None:
    place = "--to hf://datasets/me/moths"
    check_limits(list_version(("train", 10_000), ("val", 10_000), ("test", 5_000)), place)
    with pytest.raises(
        StoreError, match=r"train/ would have 10,001 files, and the Hub allows 10,000; make fewer shards with a larger"
    ):
        check_limits(list_version(("val", 1), ("train", 10_001)), place)
    with pytest.raises(StoreError, match=r"the version has 25,001 new files, and the Hub allows 25,000; make fewer"):
        check_limits(list_version(("train", 10_000), ("val", 10_000), ("test", 5_001)), place)
