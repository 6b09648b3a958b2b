"""Reasons are defined once, each with a meaning."""

import ast
from pathlib import Path

import gbif_webdataset
from gbif_webdataset.terms.outcomes import DecoderWarning, Defect, FetchFailure
from gbif_webdataset.terms.reasons import MEANINGS, DropReason, LineFault, MediumReason, explain_reason

CODES = {
    str(code) for codes in (LineFault, MediumReason, FetchFailure, Defect, DecoderWarning, DropReason) for code in codes
}
TRAITS = {"near-duplicate"}
"""Also a name in leakage.csv."""
PACKAGE = Path(gbif_webdataset.__file__).parent


def test_every_reason_has_a_meaning_that_reads_as_a_sentence() -> None:
    assert MEANINGS.keys() == CODES
    assert all(meaning and not meaning.endswith(".") for meaning in MEANINGS.values())


def test_an_http_status_without_a_code_of_its_own_is_explained_as_well() -> None:
    assert explain_reason("http-418") == "HTTP 418: the host did not send the image"
    assert explain_reason("not-found") == MEANINGS["not-found"]
    assert explain_reason("something else") == ""


def test_no_module_outside_terms_spells_out_a_reason_with_a_hyphen() -> None:
    spelled = {
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "terms"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in CODES - TRAITS and "-" in str(node.value)
    }
    assert spelled == set()
