import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.obtain.occurrence_filters import (
    BASES,
    LICENSES,
    OccurrenceFilters,
    parse_choices,
    parse_countries,
    parse_years,
)
from tests.support.gbif_api import COL

ALL = OccurrenceFilters(("DK", "NA"), (2015, 2026), ("cc0", "cc-by"), ("HUMAN_OBSERVATION",))


def test_the_predicate_has_every_condition() -> None:
    assert ALL.make_predicate(["5WZLF", "6E4"], COL) == {
        "type": "and",
        "predicates": [
            {"type": "in", "key": "TAXON_KEY", "values": ["5WZLF", "6E4"], "checklistKey": COL},
            {"type": "in", "key": "MEDIA_TYPE", "values": ["StillImage"]},
            {"type": "in", "key": "COUNTRY", "values": ["DK", "NA"]},
            {"type": "in", "key": "LICENSE", "values": ["CC0_1_0", "CC_BY_4_0"]},
            {"type": "in", "key": "BASIS_OF_RECORD", "values": ["HUMAN_OBSERVATION"]},
            {"type": "greaterThanOrEquals", "key": "YEAR", "value": "2015"},
            {"type": "lessThanOrEquals", "key": "YEAR", "value": "2026"},
        ],
    }


def test_the_query_has_the_same_conditions() -> None:
    assert ALL.make_query(["5WZLF"], COL) == [
        ("taxonKey", "5WZLF"),
        ("checklistKey", COL),
        ("mediaType", "StillImage"),
        ("country", "DK"),
        ("country", "NA"),
        ("license", "CC0_1_0"),
        ("license", "CC_BY_4_0"),
        ("basisOfRecord", "HUMAN_OBSERVATION"),
        ("year", "2015,2026"),
    ]


def test_without_conditions_only_photos_are_requested() -> None:
    assert [part["key"] for part in OccurrenceFilters().make_predicate(["1"], COL)["predicates"]] == [
        "TAXON_KEY",
        "MEDIA_TYPE",
    ]


@pytest.mark.parametrize(("value", "years"), [((), None), (("2020",), (2020, 2020)), (("2015", "2026"), (2015, 2026))])
def test_years_are_one_or_two(value: tuple[str, ...], years: tuple[int, int] | None) -> None:
    assert parse_years(value, "--year") == years


@pytest.mark.parametrize("value", [("2026", "2015"), ("1", "2"), ("2015-2026",), ("2015", "2016", "2017"), ("year",)])
def test_other_years_give_a_sentence(value: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match=r"^--year .*: not a year or a range of years; give a year"):
        parse_years(value, "--year")


def test_countries_are_codes() -> None:
    assert parse_countries(["dk", "NA"], "--country") == ("DK", "NA")
    with pytest.raises(ParameterError, match=r"^--country DENMARK: not a country code; give two letters, such as DK"):
        parse_countries(["Denmark"], "--country")


def test_a_choice_that_gbif_does_not_have_gives_a_sentence() -> None:
    assert parse_choices(["cc0"], tuple(LICENSES), "--licenses") == ("cc0",)
    with pytest.raises(ParameterError, match=r"^--licenses cc-by-sa: .*; (did you mean|the values are) "):
        parse_choices(["cc-by-sa"], tuple(LICENSES), "--licenses")
    with pytest.raises(ParameterError, match=r"did you mean HUMAN_OBSERVATION"):
        parse_choices(["HUMAN_OBSERVATIONS"], BASES, "--basis")
