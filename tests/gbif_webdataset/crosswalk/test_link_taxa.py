from pathlib import Path

import pytest

from gbif_webdataset.crosswalk.link_taxa import EvidenceLimits
from gbif_webdataset.errors import ParameterError
from tests.support.taxonomies import A, C, Taxon, make_crosswalk_of, occurrences, read_crosswalk, write_archives


def test_subspecies_are_lumped_with_the_accepted_taxon_of_another_rank(tmp_path: Path) -> None:
    sub = [row | {"acceptedTaxonKey": "7", "taxonRank": "SUBSPECIES"} for row in occurrences((A, 5))]
    path = make_crosswalk_of(tmp_path, *write_archives(tmp_path, sub, occurrences((C, 5))))
    assert [(row["old_key"], row["new_key"], row["kind"]) for row in read_crosswalk(path, "subspecies")] == [
        ("7", "X1", "lumped")
    ]


def test_an_archive_that_has_only_accepted_keys_is_compared_at_their_rank(tmp_path: Path) -> None:
    new = [row | {"speciesKey": ""} for row in occurrences((C, 5))]
    for old, after in ((occurrences((A, 5)), new), (new, occurrences((A, 5)))):
        path = make_crosswalk_of(tmp_path, *write_archives(tmp_path, old, after))
        [row] = read_crosswalk(path)
        assert (row["kind"], row["evidence"], row["shared_occurrences"]) == ("renamed", "occurrences", "5")


def test_homonyms_of_one_kingdom_are_ambiguous_by_name(tmp_path: Path) -> None:
    old = occurrences((A, 1), (Taxon("5", A.name), 1))
    path = make_crosswalk_of(tmp_path, *write_archives(tmp_path, old, occurrences((Taxon("X9", A.name), 1), first=9)))
    assert [(row["old_key"], row["kind"], row["evidence"]) for row in read_crosswalk(path)] == [
        ("1", "ambiguous", "name"),
        ("5", "ambiguous", "name"),
    ]


@pytest.mark.parametrize(("share", "occurrences"), [(0.5, 3), (1.1, 3), (0.9, 0)])
def test_limits_out_of_range_are_errors(share: float, occurrences: int) -> None:
    with pytest.raises(ParameterError, match=r"--MakeCrosswalk-min-.*out of range"):
        EvidenceLimits(share, occurrences)


def test_too_few_shared_occurrences_without_other_evidence_are_ambiguous_and_counted(tmp_path: Path) -> None:
    path = make_crosswalk_of(tmp_path, *write_archives(tmp_path, occurrences((A, 2)), occurrences((C, 2))))
    [row] = [row for row in read_crosswalk(path) if row["old_key"]]
    assert [row[name] for name in ("new_key", "kind", "evidence", "shared_occurrences", "share")] == [
        "X1", "ambiguous", "occurrences", "2", "1.0"
    ]  # fmt: skip
