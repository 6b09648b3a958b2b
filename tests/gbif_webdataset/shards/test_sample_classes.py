"""The class of each label, and the names of labels."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage.tables import open_csv
from tests.support.shard_run import COLUMNS, RECIPE, SPLITS, ShardRun, encoded, photo, sixty_moths


@pytest.fixture
def three_labels(tmp_path: Path) -> ShardRun:
    run = ShardRun(tmp_path)
    names = {"0012": ["Arctia caja", "Arctia caja", "Tiger"], "6E4": [None], "5WZLF": ["Macaria"]}
    for label, remarks in names.items():
        for number, remark in enumerate(remarks):
            run.add("train", f"d/{label}-{number}.jpg", encoded(photo(80, 70, number)), label, remarks=remark)
    run.write()
    return run


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


def test_labels_keep_the_numbers_of_a_previous_category_map(three_labels: ShardRun, tmp_path: Path) -> None:
    previous = tmp_path / "previous.json"
    previous.write_text(json.dumps({"gone": 7, "6E4": 0}))
    three_labels.create(replace(RECIPE, previous_category_map=previous))
    written = json.loads((tmp_path / "shards/category_map.json").read_text())
    assert written == {"6E4": 0, "gone": 7, "0012": 8, "5WZLF": 9}


def test_a_given_category_map_is_used_unchanged(moths: ShardRun) -> None:
    given = {"extinct": 0} | {f"label {number}": 10 - number for number in range(5)}
    path = moths.root / "given.json"
    path.write_text(json.dumps(given))
    moths.create(replace(RECIPE, category_map_json=path, columns_to_json=("label",)))
    written = json.loads((moths.root / "shards/category_map.json").read_text())
    assert written == given
    assert list(written.values()) == sorted(given.values())
    for sample in moths.samples():
        assert int(sample["cls"]) == given[json.loads(sample["json"])["label"]]


def test_a_label_that_train_lacks_is_an_error(moths: ShardRun) -> None:
    for number in range(12):
        moths.add("test", f"ds/new{number}.jpg", encoded(photo(40, 30, number)), label=f"new {number:02d}")
    moths.write()
    with pytest.raises(
        SelectionError, match=r"--CreateWebDataset-category-map-json: .* 12 labels .*'new 09', \.\.\.\)"
    ):
        moths.create()


def test_a_label_that_a_given_map_lacks_is_an_error(moths: ShardRun) -> None:
    path = moths.root / "given.json"
    path.write_text(json.dumps({f"label {number}": number for number in range(4)}))
    with pytest.raises(SelectionError, match=r"given\.json: the file lacks 1 label .*'label 4'"):
        moths.create(replace(RECIPE, category_map_json=path))


def test_an_error_in_a_previous_map_names_its_option(moths: ShardRun, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"a": 1, "b": 1}')
    with pytest.raises(ParameterError, match=r"--CreateWebDataset-previous-category-map .*'a' and 'b' have the same"):
        moths.create(replace(RECIPE, previous_category_map=path))


def test_the_most_frequent_name_of_a_label_is_in_classes_csv_and_label_names_json(
    three_labels: ShardRun, tmp_path: Path
) -> None:
    three_labels.create(replace(RECIPE, label_name="remarks"))
    with open_csv(tmp_path / "shards/classes.csv") as lines:
        rows = list(lines)
    assert {row["label"]: row["name"] for row in rows} == {"0012": "Arctia caja", "5WZLF": "Macaria", "6E4": ""}
    names = json.loads((tmp_path / "shards/label_names.json").read_text())
    assert names == {"0012": "Arctia caja", "5WZLF": "Macaria", "6E4": "6E4"}


class NamedRun(ShardRun):
    """Shards whose rows have keys and names of species."""

    columns = (*COLUMNS, "speciesKey", "species")


@pytest.mark.parametrize(("column", "names"), [("speciesKey", {"0012": "Arctia caja", "6E4": ""}), ("country", None)])
def test_without_a_label_name_labels_have_their_scientific_names(
    tmp_path: Path, column: str, names: dict[str, str] | None
) -> None:
    run = NamedRun(tmp_path)
    for number, (key, name) in enumerate((("0012", "Arctia caja"), ("0012", None), ("6E4", None))):
        data = encoded(photo(80, 70, number))
        run.add("train", f"d/{number}.jpg", data, key, speciesKey=key, species=name, country=key)
    run.write()
    run.create(replace(RECIPE, label_column=column))
    with open_csv(tmp_path / "shards/classes.csv") as lines:
        rows = list(lines)
    if names is None:
        assert "name" not in rows[0]
        assert not (tmp_path / "shards/label_names.json").exists()
    else:
        assert {row["label"]: row["name"] for row in rows} == names
        assert json.loads((tmp_path / "shards/label_names.json").read_text()) == names | {"6E4": "6E4"}


def test_classes_csv_counts_the_samples_of_each_class(moths: ShardRun) -> None:
    moths.create()
    counts: Counter[tuple[str, str]] = Counter()
    for split in SPLITS:
        for sample in moths.samples(split):
            counts[split, sample["cls"].decode()] += 1
    with open_csv(moths.root / "shards/classes.csv") as lines:
        rows = list(lines)
    assert {(row["split"], row["class"]): int(row["samples"]) for row in rows} == counts
    assert all(row["label"] == f"label {row['class']}" for row in rows)
    assert [(row["split"], int(row["class"])) for row in rows] == sorted(
        ((split, int(number)) for split, number in counts), key=lambda one: (SPLITS.index(one[0]), one[1])
    )
