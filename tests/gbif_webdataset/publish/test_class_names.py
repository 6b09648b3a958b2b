from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.publish.class_names import add_names
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.storage.paths import DatasetPaths

CLASSES = [ClassCounts("0012", 0, "", {"train": 3}), ClassCounts("6E4", 1, "", {"train": 1})]


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    names = ["Arctia caja", "Arctia", "Arctia caja", None]
    table = {"speciesKey": ["0012", "0012", "0012", "6E4"], "species": names, "country": ["DK"] * 4}
    paths = DatasetPaths.under(tmp_path)
    pq.write_table(pa.table(table), paths.clean)
    return paths


def test_a_class_gets_the_most_frequent_name_of_its_images(paths: DatasetPaths) -> None:
    assert [one.name for one in add_names(CLASSES, paths, "speciesKey")] == ["Arctia caja", ""]


@pytest.mark.parametrize("label_column", ["country", "genusKey", "label"])
def test_classes_without_scientific_names_stay_as_they_are(paths: DatasetPaths, label_column: str) -> None:
    assert add_names(CLASSES, paths, label_column) == CLASSES


def test_names_of_the_shards_are_kept(paths: DatasetPaths) -> None:
    named = [ClassCounts("0012", 0, "garden tiger", {"train": 3}), CLASSES[1]]
    assert add_names(named, paths, "speciesKey") == named
