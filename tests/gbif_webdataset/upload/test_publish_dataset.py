"""Publishing to a folder; tests/end_to_end/test_publish.py has buckets, and test_hub_repository.py has the Hub."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import DamagedFileError, MissingPieceError, ParameterError
from gbif_webdataset.remote.address_claim import OWNER
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload import publish_dataset
from gbif_webdataset.upload.publish_to_store import UploadCounts
from gbif_webdataset.upload.published_version import NAME, PublishedVersion
from tests.support.publishable import QUICK, TITLE, Publishable, check_complete, list_samples, load_record, read_version


@pytest.fixture
def dataset(tmp_path: Path) -> Publishable:
    return Publishable.made(tmp_path / "dataset")


@pytest.fixture
def target(tmp_path: Path) -> StoreAddress:
    return StoreAddress.parse(f"file://{tmp_path}/target")


@pytest.fixture
def read(target: StoreAddress) -> Callable[[str], bytes | None]:
    return FolderStore(target).read


def times(target: StoreAddress) -> dict[str, int]:
    """When each file of a target was written."""
    root = Path(target.prefix)
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def changes(dataset: Publishable, target: StoreAddress) -> dict[str, tuple[int, int, int]]:
    """The rows of CHANGES.csv."""
    with dataset.paths.publish_changes(target.name).open(newline="") as file:
        return {
            row["shard"]: (int(row["added"]), int(row["removed"]), int(row["relabelled"]))
            for row in csv.DictReader(file)
        }


def test_a_first_version_has_every_file_and_its_record(dataset: Publishable, target: StoreAddress, read: Any) -> None:
    summary = dataset.send(target)
    version = check_complete(read)
    assert (version.version, version.title) == ("1.0.0", TITLE)
    shards = {
        path.relative_to(dataset.paths.shards).as_posix() for path in dataset.paths.shards.rglob("*") if path.is_file()
    }
    assert {one.path for one in version.objects} == shards | {"index.html", "accounting.csv", "balance.csv"}
    assert sum(list_samples(version, read).values()) == 24
    assert all(read(path) == read(version.by_path[path].name) for path in version.copies)
    assert read("category_map.json") == (dataset.paths.shards / "category_map.json").read_bytes()
    record = load_record(dataset, target)
    assert record["target"] == target.address
    assert record["repeated_requests"] == 0
    objects = record["objects"]
    assert isinstance(objects, dict)
    assert {name: (one["bytes"], one["sha256"]) for name, one in objects.items()} == {
        one.name: (one.bytes, one.sha256) for one in version.objects
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["uploaded_at"]) for one in objects.values())
    assert summary.startswith(f"Published version 1.0.0 of {TITLE} at {target.address}\n  Uploaded ")
    assert sum(added for added, _, _ in changes(dataset, target).values()) == 24
    assert not dataset.paths.publish_journal(target.name).exists()


def test_the_page_at_the_target_names_no_folder_of_this_machine(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    page = read("index.html").decode()
    assert str(dataset.root) not in page
    assert "load_dataset(&#34;shards&#34;" in page
    links = re.findall('href="([^"]+)"', page)
    assert links == ["shards.csv", "accounting.csv", "balance.csv"]
    assert all(read(link) for link in links)


def test_repeating_it_writes_nothing(dataset: Publishable, target: StoreAddress) -> None:
    dataset.send(target)
    before, record = times(target), dataset.paths.publish_record(target.name).read_bytes()
    assert dataset.send(target) == f"Nothing to upload: {target.address} has version 1.0.0 of {TITLE}."
    assert times(target) == before
    assert dataset.paths.publish_record(target.name).read_bytes() == record


def test_a_new_version_keeps_the_objects_of_the_one_before_it(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    before = read_version(read)
    dataset.image("train", "occurrence999", label="moth 0")
    dataset.make("1.1.0")
    dataset.send(target)
    version = check_complete(read)
    assert version.version == "1.1.0"
    assert version.dataset == before.dataset
    assert sum(list_samples(version, read).values()) == 25
    for one in before.objects:
        file = LocalFile(Path(target.prefix) / one.name, one.bytes, one.sha256)
        assert file.read() is not None
    kept = [one for one in version.objects if one in before.objects]
    assert {one.path for one in kept} >= {"train/train-000000.tar", "val/val-000000.tar"}
    changed = [one for one in version.objects if one.path.endswith(".tar") and one not in before.objects]
    assert changed
    assert all(one.name == one.path or re.search(r"-\d{6}-[0-9a-f]{8}\.tar$", one.name) for one in changed)
    assert changes(dataset, target)[changed[-1].name][0] == 1


def test_only_what_changed_is_uploaded_again(dataset: Publishable, target: StoreAddress) -> None:
    dataset.send(target)
    before = times(target)
    dataset.image("train", "occurrence999", label="moth 0")
    dataset.make("1.1.0")
    dataset.send(target)
    after = times(target)
    written = {name for name, time in after.items() if before.get(name) != time}
    assert not any(name in written for name in ("train/train-000000.tar", "val/val-000000.tar", "test/test-000000.idx"))
    assert NAME in written


@pytest.mark.parametrize(
    ("change", "low", "proposed", "reason"),
    [
        (lambda one: one.image("train", "occurrence999", label="moth 0"), "1.0.1", "1.1.0", "1 sample added"),
        (lambda one: one.rows["train"].pop(), "1.0.0", "1.0.1", "1 sample removed"),
        (lambda one: one.rows["train"][0].update(label="moth 2"), "1.0.9", "1.1.0", "1 sample relabelled"),
        (
            lambda one: one.image("train", "occurrence999", label="a moth"),
            "1.9.9",
            "2.0.0",
            "3 classes renumbered, 1 sample added",
        ),
    ],
)
def test_a_version_that_is_too_low_is_refused_with_a_proposal(
    dataset: Publishable,
    target: StoreAddress,
    read: Any,
    change: Callable[[Publishable], None],
    low: str,
    proposed: str,
    reason: str,
) -> None:
    dataset.send(target)
    before = times(target)
    change(dataset)
    dataset.make(low)
    with pytest.raises(ParameterError) as raised:
        dataset.send(target)
    assert str(raised.value) == (
        f"--ReportDataset-version {low}: too low, because {target.address} has version 1.0.0, and this one differs: "
        f"{reason}; set --ReportDataset-version {proposed}"
    )
    assert times(target) == before
    dataset.make(proposed)
    dataset.send(target)
    assert check_complete(read).version == proposed


def test_prune_deletes_only_what_earlier_versions_list(dataset: Publishable, target: StoreAddress, read: Any) -> None:
    dataset.send(target)
    foreign = Path(target.prefix) / "train" / "train-000099.tar"
    foreign.write_bytes(b"of somebody else")
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    dataset.send(target)
    version = read_version(read)
    assert version.earlier
    assert set(version.earlier) <= set(times(target))
    summary = dataset.send(target, replace(QUICK, prune=True))
    assert f"Deleted {len(version.earlier)} objects of earlier versions" in summary
    assert not set(version.earlier) & set(times(target))
    assert foreign.exists()
    pruned = check_complete(read)
    assert (pruned.version, pruned.earlier) == ("1.0.1", [])
    assert dataset.send(target, replace(QUICK, prune=True)).startswith("Nothing to upload")


def test_a_dry_run_changes_nothing_at_the_target(dataset: Publishable, target: StoreAddress) -> None:
    text = dataset.send(target, replace(QUICK, dry_run=True))
    assert not Path(target.prefix).exists()
    assert re.search(r"would upload \d+ objects, [\d.]+ kB\n    ", text)
    dataset.send(target)
    before = times(target)
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    text = dataset.send(target, replace(QUICK, dry_run=True, prune=True))
    assert re.search(r"would delete \d+ objects of earlier versions\n  Changes: 2 samples removed", text)
    assert times(target) == before
    assert not dataset.paths.publish_journal(target.name).exists()


def test_another_dataset_at_the_target_is_an_error(dataset: Publishable, target: StoreAddress, tmp_path: Path) -> None:
    dataset.send(target)
    before = times(target)
    other = Publishable(tmp_path / "other").fill(8).make(title="Birds", version="9.0.0")
    for title in ("Birds", TITLE):
        other.make(title=title, version="9.0.0")
        for options in (QUICK, replace(QUICK, prune=True)):
            with pytest.raises(StoreError, match=f"this folder has not published: '{TITLE}', version 1.0.0; choose"):
                other.send(target, options)
    assert times(target) == before
    other.send(target, replace(QUICK, continues=read_version(FolderStore(target).read).dataset))
    other.make(version="9.0.1")
    other.send(target)


def test_a_run_that_was_killed_after_its_announcement_is_continued(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(patch, NAME)
        dataset.send(target)
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    dataset.send(target)
    assert check_complete(read).version == "1.0.1"


@pytest.mark.parametrize("content", [b"", b'{"name": "dataset of another tool"}', b"not json"])
def test_a_list_of_another_tool_is_an_error(dataset: Publishable, target: StoreAddress, content: bytes) -> None:
    Path(target.prefix).mkdir()
    (Path(target.prefix) / NAME).write_bytes(content)
    for options in (QUICK, replace(QUICK, prune=True)):
        with pytest.raises(
            StoreError, match=r"the dataset\.json there is not a list of this tool; choose another address"
        ):
            dataset.send(target, options)
    assert (Path(target.prefix) / NAME).read_bytes() == content
    assert len(times(target)) == 1


def test_a_dataset_with_a_new_title_is_the_same_if_this_folder_has_published_it(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    dataset.make("1.0.1", title="Moths of Denmark")
    dataset.send(target)
    assert check_complete(read).title == "Moths of Denmark"


def test_only_uploads_a_part_that_readers_do_not_see(dataset: Publishable, target: StoreAddress, read: Any) -> None:
    summary = dataset.send(target, replace(QUICK, only=("val", "*.parquet")))
    assert set(times(target)) == {
        "val/val-000000.tar", "val/val-000000.idx", "val/val-000000.tar.idx", "versions/1.0.0/attribution.parquet"
    }  # fmt: skip
    assert "Readers do not see them until the command has run without --only" in summary
    before = times(target)
    dataset.send(target)
    assert all(times(target)[name] == time for name, time in before.items())
    check_complete(read)


def test_only_has_to_match_a_file(dataset: Publishable, target: StoreAddress) -> None:
    with pytest.raises(ParameterError, match=r'--only "trian\*": matches no file; give paths'):
        dataset.send(target, replace(QUICK, only=("trian*",)))


def test_a_file_that_changed_is_refused_and_readers_see_nothing_of_the_version(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    dataset.image("train", "occurrence999", label="moth 0")
    dataset.make("1.1.0")
    shard = sorted(dataset.paths.shards.glob("train/*.tar"))[-1]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DamagedFileError, match=rf"{re.escape(str(shard))}: changed since it was recorded"):
        dataset.send(target)
    assert check_complete(read).version == "1.0.0"


def test_code_and_card_of_a_version_with_digests_name_only_its_shards(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    dataset.send(target)
    version = check_complete(read)
    tars = {one.name for one in version.objects if one.name.endswith(".tar")}
    croissant = json.loads(read("croissant.json"))
    assert {one["@id"] for one in croissant["distribution"] if one["@id"].endswith(".tar")} == tars
    listed = json.loads(read("_info.json"))["splits"]
    assert {name for split in listed.values() for name in split["filenames"]} == tars
    assert json.loads(read(".nv-meta/.info.json"))["shard_counts"].keys() == tars
    assert list_samples(version, read).keys() == tars
    card = read("README.md").decode()
    assert "train-*.tar" not in card
    assert all(f"- {name}\n" in card for name in tars)


@pytest.mark.parametrize("public_url", ["https://data.example.org/moths", "https://data.example.org/moths/"])
def test_croissant_has_addresses_if_the_target_has_one(
    dataset: Publishable, target: StoreAddress, read: Any, public_url: str
) -> None:
    dataset.send(target, replace(QUICK, public_url=public_url))
    urls = [one["contentUrl"] for one in json.loads(read("croissant.json"))["distribution"] if "contentUrl" in one]
    assert "https://data.example.org/moths/attribution.parquet" in urls
    assert "https://data.example.org/moths/train/train-000000.tar" in urls


def test_a_dataset_without_a_report_gives_one_sentence(tmp_path: Path, target: StoreAddress) -> None:
    with pytest.raises(MissingPieceError, match=r"SplitDataset has not run; run `make report` first"):
        Publishable(tmp_path / "empty").send(target)


def test_of_two_publishers_one_is_refused(dataset: Publishable, target: StoreAddress, read: Any) -> None:
    for number, options in ((1, QUICK), (2, replace(QUICK, prune=True))):
        slow = publish_dataset.Publication(dataset.paths, target, options)
        (Path(target.prefix)).mkdir(exist_ok=True)
        theirs = PublishedVersion("theirs", "Birds", f"{number}.0.0", []).to_json()
        before = read(NAME)
        (Path(target.prefix) / NAME).write_bytes(theirs)
        with pytest.raises(StoreError, match=r"dataset\.json has changed since this command began"):
            slow.run()
        assert read(NAME) == theirs
        if before is None:
            (Path(target.prefix) / NAME).unlink()
            dataset.send(target)
            dataset.rows["train"] = dataset.rows["train"][2:]
            dataset.make("1.0.1")


def kill_at(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Let the next upload of a file whose name ends so be the end of the process."""
    put = FolderStore.put

    def kill(self: FolderStore, name: str, file: LocalFile) -> None:
        put(self, name, file)
        if name.endswith(ending):
            raise KeyboardInterrupt

    monkeypatch.setattr(FolderStore, "put", kill)


