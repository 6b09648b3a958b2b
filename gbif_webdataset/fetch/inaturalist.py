"""iNaturalist's photos: each is served in several sizes, under URLs that differ in one word."""

import re

AS_GIVEN = "as-given"
SIZES = (AS_GIVEN, "original", "large", "medium", "small")
_PHOTO = re.compile(
    r"(https?://(?:static\.inaturalist\.org|inaturalist-open-data\.s3\.amazonaws\.com)/photos/\d+/)"
    r"(original|large|medium|small|square|thumb)(\.(?:jpg|jpeg|png|gif)(?:[?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)


def in_size(url: str, size: str) -> str:
    """The URL of the same photo in another of the SIZES; any URL that is none of iNaturalist's photos as it stands.

    The longer side has at most 2048 px in original (what archives name), 1024 in large, 500 in medium and 240 in
    small; square and thumb, which a URL may name as well, are smaller. A smaller photo is not enlarged.
    """
    found = None if size == AS_GIVEN else _PHOTO.fullmatch(url)
    return f"{found[1]}{size}{found[3]}" if found and found[2].lower() != size else url
