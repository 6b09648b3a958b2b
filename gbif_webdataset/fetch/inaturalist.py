"""iNaturalist serves each photo in several sizes, under URLs that differ in one word."""

import re

AS_GIVEN = "as-given"
SIZES = (AS_GIVEN, "original", "large", "medium", "small")
"""The sizes of photos that can be requested. AS_GIVEN leaves URLs unchanged."""
_PHOTO = re.compile(
    r"(https?://(?:static\.inaturalist\.org|inaturalist-open-data\.s3\.amazonaws\.com)/photos/\d+/)"
    r"(original|large|medium|small|square|thumb)(\.(?:jpg|jpeg|png|gif)(?:[?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)


def change_photo_size(url: str, size: str) -> str:
    """The URL of the same photo in one of SIZES. URLs that are not of iNaturalist's photos stay unchanged.

    The longer side has at most 2048 px in original, which archives usually name, 1024 in large, 500 in medium and 240
    in small. URLs of the even smaller sizes square and thumb are changed, too. A smaller photo is not enlarged.
    """
    found = None if size == AS_GIVEN else _PHOTO.fullmatch(url)
    return f"{found[1]}{size}{found[3]}" if found and found[2].lower() != size else url
