import time
from email.utils import formatdate

import pytest

from gbif_webdataset.network.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"), [("120", 120), ("0", 0), ("-1", 0), ("soon", 0), ("", 0), ("9" * 400, float("inf"))]
)
def test_a_number_is_a_number_of_seconds(value: str, seconds: float) -> None:
    assert parse_retry_after({"Retry-After": value}) == seconds


def test_a_date_is_the_seconds_until_then() -> None:
    value = formatdate(time.time() + 1000, usegmt=True)
    assert 900 < parse_retry_after({"Retry-After": value}) <= 1000


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_nothing_and_a_date_in_the_past_ask_for_no_pause(headers: dict[str, str]) -> None:
    assert parse_retry_after(headers) == 0