def test_objects_of_an_attempt_that_was_killed_are_pruned_although_the_data_changed(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    dataset.send(target)
    before = set(times(target))
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(patch, "versions/1.0.1/shards.csv")
        dataset.send(target)
    killed = set(times(target)) - before
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.2")
    dataset.send(target)
    version = check_complete(read)
    assert killed - version.names
    assert killed - version.names <= set(version.earlier)
    dataset.send(target, replace(QUICK, prune=True))
    assert set(times(target)) == {*version.names, NAME}


def test_copies_are_right_again_after_an_announcement_that_was_killed(
    dataset: Publishable, target: StoreAddress, read: Any, tmp_path: Path
) -> None:
    dataset.send(target)
    shutil.copytree(dataset.root, tmp_path / "before")
    dataset.rows["train"] = dataset.rows["train"][2:]
    dataset.make("1.0.1")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(patch, "README.md")
        patch.setattr("gbif_webdataset.upload.publish_dataset.upload_objects", lambda *_: UploadCounts())
        dataset.send(target)
    published = read_version(read)
    assert published.version == "1.0.0"
    shutil.copytree(tmp_path / "before", dataset.root, dirs_exist_ok=True)
    assert read("README.md") != read(published.by_path["README.md"].name)
    dataset.send(target)
    assert all(read(path) == read(published.by_path[path].name) for path in published.copies)


def test_a_copy_that_was_stored_in_part_is_written_again(dataset: Publishable, target: StoreAddress, read: Any) -> None:
    put, cut = FolderStore.put, []

    def put_part(self: FolderStore, name: str, file: LocalFile) -> None:
        put(self, name, file)
        if name == "README.md" and not cut:
            cut.append(name)
            path = Path(target.prefix) / name
            path.write_bytes(path.read_bytes()[:10])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderStore, "put", put_part)
        dataset.send(target)
    version = check_complete(read)
    assert cut
    assert read("README.md") == read(version.by_path["README.md"].name)


