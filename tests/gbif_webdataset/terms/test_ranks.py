"""Ranks and the columns above them."""

from gbif_webdataset.terms.ranks import KEY_COLUMNS, MAIN_NAME_COLUMNS, ranks_from


def test_a_rank_is_followed_by_the_higher_ranks_that_exist() -> None:
    assert ranks_from("genusKey", {"speciesKey", "genusKey", "orderKey", "genus"}) == ["genusKey", "orderKey"]
    assert ranks_from("species", MAIN_NAME_COLUMNS) == list(MAIN_NAME_COLUMNS)


def test_other_columns_have_no_rank() -> None:
    assert ranks_from("acceptedTaxonKey", KEY_COLUMNS) == []
