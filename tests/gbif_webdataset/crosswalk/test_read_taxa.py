from pathlib import Path

import pytest

from gbif_webdataset.errors import MissingPieceError
from tests.support.archives import find_case
from tests.support.taxonomies import A, make_crosswalk_of, occurrences, read_crosswalk, write_archives


def test_names_in_quotes_are_compared_without_them(tmp_path: Path) -> None:
    quoted = [row | {"species": '"Aus ""bus"""'} for row in occurrences((A, 3))]
    rows = read_crosswalk(make_crosswalk_of(tmp_path, *write_archives(tmp_path, quoted, quoted)))
    assert [(row["old_name"], row["kind"]) for row in rows] == [('Aus "bus"', "same")]


def test_a_folder_without_a_dataset_and_an_archive_without_keys_are_named(tmp_path: Path) -> None:
    archive = find_case("archives/taxonomy-old-backbone.zip")
    with pytest.raises(MissingPieceError, match=rf"^--new {tmp_path}: neither a dataset with a manifest nor a Darwin"):
        make_crosswalk_of(tmp_path, archive, tmp_path)
    without = find_case("archives/inaturalist-own-no-taxon-keys.zip")
    with pytest.raises(MissingPieceError, match=r"^--old .*no column of taxon keys, such as acceptedTaxonKey"):
        make_crosswalk_of(tmp_path, without, archive)
