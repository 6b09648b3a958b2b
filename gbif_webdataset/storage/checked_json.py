"""JSON files with a checksum of their own, so that a damaged file is never taken for a whole one."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gbif_webdataset.storage.atomic import atomic_file

CHECKSUM = "checksum"
"""The key of a file's checksum, the digest of all its other values."""


class DamagedJsonError(Exception):
    """A JSON file whose values cannot be trusted. The text completes a sentence that begins with the file."""


def write_checked_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum. The file is complete or absent."""
    values = json.loads(json.dumps(values))  # keys are texts, as they will be read
    contents = {**values, CHECKSUM: digest_of(values)}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(contents, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_checked_json(path: Path) -> tuple[dict[str, Any], bool]:
    """The values of a JSON object without its checksum, and whether it has one.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedJsonError: the file is not a JSON object, or its values are not those of its checksum.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise DamagedJsonError("is a folder") from None
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedJsonError("is not JSON" if data else "is empty") from None
    if not isinstance(values, dict):
        raise DamagedJsonError("is not a JSON object")
    checksum = values.pop(CHECKSUM, None)
    if checksum is not None and checksum != digest_of(values):
        raise DamagedJsonError("does not match its checksum")
    return values, checksum is not None


def digest_of(values: Mapping[str, Any]) -> str:
    """The SHA-256 of a JSON-like mapping; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
