import csv
from pathlib import Path

import pytest

from gbif_webdataset.compare.comparison import Comparison, compare
from gbif_webdataset.compare.comparison_page import summarize_comparison
from gbif_webdataset.compare.label_changes import (
    Labels,
    TaxonomyOptions,
    are_comparable,
    are_texts_comparable,
    explain_comparison,
)
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable, Link
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist, Relation
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind
from tests.support.output_folder import OutputFolder

OLD, NEW = Checklist(BACKBONE, "2025"), Checklist(CATALOGUE_OF_LIFE, "2026")
LINKS = CrosswalkTable(
    (
        Link("1", "X1", "Aus bus", "Aus bus", ChangeKind.RENAMED, 9),
        Link("2", "X2", "Aus cus", "Aus cus", ChangeKind.RENAMED, 9),
        Link("3", "3", "Aus dus", "Aus dus", ChangeKind.SAME, 9),
    )
)


def compare_labels(
    folder: Path, labels: list[tuple[str, str]], options: TaxonomyOptions
) -> tuple[Comparison, list[str]]:
    old, new = OutputFolder(folder / "old"), OutputFolder(folder / "new")
    for number, (before, after) in enumerate(labels):
        old.add("train", f"{number}", before)
        new.add("train", f"{number}", after)
    comparison = compare(old.write(), new.write())
    comparison = compare(old.write(), new.write(), options)
    with (folder / "new/report/comparison.csv").open(newline="") as file:
        return comparison, [row["change"] for row in csv.DictReader(file)]


def test_changes_that_the_crosswalk_explains_are_apart_from_others(tmp_path: Path) -> None:
    """An equal key that the crosswalk gives to another taxon is a change."""
    labels = [("1", "X1"), ("2", "X1"), ("2", "2"), ("3", "3"), ("9", "9"), ("9", "8")]
    comparison, changes = compare_labels(tmp_path, labels, TaxonomyOptions(LINKS))
    assert comparison.changes == {"taxonomy": 1, "label": 3, "unchanged": 2}
    assert sorted(changes) == ["label", "label", "label", "taxonomy"]
    assert comparison.explained == [("1", "X1", 1)]
    assert comparison.labels == [("2", "2", 1), ("2", "X1", 1), ("9", "8", 1)]
    page = summarize_comparison(comparison, tmp_path, tmp_path)
    assert "1 with another label, as the crosswalk explains" in page


@pytest.mark.parametrize(
    ("old", "new", "options", "is_compared", "sentence"),
    [
        (OLD, NEW, TaxonomyOptions(), False, "labels are not compared, because they are keys of GBIF Backbone"),
        (OLD, NEW, TaxonomyOptions(same_taxonomy=True), True, ""),
        (OLD, NEW, TaxonomyOptions(LINKS), True, ""),
        (OLD, Checklist(), TaxonomyOptions(), True, "the labels may be keys of different taxonomies"),
        (Checklist(), Checklist(), TaxonomyOptions(), True, "the labels may be keys of different taxonomies"),
        (OLD, OLD, TaxonomyOptions(), True, ""),
    ],
)
def test_keys_of_different_checklists_are_not_compared(
    old: Checklist, new: Checklist, options: TaxonomyOptions, is_compared: bool, sentence: str
) -> None:
    labels = Labels("speciesKey", old), Labels("speciesKey", new)
    assert are_comparable(*labels, options) == is_compared
    note = explain_comparison(*labels, options, 1, 3)
    assert note.startswith(sentence)
    assert bool(note) == bool(sentence)
    assert explain_comparison(Labels("species", old), Labels("species", new), TaxonomyOptions(), 1, 3) == ""
    if old.compare(new) is Relation.UNKNOWN:
        assert "1 of 3 old labels are in both datasets" in note
        assert explain_comparison(*labels, options, 2, 3) == ""
        assert are_texts_comparable(*labels, options)
    elif options.crosswalk:
        assert not are_texts_comparable(*labels, options)
