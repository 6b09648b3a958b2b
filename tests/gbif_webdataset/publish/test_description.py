from pathlib import Path

import pytest

from gbif_webdataset.publish.attribution import AttributionSummary
from gbif_webdataset.publish.description import (
    ClassCounts,
    DatasetDescription,
    Shard,
    list_public_parameters,
    read_classes,
    read_shards,
)
from gbif_webdataset.read.provenance import Source

CLASSES = """split,label,class,samples,name
train,0012,0,3,Twelve
val,0012,0,1,Twelve
train,NA,1,2,
test,NA,1,2,Named in one line
holdout,6E4,-1,9,
"""


def counts(**samples: int) -> dict[str, int]:
    return {split: samples.get(split, 0) for split in ("train", "val", "test", "holdout")}


def test_classes_are_in_the_order_of_their_samples_and_labels_stay_texts(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(CLASSES)
    assert read_classes(tmp_path / "classes.csv") == [
        ClassCounts("6E4", -1, "", counts(holdout=9)),
        ClassCounts("0012", 0, "Twelve", counts(train=3, val=1)),
        ClassCounts("NA", 1, "Named in one line", counts(train=2, test=2)),
    ]


@pytest.mark.parametrize("header", ["split,label,class,samples", "split,label,class,samples,name"])
def test_a_dataset_without_samples_has_no_classes(tmp_path: Path, header: str) -> None:
    (tmp_path / "classes.csv").write_text(header + "\n")
    assert read_classes(tmp_path / "classes.csv") == []


def test_shards_are_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "shards.csv"
    path.write_text("split,shard,samples,bytes,sha256\nval,val/val-000000.tar,2,10240,0012\n")
    assert read_shards(path) == [Shard("val", "val/val-000000.tar", 2, 10_240, "0012")]


def test_licences_are_listed_for_the_splits_that_have_samples() -> None:
    licences = {"train": {"cc0": 2, "cc-by": 1}, "test": {"cc-by-nc": 1}}
    description = DatasetDescription(
        title="Moths",
        sources=[Source("a.zip")],
        attribution=AttributionSummary(licences, ("4.0",), {}),
        shards=[Shard("train", "a", 3, 1, ""), Shard("val", "b", 0, 1, ""), Shard("test", "c", 1, 1, "")],
        classes=[],
        media_lines=4,
        lines=[],
        settings={},
    )
    assert description.samples == {"train": 3, "test": 1}
    assert description.licence == "cc-by-nc"
    assert description.licence_table == [("CC0", [2, 0]), ("CC BY", [1, 0]), ("CC BY-NC", [0, 1])]
    assert description.strictest_licences == ["CC BY", "CC BY-NC"]


def test_public_parameters_have_neither_private_nor_empty_values_and_only_names_of_files() -> None:
    parameters = {
        "thumb_size": 0, "where": "", "cache_path": "/home/me", "subset_list": "/home/me/moths.txt",
        "subset_list sha256": "ab", "previous_splits": "/home/me/splits", "previous_splits sha256": {"train.csv": "cd"},
    }  # fmt: skip
    assert list_public_parameters(parameters) == {
        "thumb_size": "0", "subset_list": "moths.txt (SHA-256 ab)", "previous_splits": "splits"
    }  # fmt: skip
