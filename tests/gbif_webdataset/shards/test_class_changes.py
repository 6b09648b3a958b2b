import csv
import json
from dataclasses import replace
from pathlib import Path

from gbif_webdataset.shards.class_changes import list_changes, renumber_classes
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable, Link
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind
from tests.support.shard_run import RECIPE, ShardRun, encoded, photo
from tests.support.taxonomies import make_crosswalk_of, plan_taxonomies, write_pair


def link(old: str, new: str, kind: ChangeKind, shared: int = 5) -> Link:
    return Link(old, new, f"name {old}", f"name {new}", kind, shared)


def test_the_largest_part_and_the_largest_of_lumped_classes_decide_the_number() -> None:
    previous = {"a": 0, "b": 1, "c": 2, "gone": 3, "d": 4}
    links = {
        "a": [link("a", "x", ChangeKind.LUMPED, 3)],
        "b": [link("b", "x", ChangeKind.LUMPED, 9)],
        "c": [link("c", "p", ChangeKind.SPLIT, 4), link("c", "q", ChangeKind.SPLIT, 4)],
        "gone": [link("gone", "", ChangeKind.GONE, 0)],
        "d": [link("d", "a", ChangeKind.RENAMED)],
    }
    numbers = renumber_classes(previous, links, ["x", "p", "q", "a", "fresh"], 7)
    assert numbers == {"x": 1, "p": 2, "a": 4, "fresh": 7, "q": 8}
    changes = [
        (one.number, one.old_label, one.new_label, one.kind) for one in list_changes(previous, links, numbers, {})
    ]
    assert changes == [
        (1, "a", "x", "lumped"),
        (1, "b", "x", "lumped"),
        (2, "c", "p", "split"),
        (8, "c", "q", "split"),
        (3, "gone", "", "gone"),
        (4, "d", "a", "renamed"),
        (7, "", "fresh", "new"),
    ]


def test_a_new_class_has_the_name_and_kind_of_the_crosswalk() -> None:
    renamed = link("other", "x", ChangeKind.RENAMED)
    links_by_new = CrosswalkTable((renamed,)).find_by_new(["x", "fresh"])
    changes = list_changes({}, {}, {"x": 0, "fresh": 1}, links_by_new)
    assert [(one.new_label, one.new_name, one.kind) for one in changes] == [
        ("x", "name x", "renamed"),
        ("fresh", "", "new"),
    ]


def test_an_ambiguous_class_keeps_its_number_empty_and_a_class_that_is_not_listed_as_well() -> None:
    previous = {"a": 0, "b": 1}
    links = {"a": [link("a", "x", ChangeKind.AMBIGUOUS), link("a", "y", ChangeKind.AMBIGUOUS)]}
    numbers = renumber_classes(previous, links, ["x", "b"], 2)
    assert numbers == {"b": 2, "x": 3}
    assert {
        (one.number, one.old_label, one.new_label, one.kind) for one in list_changes(previous, links, numbers, {})
    } >= {
        (0, "a", "", "ambiguous"),
        (1, "b", "", ""),
    }


def test_no_sample_of_300_taxa_has_a_wrong_class_number(tmp_path: Path) -> None:
    pair = plan_taxonomies()
    crosswalk = make_crosswalk_of(tmp_path, *write_pair(tmp_path, pair))
    old_labels = sorted(taxon.key for _, old, _ in pair.changes for taxon in old)
    previous = {label: number for number, label in enumerate(old_labels)}
    (tmp_path / "previous.json").write_text(json.dumps(previous))
    run, data = ShardRun(tmp_path), encoded(photo(16, 16, 1))
    new_labels = [taxon.key for _, _, new in pair.changes for taxon in new]
    for number, label in enumerate(new_labels):
        run.add("train", f"d/{number}.jpg", data, label)
    run.write()
    recipe = replace(
        RECIPE, previous_category_map=tmp_path / "previous.json", crosswalk=crosswalk, columns_to_json=("label",)
    )
    run.create(recipe)
    found = {json.loads(sample["json"])["label"]: int(sample["cls"]) for sample in run.samples()}
    expected = {}
    for kind, old, new in pair.changes:
        if old and new:
            expected[new[0].key] = min(previous[taxon.key] for taxon in old)
            if kind == "lumped":  # both have nearly as many occurrences; the largest keeps its number
                expected[new[0].key] = found[new[0].key]
                assert found[new[0].key] in {previous[taxon.key] for taxon in old}
    others = sorted(set(new_labels) - expected.keys())
    expected |= {label: len(previous) + number for number, label in enumerate(others)}
    assert found == expected
    assert len(set(found.values())) == len(new_labels)
    with (tmp_path / "shards/class_changes.csv").open(newline="") as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "renamed": 206, "lumped": 20, "split": 20, "gone": 10, "new": 10, "same": 54,
    }  # fmt: skip
