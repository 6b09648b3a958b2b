import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.publish.description import Shard
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.upload.changes import (
    Changes,
    NewVersion,
    ShardChange,
    count_first_version,
    find_changes,
    write_changes,
)
from gbif_webdataset.upload.published_version import PublishedObject, PublishedVersion
from gbif_webdataset.upload.version_numbers import Part

Samples = Mapping[str, Mapping[str, str]]  # the label of each key, by shard
OLD: Samples = {
    "train/train-000000": {"d/1": "a", "d/2": "b"},
    "train/train-000001": {"d/3": "a", "d/4": "b"},
    "val/val-000000": {"d/5": "a"},
}


def write_files(folder: Path, samples: Samples, categories: str = '{"a": 0, "b": 1}') -> dict[str, LocalFile]:
    """The files of a version that are compared: indexes, shards, attribution and category map."""
    rows = []
    contents: dict[str, bytes] = {"category_map.json": categories.encode()}
    for shard, labels in samples.items():
        lines = [f"jpg 512 9 {'_'.join(key.split())}.jpg cls 1536 1 {'_'.join(key.split())}.cls\n" for key in labels]
        contents[f"{shard}.idx"] = f"v1.2 {len(labels)}\n{''.join(lines)}".encode()
        contents[f"{shard}.tar"] = repr(sorted(labels)).encode()
        rows += [{"split": shard.partition("/")[0], "key": key, "label": label} for key, label in labels.items()]
    found = {}
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    pq.write_table(pa.Table.from_pylist(rows), folder / "attribution.parquet")
    for path in ("attribution.parquet", *contents):
        data = (folder / path).read_bytes()
        found[path] = LocalFile(folder / path, len(data), hashlib.sha256(data).hexdigest())
    return found


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Changes]:
    """Compare samples with OLD. The objects of the target are those of OLD, with an x before their names."""
    old = write_files(tmp_path / "old", OLD)
    objects = [PublishedObject(f"x{path}", path, file.size, file.sha256) for path, file in old.items()]
    published = PublishedVersion("id", "Moths", "1.0.0", objects)

    def download(name: str, path: Path) -> None:
        path.write_bytes(old[name.removeprefix("x")].read())

    def run(samples: Samples, categories: str = '{"a": 0, "b": 1}') -> Changes:
        files = write_files(tmp_path / "new", samples, categories)
        names = {path: path.replace("-00", "-new00") for path in files}
        return find_changes(NewVersion(files, names, published, download), tmp_path / "scratch")

    return run


def test_nothing_has_changed(compare: Callable[..., Changes]) -> None:
    changes = compare(OLD)
    assert changes == Changes([], 0)
    assert changes.part is Part.PATCH
    assert str(changes) == "no sample added, removed or relabelled"


def test_added_and_removed_samples_count_for_their_shards(compare: Callable[..., Changes]) -> None:
    new = {**OLD, "train/train-000001": {"d/3": "a", "d/6": "b", "d/7": "b"}}
    changes = compare(new)
    assert changes.shards == [
        ShardChange("train/train-new000001.tar", 2, 0, 0),
        ShardChange("xtrain/train-000001.tar", 0, 1, 0),
    ]
    assert changes.part is Part.MINOR
    assert str(changes) == "2 samples added, 1 sample removed"


def test_removed_samples_alone_are_a_patch(compare: Callable[..., Changes]) -> None:
    changes = compare({shard: labels for shard, labels in OLD.items() if shard != "train/train-000001"})
    assert changes.shards == [ShardChange("xtrain/train-000001.tar", 0, 2, 0)]
    assert changes.part is Part.PATCH


def test_a_sample_in_another_shard_of_its_split_has_not_changed(compare: Callable[..., Changes]) -> None:
    moved = {**OLD, "train/train-000000": {"d/1": "a"}, "train/train-000001": {"d/2": "b", "d/3": "a", "d/4": "b"}}
    changes = compare(moved)
    assert {shard.added + shard.removed + shard.relabelled for shard in changes.shards} == {0}
    assert len(changes.shards) == 4


def test_a_sample_in_another_split_is_removed_and_added(compare: Callable[..., Changes]) -> None:
    moved = {**OLD, "train/train-000000": {"d/1": "a"}, "val/val-000000": {"d/5": "a", "d/2": "b"}}
    assert str(compare(moved)) == "1 sample added, 1 sample removed"


def test_other_labels_are_counted_even_if_the_shard_is_the_same(compare: Callable[..., Changes]) -> None:
    changes = compare({**OLD, "val/val-000000": {"d/5": "b"}})
    assert changes.shards == [ShardChange("val/val-new000000.tar", 0, 0, 1)]
    assert changes.part is Part.MINOR


@pytest.mark.parametrize(
    ("categories", "renumbered"),
    [
        ('{"a": 1, "b": 0}', 2),
        ('{"a": 0, "b": 1, "c": 2}', 0),
        ('{"a": 0}', 0),
        ('{"a": 0, "c": 1}', 1),
        ('{"a": 0, "b": 2, "aa": 1}', 1),
    ],
)
def test_classes_with_another_number_are_counted(
    compare: Callable[..., Changes], categories: str, renumbered: int
) -> None:
    changes = compare(OLD, categories)
    assert changes.renumbered == renumbered
    assert (changes.part is Part.MAJOR) == bool(renumbered)


def test_keys_with_spaces_are_found_in_indexes(compare: Callable[..., Changes]) -> None:
    changes = compare({**OLD, "val/val-000000": {"d/5": "a", "d/two words": "b"}})
    assert changes.shards[0] == ShardChange("val/val-new000000.tar", 1, 0, 0)


def test_a_first_version_adds_every_sample_and_the_table_says_so(tmp_path: Path) -> None:
    changes = count_first_version(
        [Shard("train", "train/train-000000.tar", 7, 1, "")], {"train/train-000000.tar": "y.tar"}
    )
    write_changes(tmp_path / "CHANGES.csv", changes)
    assert (tmp_path / "CHANGES.csv").read_text() == "shard,added,removed,relabelled\ny.tar,7,0,0\n"
