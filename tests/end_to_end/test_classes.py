"""Classes: of any rank, rolled up to a higher rank, with names, with the numbers of an earlier dataset, held out."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import webdataset
import yaml

from gbif_webdataset.compare.compare_datasets import compare
from gbif_webdataset.storage.paths import DatasetPaths
from tests.support.datasets import ROOT, Dataset

SPLITS = ("train", "val", "test")


def read_classes(dataset: Dataset) -> dict[str, int]:
    found: dict[str, int] = json.loads((dataset.output / "shards" / "category_map.json").read_text())
    return found


def test_classes_are_the_values_of_category_key(dataset: Dataset) -> None:
    for key in ("genusKey", "family", "classKey"):
        dataset.make("--SplitDataset-category-key", key, "--SplitDataset-test-frac", "0")
        there = Counter(row[key] for row in dataset.rows("clean.parquet") if row[key])
        counted = Counter({row["label"]: 0 for row in dataset.rows("shards/classes.csv")})
        for row in dataset.rows("shards/classes.csv"):
            counted[row["label"]] += int(row["samples"])
        assert set(read_classes(dataset)) == set(there)
        assert counted == there


def test_with_roll_up_an_image_identified_to_a_genus_has_the_genus_as_its_class(dataset: Dataset) -> None:
    rows = dataset.rows("clean.parquet")
    of_genus = {row["image_path"]: row["genusKey"] for row in rows if row["genusKey"] and not row["speciesKey"]}
    assert of_genus
    options = (
        "--SplitDataset-category-key",
        "speciesKey",
        "--SplitDataset-test-frac",
        "0",
        "--SplitDataset-val-frac",
        "0",
    )
    dataset.make(*options)
    left_out = {row["image_path"] for row in dataset.rows("splits/dropped.csv") if row["reason"] == "no-label"}
    assert of_genus.keys() <= left_out
    species = {row["label"]: row["name"] for row in dataset.rows("shards/classes.csv")}

    dataset.make(*options, "--SplitDataset-roll-up", "true")
    assigned = {row["image_path"]: row["label"] for split in SPLITS for row in dataset.rows(f"splits/{split}.csv")}
    assert {path: assigned[path] for path in of_genus} == of_genus
    ranks = ("speciesKey", "genusKey", "familyKey", "orderKey")
    expected = {row["image_path"]: next((row[rank] for rank in ranks if row[rank]), None) for row in rows}
    assert assigned == {path: label for path, label in expected.items() if label}
    named = {row["label"]: row["name"] for row in dataset.rows("shards/classes.csv")}
    assert named == species | {row["genusKey"]: row["genus"] for row in rows if row["image_path"] in of_genus}
    assert json.loads((dataset.output / "shards" / "label_names.json").read_text()) == named
    page = (dataset.output / "report" / "index.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in named.values())
    assert all(f"<b>{name}</b>" in page for name in named.values())  # over its pictures
    counts = {(row["stage"], row["reason"]): int(row["images"]) for row in dataset.rows("accounting.csv")}
    assert counts["sample", "train"] == len(assigned)


def test_roll_up_needs_a_rank_as_category_key(dataset: Dataset) -> None:
    command = dataset.command("--SplitDataset-roll-up", "true")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode
    assert "category_key 'acceptedTaxonKey' is not a taxon rank; choose one of speciesKey, genusKey" in ended.stderr


def test_a_newer_dataset_keeps_the_class_numbers_of_an_earlier_one(dataset: Dataset) -> None:
    earlier = dataset.output.parent / "earlier.json"
    first, *others = read_classes(dataset)
    earlier.write_text(json.dumps({"extinct": 0} | {label: number for number, label in enumerate(others, start=5)}))
    dataset.make("--CreateWebDataset-previous-category-map", str(earlier))
    now = read_classes(dataset)
    assert now == json.loads(earlier.read_text()) | {first: 5 + len(others)}
    by_label = {row["label"]: int(row["class"]) for row in dataset.rows("shards/classes.csv")}
    assert by_label == {label: now[label] for label in (first, *others)}


def test_held_out_genera_have_their_own_shards_and_no_class_of_train(dataset: Dataset, tmp_path: Path) -> None:
    options = ("--SplitDataset-holdout-key", "genusKey", "--SplitDataset-holdout-frac", "0.3")
    named = (
        "--CreateWebDataset-label-name",
        "species",
        "--CreateWebDataset-columns-to-json",
        "acceptedTaxonKey,genusKey",
    )
    dataset.make(*options, *named)
    held = {row["image_path"]: row for row in dataset.rows("splits/holdout.csv")}
    genera = {row["genusKey"] for row in held.values()}
    assigned = [row for split in SPLITS for row in dataset.rows(f"splits/{split}.csv")]
    assert genera
    assert not genera & {row["genusKey"] for row in assigned}

    tars = [str(path) for path in sorted((dataset.output / "shards" / "holdout").glob("holdout-*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert {sample["cls"] for sample in samples} == {-1}
    assert Counter(sample["json"]["acceptedTaxonKey"] for sample in samples) == Counter(
        row["acceptedTaxonKey"] for row in held.values()
    )
    assert read_classes(dataset).keys() == {row["acceptedTaxonKey"] for row in assigned}
    names = json.loads((dataset.output / "shards" / "label_names.json").read_text())
    assert names.keys() == read_classes(dataset).keys() | {row["acceptedTaxonKey"] for row in held.values()}

    counts = {(row["stage"], row["reason"]): int(row["images"]) for row in dataset.rows("accounting.csv")}
    assert counts["sample", "holdout"] == len(held) == len(samples)
    owners = Counter(row["split"] for row in dataset.rows("report/attribution.parquet"))
    assert owners == {split: counts["sample", split] for split in (*SPLITS, "holdout")}
    header = yaml.safe_load((dataset.output / "report" / "README.md").read_text().split("---")[1])
    assert {"split": "holdout", "path": "holdout/holdout-*.tar"} in header["configs"][0]["data_files"]
    page = (dataset.output / "report" / "index.html").read_text()
    assert 'data-sort="5">holdout</th>' in page
    paths = DatasetPaths.under(dataset.output)
    found = compare(paths, paths)
    assert found.changes == {"unchanged": owners.total()}


def test_a_held_out_image_of_a_class_of_train_has_the_number_of_that_class(dataset: Dataset) -> None:
    dataset.make("--SplitDataset-holdout-key", "countryCode", "--SplitDataset-holdout-frac", "0.2")
    rows = [row for row in dataset.rows("shards/classes.csv") if row["split"] == "holdout"]
    classes = read_classes(dataset)
    assert any(row["label"] in classes for row in rows)
    assert {row["label"]: int(row["class"]) for row in rows} == {
        row["label"]: classes.get(row["label"], -1) for row in rows
    }
