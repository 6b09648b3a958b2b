import json
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.shards.categories import load_map
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
from tests.support.shard_run import COLUMNS, RECIPE, ShardRun, encoded, photo

OLD, NEW = Checklist(BACKBONE, "2025-03-01"), Checklist(CATALOGUE_OF_LIFE, "2026-07-10")


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    """Shards of two species and a genus, labelled by their accepted keys."""
    run = ShardRun(tmp_path)
    run.columns = [*COLUMNS, "acceptedTaxonKey", "taxonRank", "speciesKey", "species"]
    for label, rank, species in (("1", "SPECIES", "1"), ("2", "SUBSPECIES", "1"), ("3", "GENUS", "")):
        run.add(
            "train", f"d/{label}.jpg", encoded(photo(16, 16, 1)), acceptedTaxonKey=label, taxonRank=rank,
            speciesKey=species, species="Aus bus",
        )  # fmt: skip
    run.write()
    run.create(replace(RECIPE, label_column="acceptedTaxonKey", label_name="species", checklist=OLD))
    return run


def test_checklist_rank_and_label_column_are_in_categories_json_and_classes_csv(run: ShardRun) -> None:
    written = json.loads((run.root / "shards/categories.json").read_text())
    assert written == {
        "label_column": "acceptedTaxonKey",
        "rank": "",
        "checklist": {"key": BACKBONE, "title": "GBIF Backbone Taxonomy", "release": "2025-03-01"},
        "classes": 3,
        "categories": [
            {"class": 0, "label": "1", "name": "Aus bus", "rank": "species"},
            {"class": 1, "label": "2", "name": "Aus bus", "rank": "subspecies"},
            {"class": 2, "label": "3", "name": "Aus bus", "rank": "genus"},
        ],
    }
    with open_csv(run.root / "shards/classes.csv") as rows:
        found = list(rows)
    assert [row["rank"] for row in found] == ["species", "subspecies", "genus"]
    assert {(row["label_column"], row["checklist"], row["checklist_release"]) for row in found} == {
        ("acceptedTaxonKey", BACKBONE, "2025-03-01")
    }


@pytest.mark.parametrize("parameter", ["category_map_json", "previous_category_map"])
def test_a_map_of_another_checklist_is_refused_unless_the_user_states_that_it_is_the_same(
    run: ShardRun, parameter: str
) -> None:
    path = run.root / "shards/category_map.json"
    copy = run.root / "old"
    (run.root / "shards").rename(copy)
    recipe = replace(RECIPE, label_column="acceptedTaxonKey", checklist=NEW, **{parameter: copy / path.name})
    with pytest.raises(
        SelectionError, match=r"its labels are keys of the checklist GBIF Backbone .* crosswalk"
    ) as error:
        run.create(recipe)
    assert "or set --same-taxonomy if the keys mean the same taxa" in str(error.value)
    run.create(replace(recipe, same_taxonomy=True))
    assert json.loads(path.read_text()) == {"1": 0, "2": 1, "3": 2}


def test_names_of_taxa_are_not_keys_so_that_their_checklist_does_not_matter(run: ShardRun) -> None:
    run.create(replace(RECIPE, label_column="species", checklist=OLD), name="old")
    run.create(
        replace(RECIPE, label_column="species", checklist=NEW, previous_category_map=run.root / "old/category_map.json")
    )
    maps = [json.loads((run.root / name / "category_map.json").read_text()) for name in ("old", "shards")]
    assert maps[0] == maps[1] != {}


def test_a_map_without_its_categories_json_has_an_unknown_checklist(run: ShardRun) -> None:
    path = run.root / "shards/category_map.json"
    assert load_map(path, "category_map_json").checklist == OLD
    path.write_text(json.dumps({"1": 0, "2": 5}))
    found = load_map(path, "category_map_json")
    assert (found.checklist, found.classes) == (Checklist(), 6)


def test_numbers_that_are_empty_are_not_used_again(run: ShardRun) -> None:
    shards = run.root / "shards"
    stated = json.loads((shards / "categories.json").read_text())
    (shards / "categories.json").write_text(json.dumps(stated | {"classes": 9}))
    shards.rename(run.root / "old")
    run.add("train", "d/9.jpg", encoded(photo(16, 16, 1)), acceptedTaxonKey="9")
    run.write()
    old = run.root / "old/category_map.json"
    run.create(replace(RECIPE, label_column="acceptedTaxonKey", checklist=OLD, previous_category_map=old))
    assert json.loads((shards / "category_map.json").read_text()) == {"1": 0, "2": 1, "3": 2, "9": 9}
