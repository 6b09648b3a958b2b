from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.dataset_numbers import ClassSamples, collect_numbers
from gbif_webdataset.storage.paths import DatasetPaths

IMAGES = [
    {"image_path": "1", "acceptedTaxonKey": "6E4", "taxonRank": "SPECIES", "speciesKey": "6E4"},
    {"image_path": "2", "acceptedTaxonKey": "0012", "taxonRank": " Genus ", "speciesKey": ""},
    {"image_path": "3", "acceptedTaxonKey": "0012", "taxonRank": "GENUS", "speciesKey": None},
    {"image_path": "4", "acceptedTaxonKey": "0012", "taxonRank": None, "speciesKey": None},
    {"image_path": "dropped", "acceptedTaxonKey": "0012", "taxonRank": "GENUS", "speciesKey": None},
]


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    paths = DatasetPaths.under(tmp_path)
    for folder in (paths.splits, paths.shards):
        folder.mkdir()
    pq.write_table(pa.Table.from_pylist(IMAGES), paths.clean)
    paths.classes.write_text(
        "split,label,class,samples,name\ntrain,0012,0,2,\nval,0012,0,1,\ntrain,6E4,1,1,Noctua\nholdout,NA,-1,5,\n"
    )
    paths.leakage.write_text("split,shares,images,known,shared,share\ntest,observer,4,0,,\n")
    paths.split_dropped.write_text("stage,reason,image_path,identifier,coreid\nsplit,no-label,dropped,u,o\n")
    paths.shards_dropped.write_text("stage,reason,image_path,identifier,coreid\n")
    return paths


def settings(category_key: str, label_column: str) -> dict[str, dict[str, Any]]:
    return {
        "SplitDataset": {"category_key": category_key, "val_frac": 0.1, "test_frac": 0.2},
        "CreateWebDataset": {"label_column": label_column},
    }


def test_classes_and_shared_images_are_read(paths: DatasetPaths) -> None:
    numbers = collect_numbers(paths, 5, [], settings("acceptedTaxonKey", "acceptedTaxonKey"))
    assert numbers.classes == [ClassSamples("0012", {"train": 2, "val": 1}), ClassSamples("Noctua (6E4)", {"train": 1})]
    assert (numbers.samples, numbers.fractions) == (4, {"val": 0.1, "test": 0.2})
    assert [(row.trait, row.share) for row in numbers.shared] == [("observer", None)]


@pytest.mark.parametrize(
    ("category_key", "label_column", "expected"),
    [
        ("acceptedTaxonKey", "acceptedTaxonKey", 2),
        ("speciesKey", "speciesKey", None),
        ("genusKey", "genusKey", None),
        ("speciesKey", "label", 3),
    ],
)
def test_samples_labelled_above_species_rank_are_counted(
    paths: DatasetPaths, category_key: str, label_column: str, expected: int | None
) -> None:
    assert collect_numbers(paths, 5, [], settings(category_key, label_column)).above_species == expected


def test_without_ranks_the_number_is_unknown(paths: DatasetPaths) -> None:
    pq.write_table(pq.read_table(paths.clean).drop_columns(["taxonRank", "speciesKey"]), paths.clean)
    numbers = collect_numbers(paths, 5, [], settings("acceptedTaxonKey", "acceptedTaxonKey"))
    assert (numbers.above_species, numbers.has_species_key) == (None, False)


def test_failures_that_later_runs_retry_are_counted(paths: DatasetPaths) -> None:
    lines = [
        AccountLine("fetch", "timeout", 2), AccountLine("fetch", "http-599", 1), AccountLine("fetch", "not-found", 4),
        AccountLine("verify", "truncated", 8),
    ]  # fmt: skip
    numbers = collect_numbers(paths, 5, lines, settings("acceptedTaxonKey", "acceptedTaxonKey"))
    assert numbers.temporary_failures == 3
