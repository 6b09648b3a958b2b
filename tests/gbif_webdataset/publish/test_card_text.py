from collections.abc import Mapping

import pytest

from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.publish.card_text import (
    describe_groups,
    describe_limitations,
    describe_organisms,
    describe_properties,
    describe_shared,
    mark_name,
)
from gbif_webdataset.publish.coverage import Coverage, ValueSummary


def of(known: int, distinct: int | None = None, **values: int) -> ValueSummary:
    return ValueSummary(known, distinct or len(values), values)


def properties(coverage: Coverage) -> Mapping[str, tuple[str, str]]:
    return {name: (known, values) for name, known, values in describe_properties(coverage)}


def limitation(title: str, coverage: Coverage, not_downloaded: int = 0) -> str:
    return next(text for text in describe_limitations(coverage, not_downloaded) if text.startswith(f"**{title}.**"))


def test_properties_say_for_how_many_images_they_are_known() -> None:
    values = {
        "order": of(10, Lepidoptera=10), "genus": of(8, 7, Noctua=5, Biston=1), "countryCode": of(9, GB=9),
        "year": of(10, **{"2020": 10}), "month": of(4, **{"7": 3, "12": 1}), "recordedBy": of(10, 3, Ada=6),
    }  # fmt: skip
    found = properties(Coverage(10, values, (2020, 2020), 3, (-22.8, 58.77, -84.0, 29.4)))
    assert found["order"] == ("all 10", "Lepidoptera (10)")
    assert found["genus"] == ("8 of 10", "*Noctua* (5), *Biston* (1) and 5 more")
    assert found["coordinates"] == ("3 of 10", "22.8° S to 58.8° N, 84.0° W to 29.4° E")
    assert found["month"] == ("4 of 10", "July (3), December (1)")
    assert found["observer"] == ("all 10", "3 different; the most frequent has 6")
    assert "Ada" not in str(found)  # names of people are not published in the card


def test_what_the_archive_does_not_state_is_unknown() -> None:
    found = properties(Coverage(10, {"year": of(0), "lifeStage": of(0)}))
    assert {found[name] for name in ("country (ISO code)", "coordinates", "year", "life stage", "observer")} == {
        ("0", "unknown")
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kingdom": of(5, Animalia=5), "order": of(5, Lepidoptera=5), "family": of(5, a=3, b=2)}, "Lepidoptera"),
        ({"kingdom": of(5, Animalia=5), "genus": of(5, Noctua=5), "species": of(4, pronuba=4)}, "*Noctua*"),
        ({"kingdom": of(4, Animalia=4)}, ""),
        ({}, ""),
    ],
)
def test_organisms_are_the_lowest_taxon_that_all_samples_share(
    values: Mapping[str, ValueSummary], expected: str
) -> None:
    assert describe_organisms(Coverage(5, values)) == expected


def test_limitations_name_the_most_frequent_value_and_what_is_unknown() -> None:
    values = {"countryCode": of(9, GB=7, DK=2), "lifeStage": of(3, adult=3), "recordedBy": of(10, 4, Ada=6)}
    coverage = Coverage(10, values, (1999, 2020))
    assert "7 of the 9 images with known country are from GB." in limitation("Places", coverage)
    assert "All 3 images with known life stage show adults." in limitation("Life stages", coverage)
    assert "from 1999 to 2020. The month is unknown" in limitation("Dates", coverage)
    assert "4 observers took the 10 images with known observer; the most active one took 6." in limitation(
        "Observers", coverage
    )
    assert "The observers are unknown" in limitation("Observers", Coverage(10))


def test_the_limitations_of_one_image_and_of_any_life_stage_are_sentences() -> None:
    coverage = Coverage(
        5, {"countryCode": of(1, GB=1), "month": of(2, **{"7": 1, "8": 1}), "lifeStage": of(5, instar=3)}
    )
    assert "The only image with known country is from GB." in limitation("Places", coverage)
    assert "1 of the 2 images with known month is from July." in limitation("Dates", coverage)
    assert "3 of the 5 images with known life stage show the life stage instar." in limitation("Life stages", coverage)


@pytest.mark.parametrize(
    ("group_by", "by_occurrence", "text"),
    [
        ("occurrence", True, "All photos of one occurrence stay together."),
        ("", True, "All photos of one occurrence stay together."),
        ("occurrence", False, "Photos of one occurrence may be in several splits."),
        (
            "occurrence, observer+date,near-duplicates",
            True,
            "All photos of one occurrence stay together. Photos that share one of these stay together as well: observer "
            "and date, near duplicates.",
        ),
        (
            "event",
            False,
            "Photos of one occurrence may be in several splits. Photos that share one of these stay together: event.",
        ),
    ],
)
def test_the_card_says_which_images_stay_together(group_by: str, by_occurrence: bool, text: str) -> None:
    assert describe_groups(group_by, by_occurrence) == text


def test_images_that_were_not_downloaded_are_a_limitation() -> None:
    assert "1 image of the archive was not downloaded" in limitation("Missing images", Coverage(1), 1)
    assert "2 images of the archive were not downloaded" in limitation("Missing images", Coverage(1), 2)
    assert not [text for text in describe_limitations(Coverage(1), 0) if "not downloaded" in text]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (SharedImages("test", "observer", 90, 80, 20), "20 of 80 images (25.0 %), known for 80 of 90"),
        (SharedImages("test", "observer", 90, 90, 0), "0 of 90 images (0.0 %)"),
        (SharedImages("test", "event", 90, 0, None), "unknown (known for 0 of 90 images)"),
        (SharedImages("test", "observer", 90, 90, None), "unknown (no image of train has a value)"),
        (SharedImages("test", "observer", 90, None, None), "unknown"),
        (SharedImages("test", "event", 0, 0, None), "no image"),
    ],
)
def test_unknown_leakage_is_not_zero(row: SharedImages, text: str) -> None:
    assert describe_shared(row) == text


def test_scientific_names_are_in_italics_and_cannot_become_markup() -> None:
    assert mark_name("Noctua pronuba (Linnaeus, 1758)") == "*Noctua pronuba* (Linnaeus, 1758)"
    assert mark_name("Noctuidae") == "Noctuidae"
    assert mark_name("](https://evil.example) **bold**") == r"\](https://evil.example) \*\*bold\*\*"
