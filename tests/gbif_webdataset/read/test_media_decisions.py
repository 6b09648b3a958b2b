import numpy as np
import pyarrow as pa

from gbif_webdataset.read.media_decisions import (
    REASONS,
    MediaDecisions,
    find_first_rows,
    number_values,
    to_truths,
)
from gbif_webdataset.terms.reasons import MediumReason


def make_decisions(urls: list[str], archives: list[int] | None = None) -> MediaDecisions:
    texts = pa.chunked_array([pa.array(urls, pa.string())])
    zeros = np.zeros(len(urls), np.int64)
    return MediaDecisions(
        zeros,
        texts,
        texts,
        texts,
        texts.combine_chunks().dictionary_encode(),
        zeros.copy(),
        np.zeros(len(urls), np.int8),
        np.array(archives or zeros),
        zeros[:0],
    )


def test_the_first_reason_that_applies_stays() -> None:
    decisions = make_decisions(["a", "b", "c"])
    decisions.reject(MediumReason.NO_URL, np.array([True, False, False]))
    decisions.reject(MediumReason.NOT_HTTP, np.array([True, True, False]))
    assert [REASONS[number] for number in decisions.reason] == ["no-url", "not-http", ""]
    assert decisions.images.tolist() == [2]
    assert decisions.rejected.tolist() == [0, 1]


def test_images_of_an_owner_are_numbered_by_url_and_repeated_urls_rejected() -> None:
    decisions = make_decisions(["z", "b", "a", "b", "a", "x"])
    decisions.reject(MediumReason.NOT_HTTP, np.array([False, False, False, False, False, True]))
    decisions.number_images(np.array([0, 1, 1, 1, 2, 1]))
    assert decisions.image_number.tolist() == [0, 1, 0, 0, 0, 0]
    assert [REASONS[number] for number in decisions.reason] == ["", "", "", "duplicate-medium", "", "not-http"]


def test_the_url_of_a_preferred_archive_counts_whatever_follows() -> None:
    decisions = make_decisions(["a", "b", "b", "a", "c", "a", "a"], [0, 0, 0, 1, 1, 2, 2])
    decisions.reject(MediumReason.NO_URL, np.array([False] * 6 + [True]))
    decisions.reject_in_another_archive(np.array([0, 0, 0, 0, 0, 1, 0]))
    reasons = [REASONS[number] for number in decisions.reason]
    assert reasons == ["", "", "", "in-another-archive", "", "", "no-url"]
    decisions.number_images(np.array([0, 0, 0, 0, 0, 1, 0]))
    assert decisions.image_number.tolist() == [0, 1, 0, 0, 2, 0, 0]
    assert REASONS[decisions.reason[2]] == "duplicate-medium"


def test_equal_values_have_equal_numbers_and_null_the_last() -> None:
    for column in (pa.array(["x", None, "y", "x"]), pa.array(["x", None, "y", "x"]).dictionary_encode()):
        numbers, count = number_values(pa.chunked_array([column]))
        assert (numbers.tolist(), count) == ([0, 2, 1, 0], 3)


def test_the_first_row_of_each_number_is_found() -> None:
    assert find_first_rows(np.array([2, 0, 2, 0]), 4).tolist() == [1, -1, 0, -1]


def test_null_is_not_true() -> None:
    assert to_truths(pa.array([True, None, False])).tolist() == [True, False, False]
