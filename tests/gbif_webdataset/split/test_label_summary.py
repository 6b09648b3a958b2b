from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.split.label_summary import LabelSummary, describe_labels, summarize_labels
from gbif_webdataset.split.options import Limits, SplitOptions
from tests.support.archives import find_case
from tests.support.manifests import make_manifest
from tests.support.split_run import USUAL

OPTIONS = SplitOptions("acceptedTaxonKey", USUAL, 1, Limits(min_instances=8))
ROWS = (
    [{"acceptedTaxonKey": "s1", "taxonRank": "SPECIES", "genus": "G"}] * 20
    + [{"acceptedTaxonKey": "s2", "taxonRank": "SUBSPECIES", "genus": "G"}] * 9
    + [{"acceptedTaxonKey": "g1", "taxonRank": " Genus ", "genus": "G"}] * 12
    + [{"acceptedTaxonKey": " ", "taxonRank": None, "genus": "G"}] * 3
)


def summarize(table: pa.Table, options: SplitOptions = OPTIONS) -> LabelSummary:
    with duckdb.connect() as connection:
        connection.register("manifest", table)
        return summarize_labels(connection, options, "manifest")


def test_labels_and_images_are_counted() -> None:
    summary = summarize(pa.Table.from_pylist(ROWS))
    assert summary == LabelSummary(44, 3, 3, 1, 1, (1, 10), (("genus", 44),))
    assert describe_labels(summary, OPTIONS) == (
        "labels: acceptedTaxonKey gives 3 labels, 1 of them above species rank, 1 with too few images for "
        "min_instances 8, 1 with fewer than 10 images, too few for an image in each split; 3 of 44 images have no "
        "label and will be dropped"
    )
    assert not summary.is_complete


def test_a_higher_rank_as_category_key_is_no_label_above_species() -> None:
    summary = summarize(pa.Table.from_pylist(ROWS), SplitOptions("genus", USUAL, 1))
    assert summary == LabelSummary(44, 0, 1, None, 0, (0, 10), ())
    assert summary.is_complete


def test_most_images_without_a_label_are_a_warning_that_names_other_columns(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/most-without-taxon-key.zip"), tmp_path)
    summary = summarize(pa.concat_tables(manifest.chunks))
    assert (summary.images, summary.unlabelled, summary.labels) == (60, 54, 3)
    sentence = describe_labels(summary, OPTIONS)
    assert sentence.startswith("WARNING: labels: acceptedTaxonKey gives 3 labels, ")
    assert "54 of 60 images have no label and will be dropped; columns with more values are family (60" in sentence


def test_a_column_that_is_empty_for_all_images_is_refused() -> None:
    rows = [{"acceptedTaxonKey": "", "taxonRank": None, "genus": "G"}] * 3
    with pytest.raises(
        SelectionError, match=r"acceptedTaxonKey: the column is empty for all 3 images; choose genus \("
    ):
        summarize(pa.Table.from_pylist(rows))
