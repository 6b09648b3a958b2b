"""Reasons are defined once, each with a meaning."""

from gbif_webdataset.terms.outcomes import DecoderWarning, Defect, FetchFailure
from gbif_webdataset.terms.reasons import MEANINGS, DropReason, LineFault, MediumReason

CODES = {
    str(code) for codes in (LineFault, MediumReason, FetchFailure, Defect, DecoderWarning, DropReason) for code in codes
}


def test_every_reason_has_a_meaning_that_reads_as_a_sentence() -> None:
    assert MEANINGS.keys() == CODES
    assert all(meaning and not meaning.endswith(".") for meaning in MEANINGS.values())
