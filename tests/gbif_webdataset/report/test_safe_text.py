import json

import pytest

from gbif_webdataset.report.safe_text import shorten, shorten_lines, to_script_json
from tests.support.published import HOSTILE


def test_a_plain_text_is_not_changed() -> None:
    assert shorten("Noctua pronuba (Linnaeus, 1758)") == "Noctua pronuba (Linnaeus, 1758)"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shortened_text_is_one_line_without_control_characters(text: str) -> None:
    shown = shorten(text)
    assert len(shown) <= 120
    assert shown.isprintable()
    assert shown == " ".join(shown.split())


def test_a_long_text_ends_with_an_ellipsis() -> None:
    assert shorten("x" * 2000) == "x" * 119 + "…"
    assert shorten("abc def", 5) == "abc…"


def test_several_lines_remain_lines_without_empty_ones() -> None:
    assert shorten_lines("a\r\n\n  b\u202e c\n") == "a\nb c"
    assert len(shorten_lines("x\n" * 5000)) <= 2000


def test_json_in_a_script_element_reads_back_and_cannot_end_the_element() -> None:
    for text in HOSTILE:
        script = to_script_json([text])
        assert json.loads(script) == [text]
        assert not {"<", ">", "&"} & set(script)
