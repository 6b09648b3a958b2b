from pathlib import Path
from typing import Any

import pytest

from tests.support.manifests import Manifest, make_manifest
from tests.support.several_archives import OCCURRENCE, medium, occurrence, write_archive

NEW, OLD = "2025-05-01", "2024-05-01"


def rows_of(manifest: Manifest) -> set[tuple[Any, ...]]:
    return {
        (row["coreid"], row["identifier"].rpartition("/")[2], row["scientificName"], row["archive"])
        for row in manifest.rows
    }


def test_archives_of_publishers_have_the_same_occurrence_by_dataset_key_and_occurrence_id(tmp_path: Path) -> None:
    gbif = write_archive(
        tmp_path / "gbif.zip",
        [occurrence(1, occurrenceID="urn:x", scientificName="new"), occurrence(2)],
        [medium(1, "x"), medium(2, "y")],
        date=NEW,
    )
    own = write_archive(
        tmp_path / "own.zip",
        [
            occurrence("k1", occurrenceID="urn:x", scientificName="old"),
            occurrence("1", occurrenceID="urn:1", scientificName="other"),
            occurrence("k3", occurrenceID="urn:2", datasetKey="another", scientificName="other dataset"),
        ],
        [medium("k1", "x"), medium("k1", "x2"), medium("1", "z"), medium("k3", "w")],
        date=OLD,
        is_gbif=False,
    )
    manifest = make_manifest([own, gbif], tmp_path)
    assert rows_of(manifest) == {
        ("1", "x", "new", "gbif.zip"),
        ("1", "x2", "new", "own.zip"),
        ("2", "y", None, "gbif.zip"),
        ("1", "z", "other", "own.zip"),
        ("k3", "w", "other dataset", "own.zip"),
    }
    assert manifest.counts.rejected == {"media": {"in-another-archive": 1}, "records": {"in-another-archive": 1}}
    assert len({row["image_path"] for row in manifest.rows}) == 5
    assert make_manifest([gbif, own], tmp_path).files == manifest.files


def test_the_newer_archive_of_a_publisher_wins_over_a_download(tmp_path: Path) -> None:
    gbif = write_archive(tmp_path / "gbif.zip", [occurrence(1, scientificName="old")], [medium(1, "x")], date=OLD)
    own = write_archive(
        tmp_path / "own.zip",
        [occurrence("k", occurrenceID="urn:1", scientificName="new")],
        [medium("k", "y")],
        date=NEW,
        is_gbif=False,
    )
    assert rows_of(make_manifest([gbif, own], tmp_path)) == {
        ("k", "x", "new", "gbif.zip"), ("k", "y", "new", "own.zip"),
    }  # fmt: skip


def test_an_occurrence_id_that_one_archive_has_twice_says_nothing(tmp_path: Path) -> None:
    one = write_archive(
        tmp_path / "one.zip",
        [occurrence("a", occurrenceID="same"), occurrence("b", occurrenceID="same")],
        [medium("a", "a"), medium("b", "b")],
        date=NEW,
        is_gbif=False,
    )
    two = write_archive(
        tmp_path / "two.zip", [occurrence("c", occurrenceID="same")], [medium("c", "c")], date=OLD, is_gbif=False
    )
    manifest = make_manifest([one, two], tmp_path)
    assert {row["coreid"] for row in manifest.rows} == {"a", "b", "c"}
    assert not manifest.rejected


@pytest.mark.parametrize("missing", ["datasetKey", "occurrenceID"])
def test_without_these_columns_occurrences_are_kept_apart_and_a_note_says_so(tmp_path: Path, missing: str) -> None:
    columns = [name for name in OCCURRENCE if name != missing]
    paths = [
        write_archive(
            tmp_path / f"{name}.zip",
            [occurrence("1")],
            [medium("1", name)],
            date=date,
            is_gbif=False,
            occurrence=columns,
        )
        for name, date in (("a", NEW), ("b", OLD))
    ]
    manifest = make_manifest(paths, tmp_path)
    assert len(manifest.rows) == 2
    notes = [note for note in manifest.counts.notes if "cannot be compared" in note]
    assert [note[:5] for note in notes] == ["a.zip", "b.zip"]


def test_ids_in_quotes_are_compared_without_them(tmp_path: Path) -> None:
    one = write_archive(
        tmp_path / "one.zip",
        [occurrence('"a ""1"""', occurrenceID="x")],
        [medium('"a ""1"""', "a")],
        date=NEW,
        is_gbif=False,
    )
    two = write_archive(
        tmp_path / "two.zip",
        [occurrence('"b ""2"""', occurrenceID='"x"', lifeStage='"an ""adult"""')],
        [medium('"b ""2"""', "b")],
        date=OLD,
        is_gbif=False,
    )
    manifest = make_manifest([one, two], tmp_path)
    assert {row["coreid"] for row in manifest.rows} == {'a "1"'}
    assert manifest.counts.rejected["records"] == {"in-another-archive": 1}
