"""The type of each column's values in the `.json` of a sample."""

import pytest

from gbif_webdataset.terms.columns import DARWIN_CORE, INT64, REAL, TEXT, TRUTH
from gbif_webdataset.terms.value_types import find_value_type, has_numeric_term, list_json_columns


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("decimalLatitude", REAL), ("elevation", REAL), ("year", INT64), ("individualCount", INT64), ("width", INT64),
        ("bytes", INT64), ("valid", TRUTH), ("error", TEXT), ("speciesKey", TEXT), ("coreid", TEXT), ("eventDate", TEXT),
        ("catalogNumber", TEXT), ("anything else", TEXT),
    ],
)  # fmt: skip
def test_numeric_terms_and_measurements_are_numbers_and_all_others_are_text(column: str, kind: str) -> None:
    assert find_value_type(column) == kind


def test_no_key_and_no_name_is_a_number() -> None:
    assert {name for name in DARWIN_CORE if find_value_type(name) != TEXT} == {
        "year", "month", "day", "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters",
    }  # fmt: skip


def test_only_terms_of_darwin_core_were_text_before() -> None:
    assert has_numeric_term(["sex", "year"])
    assert not has_numeric_term(["sex", "width", "valid"])


def test_the_hierarchy_follows_the_columns_from_kingdom_to_species_without_repetition() -> None:
    assert list_json_columns((), False) == ()
    assert list_json_columns(("sex", "genus", "sex"), True) == (
        "sex", "genus", "kingdom", "phylum", "class", "order", "family", "species",
        "kingdomKey", "phylumKey", "classKey", "orderKey", "familyKey", "genusKey", "speciesKey",
    )  # fmt: skip
