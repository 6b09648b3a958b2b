"""Which version follows a published one."""

from enum import StrEnum
from typing import Any


class Part(StrEnum):
    """The part of a version that a change raises."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


def propose_version(published: str, part: Part) -> str:
    """The lowest version after the published one, such as 1.3.0 after 1.2.5 or 1.3.0-beta.1 for a minor change."""
    major, minor, patch = _split_numbers(published)
    if "-" in published.partition("+")[0]:
        lowest = Part.PATCH if patch else Part.MINOR if minor else Part.MAJOR
        if list(Part).index(part) >= list(Part).index(lowest):
            return f"{major}.{minor}.{patch}"
    following = {
        Part.MAJOR: (major + 1, 0, 0),
        Part.MINOR: (major, minor + 1, 0),
        Part.PATCH: (major, minor, patch + 1),
    }
    return ".".join(map(str, following[part]))


def order_version(version: str) -> tuple[Any, ...]:
    """A key that orders versions as https://semver.org: 1.0.0-beta.2, 1.0.0-beta.10, 1.0.0, 1.0.1."""
    label = version.partition("+")[0].partition("-")[2]
    words = [(not word.isdigit(), int(word) if word.isdigit() else 0, word) for word in label.split(".") if word]
    return _split_numbers(version), not label, words


def _split_numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = version.partition("+")[0].partition("-")[0].split(".")
    return int(major), int(minor), int(patch)
