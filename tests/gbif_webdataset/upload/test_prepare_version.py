from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.changes import Changes, ShardChange
from gbif_webdataset.upload.prepare_version import (
    PreparedVersion,
    check_version,
    load_publish_record,
    prepare_version,
    read_published,
)
from gbif_webdataset.upload.publish_options import PublishOptions
from gbif_webdataset.upload.published_version import PublishedVersion
from tests.support.publishable import TITLE, Publishable

TARGET = StoreAddress("s3", "bucket", "moths")


@pytest.fixture
def dataset(tmp_path: Path) -> Publishable:
    return Publishable.made(tmp_path / "dataset", 16)


def prepare(
    dataset: Publishable, published: PublishedVersion | None = None, target: StoreAddress = TARGET
) -> PreparedVersion:
    continues = published.dataset if published else ""
    return prepare_version(dataset.paths, target, published, PublishOptions(continues=continues))


def test_without_a_published_version_everything_is_new(dataset: Publishable) -> None:
    prepared = prepare(dataset)
    assert not prepared.is_published
    assert len(prepared.new_objects) == len(prepared.version.objects) == len(prepared.files)
    assert {one.path for one in prepared.copies} == {
        path for path in prepared.files if path not in prepared.shard_names
    }


def test_a_published_version_has_nothing_new_whatever_it_was_named(dataset: Publishable) -> None:
    first = prepare(dataset).version
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    second = prepare(dataset, first)
    assert second.version.earlier
    for published in (second.version, replace(second.version, earlier=[])):  # as after a prune
        again = prepare(dataset, published)
        assert again.is_published
        assert not again.new_objects
        assert all(map(again.is_copy_published, again.copies))
        assert again.version.earlier == published.earlier


def test_no_name_of_a_published_object_has_another_content(dataset: Publishable) -> None:
    published: PublishedVersion | None = None
    contents: dict[str, str] = {}
    for number in range(4):
        dataset.rows["train"] = dataset.rows["train"][:-1] if number % 2 else dataset.rows["train"][1:]
        dataset.make(f"1.0.{number}")
        published = prepare(dataset, published).version
        for one in published.objects:
            assert contents.setdefault(one.name, one.sha256) == one.sha256
    assert not set(published.copies) & contents.keys() if published else False


def test_names_on_the_hub_are_paths(dataset: Publishable) -> None:
    hub = StoreAddress("hf", "me/moths", "")
    first = prepare(dataset, target=hub).version
    dataset.rows["train"] = dataset.rows["train"][:-4]
    dataset.make("1.0.1")
    second = prepare(dataset, first, hub).version
    assert all(one.name == one.path for one in second.objects)
    assert not second.copies


@pytest.mark.parametrize("data", [b"", b"{}"])
def test_a_list_of_another_tool_is_refused(data: bytes) -> None:
    assert read_published(None, TARGET) is None
    with pytest.raises(StoreError, match=r"--to s3://bucket/moths: the dataset\.json there is not a list of this tool"):
        read_published(data, TARGET)


@pytest.mark.parametrize(
    ("number", "change", "is_refused"),
    [
        ("1.0.0", ShardChange("x", 0, 1, 0), True),
        ("1.0.1", ShardChange("x", 0, 1, 0), False),
        ("1.0.1", ShardChange("x", 1, 0, 0), True),
        ("1.1.0-beta.1", ShardChange("x", 1, 0, 0), True),
        ("1.1.0", ShardChange("x", 1, 0, 0), False),
        ("2.0.0", ShardChange("x", 1, 0, 0), False),
        ("0.9.0", ShardChange("x", 0, 0, 0), True),
    ],
)
def test_a_version_has_to_follow_the_published_one(number: str, change: ShardChange, is_refused: bool) -> None:
    published = PublishedVersion("id", "Moths", "1.0.0", [])
    prepared = PreparedVersion(replace(published, version=number), {}, published)
    if is_refused:
        with pytest.raises(
            ParameterError, match=rf"^--ReportDataset-version {number}: too low, because s3://bucket/moths"
        ):
            check_version(prepared, Changes([change]), TARGET)
    else:
        check_version(prepared, Changes([change]), TARGET)


def test_a_damaged_record_counts_as_absent(dataset: Publishable) -> None:
    assert load_publish_record(dataset.paths, TARGET) == {}
    path = dataset.paths.publish_record(TARGET.name)
    path.parent.mkdir()
    path.write_text('{"dataset": "x", "checksum": "wrong"}')
    assert load_publish_record(dataset.paths, TARGET) == {}


def test_the_same_title_does_not_make_the_same_dataset(dataset: Publishable) -> None:
    published = PublishedVersion("theirs", TITLE, "0.1.0", [])
    with pytest.raises(StoreError, match=r"'Moths of the tests', version 0\.1\.0; choose .*, add --continues theirs$"):
        prepare_version(dataset.paths, TARGET, published, PublishOptions())
    with pytest.raises(StoreError):
        prepare_version(dataset.paths, TARGET, published, PublishOptions(continues="others"))
    assert (
        prepare_version(dataset.paths, TARGET, published, PublishOptions(continues="theirs")).version.dataset
        == "theirs"
    )


def test_card_and_code_of_the_first_version_name_its_shards(dataset: Publishable) -> None:
    files = prepare(dataset).files
    for path in ("README.md", "index.html"):
        assert "train-*.tar" not in files[path].read().decode()
