"""The pause that a host asks for."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def parse_retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for, as seconds or as a date (RFC 9110, 10.2.3); 0 if there is none."""
    value = headers.get("Retry-After")
    if not value:
        return 0.0
    try:
        return max(0.0, float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
