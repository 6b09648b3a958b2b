"""Checks of a recipe before any download."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.shards.check_request import check_columns, check_files, match_category_map, match_detections
from gbif_webdataset.shards.recipe import Recipe
from tests.support.archives import find_case

COLUMNS = ("coreid", "speciesKey", "species", "eventDate")


def recipe(**values: Any) -> Recipe:
    return Recipe(**{"label_column": "speciesKey", "max_shard_size": 1 << 20, "shuffle": True, "seed": 1, **values})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"label_column": "specieskey"}, "--CreateWebDataset-label-column specieskey: .* did you mean speciesKey"),
        (
            {"label_name": "Species"},
            "--CreateWebDataset-label-name Species: .* did you mean speciesKey or species|species",
        ),
        ({"columns_to_json": ("eventDate", "zzz")}, "--CreateWebDataset-columns-to-json zzz: .*; choose from coreid, "),
    ],
)
def test_a_column_that_the_archive_lacks_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SelectionError, match=sentence):
        check_columns(recipe(**values), COLUMNS)


def test_columns_that_exist_are_accepted() -> None:
    check_columns(recipe(label_name="species", columns_to_json=COLUMNS), COLUMNS)


@pytest.mark.parametrize(
    ("parameter", "content", "sentence"),
    [
        ("category_map_json", [], "--CreateWebDataset-category-map-json .*: must be a JSON object"),
        ("previous_category_map", {"a": "0"}, "--CreateWebDataset-previous-category-map .*: the class number of 'a'"),
        (
            "megadetector_results_json",
            {"images": [{}]},
            "--CreateWebDataset-megadetector-results-json .* has no 'file'",
        ),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, parameter: str, content: Any, sentence: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ParameterError, match=sentence):
        check_files(recipe(**{parameter: path}))


@pytest.fixture
def manifest() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("""CREATE TABLE manifest AS SELECT unnest(['a', 'a', 'b', NULL]) AS "speciesKey" """)
    return connection


def test_a_map_of_which_no_label_occurs_is_refused(manifest: duckdb.DuckDBPyConnection) -> None:
    found = recipe(previous_category_map=find_case("lists/category_map-of-another-taxonomy.json"))
    with pytest.raises(SelectionError, match=r"none of its 3 labels occurs in the archive; .* of another taxonomy"):
        match_category_map(manifest, found, "manifest", '"speciesKey"')


def test_labels_of_a_previous_map_are_translated_before_they_are_counted(
    manifest: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path, crosswalk = tmp_path / "map.json", tmp_path / "crosswalk.csv"
    path.write_text('{"1": 0, "2": 1}')
    crosswalk.write_text(
        "rank,old_key,old_name,new_key,new_name,kind,evidence,shared_occurrences,share\n"
        "species,1,A,a,A,renamed,occurrences,5,1.0\nspecies,2,B,b,B,renamed,occurrences,5,1.0\n"
    )
    found = recipe(previous_category_map=path, crosswalk=crosswalk)
    [sentence] = match_category_map(manifest, found, "manifest", '"speciesKey"')
    assert sentence == f"--CreateWebDataset-previous-category-map {path}: 2 of 2 labels occur in the archive"


def test_the_labels_of_a_map_that_occur_are_counted(manifest: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"a": 0, "x": 1, "y": 2}')
    [sentence] = match_category_map(manifest, recipe(category_map_json=path), "manifest", '"speciesKey"')
    assert sentence.startswith(f"WARNING: --CreateWebDataset-category-map-json {path}: 1 of 3 labels occurs in the ")
    assert match_category_map(manifest, recipe(), "manifest", '"speciesKey"') == []


def test_the_entries_of_megadetectors_file_that_are_images_are_counted(tmp_path: Path) -> None:
    connection, path = duckdb.connect(), tmp_path / "results.json"
    connection.execute("CREATE TABLE manifest AS SELECT unnest(['ds/1.jpg', 'ds/2.jpg', 'ds/3.jpg']) AS image_path")
    found = recipe(megadetector_results_json=path)
    for files, warning in ((["ds/1.jpg", "/data/images/ds/2.jpg", "x/9.jpg"], ""), (["2.jpg", "a", "b"], "WARNING: ")):
        path.write_text(json.dumps({"images": [{"file": file, "detections": []} for file in files]}))
        [sentence] = match_detections(connection, found, "manifest")
        count = "1 of 3 entries occurs" if warning else "2 of 3 entries occur"
        assert sentence.startswith(f"{warning}--CreateWebDataset-megadetector-results-json {path}: {count} in the ")
    path.write_text('{"images": [{"file": "x.jpg"}]}')
    with pytest.raises(ParameterError, match="none of its files is an image of the dataset"):
        match_detections(connection, found, "manifest")


def test_a_fault_late_in_megadetectors_file_is_found_before_any_download(tmp_path: Path) -> None:
    connection, path = duckdb.connect(), tmp_path / "results.json"
    connection.execute("CREATE TABLE manifest AS SELECT 'ds/1.jpg' AS image_path")
    path.write_text(json.dumps({"images": [*({"file": "ds/1.jpg"} for _ in range(5_000)), {}]}))
    found = recipe(megadetector_results_json=path)
    check_files(found)
    with pytest.raises(ParameterError, match="entry 5,001 of 'images' has no 'file'"):
        match_detections(connection, found, "manifest")
    assert match_detections(connection, recipe(), "manifest") == []
