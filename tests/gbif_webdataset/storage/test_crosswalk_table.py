import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage.crosswalk_table import COLUMNS, CrosswalkTable


def write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Rows of old key, old name, new key, new name, kind and shared occurrences."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        lines.writerows(["species", *row[:5], "occurrences", row[5], ""] for row in rows)
    return path


def test_labels_are_keys_or_names_whichever_the_crosswalk_lists_more(tmp_path: Path) -> None:
    rows = [("1", "Aus bus", "X1", "Aus bus", "renamed", 5), ("2", "Aus cus", "", "", "gone", "")]
    table = CrosswalkTable.read(write(tmp_path / "crosswalk.csv", rows), "--x")
    by_key = table.translate(["1", "2", "9"])
    assert {old: [(link.new, link.kind, link.is_decided) for link in links] for old, links in by_key.items()} == {
        "1": [("X1", "renamed", True)],
        "2": [("", "gone", False)],
    }
    by_name = table.translate(["Aus bus", "Aus cus"])
    assert [(link.old, link.new, link.kind) for link in by_name["Aus bus"]] == [("Aus bus", "Aus bus", "same")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b\n1,2\n", "the column rank is missing"),
        (",".join(COLUMNS) + "\nspecies,1,a,2,b,moved,,,\n", "cannot be read"),
        (",".join(COLUMNS) + "\nspecies,1,a,2,b,same,,x,\n", "cannot be read"),
    ],
)
def test_another_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "crosswalk.csv"
    path.write_text(content)
    with pytest.raises(ParameterError, match=rf"^--x {path}: {problem}.*make crosswalk"):
        CrosswalkTable.read(path, "--x")