@pytest.mark.parametrize("has_owner", [True, False])
def test_unpublished_shards_at_the_target_are_neither_replaced_nor_pruned(
    dataset: Publishable, target: StoreAddress, read: Any, has_owner: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(patch, "train-000000.tar")
        dataset.send(target)
    shutil.rmtree(target.prefix)  # the user gave the address to another dataset
    foreign = {
        "train/train-000000.tar",
        "train/train-000000.idx",
        "train/train-000007.tar",
        ".parts/group-000000-000.tar",
    }
    for name in [*foreign, *([OWNER] if has_owner else [])]:
        FolderStore(target).put(name, LocalFile.of_content(Path(name), b"of another dataset"))
    if not has_owner:
        dataset.paths.publish_journal(target.name).unlink()
    for version in ("1.0.0", "1.0.1"):
        dataset.rows["train"] = dataset.rows["train"][2:]
        dataset.make(version)
        dataset.send(target, replace(QUICK, prune=True))
        check_complete(read)
        assert {read(name) for name in foreign} == {b"of another dataset"}
    assert not foreign & read_version(read).names


def test_a_first_version_that_was_killed_is_continued_with_the_names_of_its_files(
    dataset: Publishable, target: StoreAddress, read: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_at(patch, "train-000000.tar")
        dataset.send(target)
    dataset.send(target)
    assert "train/train-000000.tar" in check_complete(read).names
    (Path(target.prefix) / NAME).unlink()
    dataset.send(target)
    assert "train/train-000000.tar" in check_complete(read).names
