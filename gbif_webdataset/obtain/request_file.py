"""A download request in a file, and the file beside it that says under which key it was submitted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import FetchError, ParameterError, option_text
from gbif_webdataset.obtain.gbif_api import remove_personal
from gbif_webdataset.obtain.sources import MAX_TEXT_BYTES
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.checked_json import digest_of

_INSIGNIFICANT = {"matchCase": False, "type": "OCCURRENCE", "description": "", "machineDescription": None}


def read_request(path: Path) -> dict[str, Any]:
    """Return the request in a file, in the form that GBIF's API accepts.

    Raises:
        ParameterError: the file is missing or has no request for a Darwin Core Archive.
    """
    remedy = "write one with `make request NAMES=species.txt`"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except FileNotFoundError:
        raise ParameterError.at(str(path), "there is no such file", remedy) from None
    if len(data) > MAX_TEXT_BYTES:
        raise ParameterError.at(str(path), f"the request is larger than {MAX_TEXT_BYTES >> 20} MiB", remedy)
    try:
        request = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ParameterError.at(str(path), "not JSON", remedy) from None
    if not isinstance(request, dict) or not isinstance(request.get("predicate"), dict):
        raise ParameterError.at(str(path), "not a download request, because it has no predicate", remedy)
    if request.get("format") != "DWCA":
        problem = f"the format of the request is {request.get('format')}, which has no media"
        raise ParameterError.at(str(path), problem, 'set "format": "DWCA"')
    return request


def write_request(path: Path, request: Mapping[str, Any]) -> None:
    """Write a request."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(request, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def digest_request(request: Mapping[str, Any]) -> str:
    """A digest that two requests share if they ask for the same occurrences in the same format and taxonomy.

    It depends neither on the user nor on the order of conditions and values.
    """
    return digest_of({"request": _normalize(remove_personal(request))})


def _normalize(value: Any) -> Any:
    if isinstance(value, dict):
        items = {name: _normalize(one) for name, one in value.items() if _INSIGNIFICANT.get(name, value) != one}
        return {name: one for name, one in items.items() if one not in (None, [], "")}
    if isinstance(value, list):
        return sorted((_normalize(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def sent_path(path: Path) -> Path:
    """Return the path of the file that says under which key a request was submitted."""
    return path.with_suffix(".sent.json")


def save_sent(path: Path, request: Mapping[str, Any], key: str) -> None:
    """Record the key under which the request in `path` was submitted."""
    write_request(sent_path(path), {"key": key, "request": digest_request(request)})


def find_sent_key(path: Path, request: Mapping[str, Any]) -> str:
    """Return the key under which a request was submitted; empty if it was not, or was changed since then."""
    try:
        values = json.loads(sent_path(path).read_text(encoding="utf-8"))
        return str(values["key"]) if values["request"] == digest_request(request) else ""
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def resolve_request(path: Path) -> str:
    """Return the key under which the request in a file was submitted.

    Raises:
        FetchError: it was not submitted.
        ParameterError: the file has no request.
    """
    if key := find_sent_key(path, read_request(path)):
        return key
    raise FetchError.at(str(path), "the request has not been submitted to GBIF", f"run `{send_command(path)}`")


def send_command(path: Path) -> str:
    """Return the command that submits the request in a file."""
    return f"make request SEND=1 {option_text('OUTPUT', path).replace(' ', '=', 1)}"
