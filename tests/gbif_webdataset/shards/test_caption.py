"""Captions: which values a template accepts, and what is left of it if values are missing."""

import itertools
import re

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.shards.caption import parse_template

CLIP = "a photo of {species}, {vernacularName}"
SENTENCE = 'A {lifeStage} of {species} ("{vernacularName}"), {stateProvince} [{year}].'


def compose(template: str, **values: str) -> str:
    parsed = parse_template(template)
    return parsed.compose([values.get(column) for _, column in parsed.parts])


@pytest.mark.parametrize(
    ("template", "values", "caption"),
    [
        (
            CLIP,
            {"species": "Agrotis segetum", "vernacularName": "Turnip moth"},
            "a photo of Agrotis segetum, Turnip moth",
        ),
        (CLIP, {"species": "Agrotis segetum"}, "a photo of Agrotis segetum"),
        (CLIP, {"vernacularName": "Turnip moth"}, "a photo of Turnip moth"),
        (CLIP, {}, ""),
        (CLIP, {"species": " \t ", "vernacularName": ""}, ""),
        ("{species} ({vernacularName}), {year}.", {"species": "A", "year": "2019"}, "A, 2019."),
        ("{species} ({vernacularName}), {year}.", {"species": "A", "vernacularName": "B"}, "A (B)."),
        ("{species} (by {creator}, {year})", {"species": "A", "creator": "C"}, "A (by C)"),
        ("{species} (by {creator}, {year})", {"species": "A", "year": "2019"}, "A, 2019"),
        ("{name} ({vernacularName}), {year}", {"name": "A (B, 1775)", "year": "2019"}, "A (B, 1775), 2019"),
        ('{species} "{vernacularName}" from {countryCode}', {"species": "A", "countryCode": "NA"}, "A from NA"),
        ("a photo of {species} from {countryCode}", {"countryCode": "NA"}, "from NA"),
        ("{kingdom} {family} {species}", {"kingdom": "Animalia", "species": "A"}, "Animalia A"),
        ("{a}: {b}; {c}", {"a": "1"}, "1"),
        ("{a}, {b},", {"a": "1"}, "1"),
        ("{{{a}}} 100%", {"a": "1"}, "{1} 100%"),
        ("{a} and {a}", {"a": "1"}, "1 and 1"),
        ("{ a }", {"a": "two\n lines"}, "two lines"),
        ("{a}", {"a": "{b} {0.__class__} %s"}, "{b} {0.__class__} %s"),
    ],
)
def test_a_missing_value_leaves_no_gap(template: str, values: dict[str, str], caption: str) -> None:
    assert compose(template, **values) == caption


@pytest.mark.parametrize("template", [CLIP, SENTENCE])
def test_no_combination_of_missing_values_leaves_double_spaces_stray_separators_or_half_brackets(template: str) -> None:
    columns = parse_template(template).columns
    for present in itertools.product((True, False), repeat=len(columns)):
        caption = compose(template, **{name: name.upper() for name, one in zip(columns, present, strict=True) if one})
        assert not re.search(r"\s\s|\s[,.;:)\]]|[(\[]\s|,\s*[,.]|^[\s,;:]|[\s,;:]$|\(\)|\[\]|\"\"", caption), caption
        assert all(caption.count(opening) == caption.count(closing) for opening, closing in ("()", "[]"))
        assert caption.count('"') % 2 == 0
        assert all((name.upper() in caption) == one for name, one in zip(columns, present, strict=True))


def test_the_columns_of_a_template_are_listed_once_in_their_order() -> None:
    assert parse_template("{b} {a} {b} {{c}}").columns == ("b", "a")


def test_an_attribute_or_an_index_is_only_a_name_of_a_column() -> None:
    assert parse_template("{species.__class__} {species[0]}").columns == ("species.__class__", "species[0]")


@pytest.mark.parametrize("template", ["{species!r}", "{species:>20}", "{}", "{ }", "{species:{width}}"])
def test_a_format_or_a_conversion_is_refused(template: str) -> None:
    with pytest.raises(ParameterError, match=r"--CreateWebDataset-caption-template .*something other than the name"):
        parse_template(template)


@pytest.mark.parametrize("template", ["{species", "species}", "{a{b}}"])
def test_braces_that_do_not_match_are_refused(template: str) -> None:
    with pytest.raises(ParameterError, match=r"--CreateWebDataset-caption-template .*braces"):
        parse_template(template)


@pytest.mark.parametrize("template", ["a photo", "{{species}}", ""])
def test_a_template_without_a_column_is_refused(template: str) -> None:
    with pytest.raises(ParameterError, match="it names no column; write the name of a column in braces"):
        parse_template(template)
