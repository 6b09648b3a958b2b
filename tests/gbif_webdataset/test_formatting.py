"""Sizes, durations and counts for people."""

import pytest

from gbif_webdataset.formatting import (
    format_count,
    format_duration,
    format_estimate,
    format_size,
    split_scientific_name,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2 * 10**15, "2,000.0 TB")],
)
def test_sizes_are_in_decimal_units(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.24, "3.2 s"), (59.9, "59.9 s"), (245, "4 min 05 s"), (94_200, "26 h 10 min")]
)
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.2, "1 s"), (45, "45 s"), (150, "2.5 min"), (108_000, "30.0 h"), (354_240, "4.1 days")],
)
def test_estimates_have_one_unit(seconds: float, text: str) -> None:
    assert format_estimate(seconds) == text


def test_counts_agree_with_their_noun() -> None:
    assert [format_count(number, "host") for number in (0, 1, 1200)] == ["0 hosts", "1 host", "1,200 hosts"]
    assert format_count(2, "class", "classes") == "2 classes"


@pytest.mark.parametrize(
    ("name", "italic"),
    [
        ("Noctua pronuba (Linnaeus, 1758)", "Noctua pronuba"),
        ("Amblyomma americanum Linnaeus, 1758", "Amblyomma americanum"),
        ("Aus bus cus L.", "Aus bus cus"),
        ("Quercus robur subsp. robur L.", "Quercus robur subsp. robur"),
        ("Salix \u00d7 fragilis L.", "Salix \u00d7 fragilis"),
        ("Aus (Bus) cus Walker", "Aus (Bus) cus"),
        ("Aus bus de Vries", "Aus bus"),
        ("Aus bus d'Orbigny", "Aus bus"),
        ("Aus bus ex Foo", "Aus bus"),
        ("Aus sp.", ""),
        ("Noctuidae", ""),
        ("BOLD:AAF9225", ""),
        ("large yellow underwing", ""),
        ("", ""),
    ],
)
def test_a_species_name_without_its_author_is_in_italics(name: str, italic: str) -> None:
    assert split_scientific_name(name) == (italic, name[len(italic) :])
