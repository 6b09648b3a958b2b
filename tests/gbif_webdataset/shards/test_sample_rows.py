"""The rows that become samples: labels, columns and JSON text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import MissingPieceError, SelectionError
from gbif_webdataset.terms.value_types import HIERARCHY
from tests.support.shard_run import COLUMNS, RECIPE, ShardRun, encoded, photo


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    return ShardRun(tmp_path)


def test_json_has_measurements_as_numbers_other_values_as_text_and_empty_fields_as_null(run: ShardRun) -> None:
    run.add("train", "ds/0012.jpg", encoded(photo(40, 30, 1)), country="NA", remarks='3mm (1/8") \\ é', label="6E4")
    run.add("val", "ds/2.jpg", encoded(photo(40, 30, 2)), label="6E4")
    run.write()
    columns = ("coreid", "country", "remarks", "label", "width", "valid")
    run.create(replace(RECIPE, columns_to_json=columns))
    assert json.loads(run.only_sample()["json"]) == {
        "coreid": "0012",
        "country": "NA",
        "remarks": '3mm (1/8") \\ é',
        "label": "6E4",
        "width": 40,
        "valid": True,
    }
    [sample] = run.samples("val")
    assert json.loads(sample["json"])["country"] is None


def test_json_is_valid_for_every_text(run: ShardRun) -> None:
    odd = ["", "NaN", "null", '"', "\\", "\u0001\u001f\t", "é 蛾 🦋", "0012", "1e5", "{}", "a\nb", "'", "\u2028"]
    for number, value in enumerate(odd):
        run.add("train", f"ds/{number}.jpg", encoded(photo(40, 30, number)), remarks=value)
    run.add("train", "ds/width.jpg", encoded(photo(40, 30, 99)), country="wide")
    run.write()
    run.create(replace(RECIPE, columns_to_json=("remarks", "country", "width", "valid", "coreid")))
    read = {sample["__key__"].removeprefix("ds/"): json.loads(sample["json"]) for sample in run.samples()}
    for number, value in enumerate(odd):
        assert read[str(number)]["remarks"] == (value or None)
        assert read[str(number)]["country"] is None
        assert (read[str(number)]["width"], read[str(number)]["valid"]) == (40, True)
        assert read[str(number)]["coreid"] == str(number)


class Occurrences(ShardRun):
    columns = (*COLUMNS, "decimalLatitude", "year", "speciesKey", "species", "genus", "family")


@pytest.mark.parametrize(
    ("year", "latitude", "expected"),
    [
        ("2019", "45.25", (2019, 45.25)),
        (" 2019.0 ", "-45", (2019, -45.0)),
        ("", "", (None, None)),
        ("2019.5", "45,25", (None, None)),
        ("MMXIX", "NaN", (None, None)),
        ("1_000", "inf", (None, None)),
        ("0x10", "1e400", (None, None)),
        ("99999999999999999999", "-1.5E-3", (None, -0.0015)),
    ],
)
def test_json_has_numeric_terms_as_numbers_and_null_if_they_are_none(
    tmp_path: Path, year: str, latitude: str, expected: tuple[int | None, float | None]
) -> None:
    run = Occurrences(tmp_path)
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)), year=year, decimalLatitude=latitude, speciesKey="6E4")
    run.write()
    run.create(replace(RECIPE, columns_to_json=("year", "decimalLatitude", "speciesKey")))
    read = json.loads(run.only_sample()["json"])
    assert (read["year"], read["decimalLatitude"]) == expected
    assert [type(value) for value in (read["year"], read["decimalLatitude"])] == [type(value) for value in expected]
    assert read["speciesKey"] == "6E4"


def test_json_has_the_ranks_from_kingdom_to_species_with_null_for_those_that_the_archive_lacks(tmp_path: Path) -> None:
    run = Occurrences(tmp_path)
    run.add(
        "train", "ds/1.jpg", encoded(photo(40, 30, 1)), species="Agrotis segetum", genus="Agrotis", speciesKey="0012"
    )
    run.write()
    run.create(replace(RECIPE, hierarchy_to_json=True, columns_to_json=("country",)))
    read = json.loads(run.only_sample()["json"])
    assert list(read) == ["country", *HIERARCHY]
    filled = {"species": "Agrotis segetum", "genus": "Agrotis", "speciesKey": "0012"}
    assert {name: value for name, value in read.items() if value is not None} == filled


def test_a_hierarchy_of_an_archive_without_ranks_is_refused(run: ShardRun) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    run.write()
    with pytest.raises(SelectionError, match=r"--CreateWebDataset-hierarchy-to-json true: .* no column of a rank"):
        run.create(replace(RECIPE, hierarchy_to_json=True))


def test_each_sample_has_its_caption_and_an_empty_one_if_all_its_columns_are_empty(tmp_path: Path) -> None:
    run = Occurrences(tmp_path)
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)), species="Agrotis segetum", country="NA")
    run.add("train", "ds/2.jpg", encoded(photo(40, 30, 2)), species="Noctua \u00e9")
    run.add("train", "ds/3.jpg", encoded(photo(40, 30, 3)))
    run.write()
    run.create(replace(RECIPE, caption_template="a photo of {species} from {country}."))
    captions = {sample["__key__"]: sample["txt"].decode() for sample in run.samples()}
    assert captions == {"ds/1": "a photo of Agrotis segetum from NA.", "ds/2": "a photo of Noctua \u00e9.", "ds/3": ""}


def test_an_image_without_a_label_is_dropped_with_its_reason(run: ShardRun) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    run.add("train", "ds/2.jpg", encoded(photo(40, 30, 2)), label=None)
    run.write()
    counts = run.create()
    assert (counts.samples, counts.dropped) == ({"train": 1, "val": 0, "test": 0}, {"no-label": 1})
    assert (run.root / "shards/dropped.csv").read_text() == (
        "stage,reason,image_path,identifier,coreid\nshards,no-label,ds/2.jpg,http://photos.test/ds/2.jpg,2\n"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label_column": "species"}, r"--CreateWebDataset-label-column species: .*train.csv has no column 'species'"),
        ({"columns_to_json": ("country", "genus")}, "--CreateWebDataset-columns-to-json genus: .* no column 'genus'"),
        ({"label_name": "nope"}, "--CreateWebDataset-label-name nope: .* no column 'nope'; choose from .*country"),
        (
            {"caption_template": "a {contry}, {label}"},
            r'--CreateWebDataset-caption-template "a \{contry\}, \{label\}": .* no column \'contry\'; did you mean country',
        ),
        ({"label_column": "remarks"}, "--CreateWebDataset-label-column remarks: the column is empty in all rows"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(run: ShardRun, change: dict[str, Any], problem: str) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    run.write()
    with pytest.raises(SelectionError, match=problem):
        run.create(replace(RECIPE, **change))
    assert not run.shards()


def test_a_row_without_a_size_is_named(run: ShardRun) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)), width="")
    run.write()
    with pytest.raises(
        MissingPieceError, match=r"train\.csv: the row of ds/1\.jpg lacks width.*run SplitDataset again"
    ):
        run.create()
