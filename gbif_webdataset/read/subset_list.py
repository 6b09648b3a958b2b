"""The user's file of keys: occurrences to take."""

import json
from pathlib import Path

from gbif_webdataset.errors import ParameterError


def read_subset_list(path: Path) -> tuple[str, ...]:
    """The keys in a JSON list, or in a text file with one key per line; sorted, each once.

    Keys are text: the number 6E4 in a JSON list is the key `6E4`.

    Raises:
        ParameterError: the file cannot be read, or has no keys.
    """
    option = f"--ReadArchive-subset-list {path}"
    form = "write a JSON list of keys, or a text file with one key per line"
    try:
        content = path.read_text(encoding="utf-8-sig")
        is_json = content.lstrip().startswith(("[", "{"))
        keys = json.loads(content, parse_int=str, parse_float=str) if is_json else content.split("\n")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{option}: cannot be read ({error}); {form}") from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ParameterError(f"{option}: is not a list of keys; {form}")
    keys = sorted({key.strip() for key in keys} - {""})
    if not keys:
        raise ParameterError(f"{option}: has no keys; {form}")
    return tuple(keys)
