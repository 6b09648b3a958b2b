"""Codes are texts with a meaning."""

import json

from gbif_webdataset.terms.codes import Code


class Colour(Code):
    """A list of codes."""

    RED = "red", "like blood"


def test_a_code_is_its_text_in_sql_json_and_comparisons() -> None:
    assert f"'{Colour.RED}'" == "'red'"
    assert json.dumps([Colour.RED]) == '["red"]'
    assert Colour.RED == "red"
    assert {"red": 1}[Colour.RED] == 1


def test_a_code_has_a_meaning() -> None:
    assert Colour.RED.meaning == "like blood"
    assert Colour("red") is Colour.RED
