from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.publish.coverage import Coverage, ValueSummary, collect_coverage
from gbif_webdataset.storage.paths import DatasetPaths

Row = dict[str, str | None]


def collect(root: Path, rows: list[Row], dropped: tuple[str, ...] = ()) -> Coverage:
    paths = DatasetPaths.under(root)
    for path in (paths.split_dropped, paths.shards_dropped):
        path.parent.mkdir(exist_ok=True)
        path.write_text("stage,reason,image_path\n")
    paths.split_dropped.write_text("stage,reason,image_path\n" + "".join(f"split,x,{path}\n" for path in dropped))
    named = [{"image_path": f"{number}.jpg", **row} for number, row in enumerate(rows)]
    schema = pa.schema([(name, pa.string()) for name in dict.fromkeys(name for row in named for name in row)])
    pq.write_table(pa.Table.from_pylist(named, schema), paths.clean)
    return collect_coverage(paths)


def test_values_are_counted_over_samples_only_the_most_frequent_first(tmp_path: Path) -> None:
    rows: list[Row] = [{"countryCode": code} for code in ("NA", "GB", "GB", " ", None, "DK", "XX")]
    found = collect(tmp_path, rows, dropped=("6.jpg",))
    assert found.samples == 6
    assert found.values["countryCode"] == ValueSummary(4, 3, {"GB": 2, "DK": 1, "NA": 1})
    assert list(found.values["countryCode"].frequent) == ["GB", "DK", "NA"]


def test_columns_that_the_archive_lacks_are_not_counted(tmp_path: Path) -> None:
    found = collect(tmp_path, [{"lifeStage": "ADULT"}, {"lifeStage": "adult"}])
    assert found.values["lifeStage"] == ValueSummary(2, 1, {"adult": 2})
    assert "countryCode" not in found.values
    assert found.values["year"] == ValueSummary(0, 0, {})
    assert (found.years, found.placed, found.bounds, found.last_download) == (None, 0, None, "")


def test_years_are_taken_from_the_event_date_if_the_year_is_missing_or_impossible(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"year": "1999", "eventDate": None}, {"year": None, "eventDate": "2023-08-13/2023-08-16"},
        {"year": "0", "eventDate": "1850"}, {"year": None, "eventDate": "summer"},
    ]  # fmt: skip
    found = collect(tmp_path, rows)
    assert found.years == (1850, 2023)
    assert found.values["year"].with_value == 3
    assert found.values["month"].frequent == {"8": 1}


@pytest.mark.parametrize("bad", [("91", "0"), ("", "5"), ("x", "5"), ("nan", "1"), ("0", "0.0")])
def test_only_valid_coordinates_are_places(tmp_path: Path, bad: tuple[str, str]) -> None:
    places = [("-22.5", "30"), ("58", "-84"), ("0", "9"), bad]
    found = collect(tmp_path, [{"decimalLatitude": lat, "decimalLongitude": lon} for lat, lon in places])
    assert (found.placed, found.bounds) == (3, (-22.5, 58.0, -84.0, 30.0))


def test_the_last_download_is_the_latest_day_of_the_samples(tmp_path: Path) -> None:
    times = ("2026-11-27T23:59:59Z", "2026-11-28T00:00:01Z", None, "2027-01-01T00:00:00Z")
    found = collect(tmp_path, [{"fetched_at": time} for time in times], dropped=("3.jpg",))
    assert found.last_download == "2026-11-28"
