"""The objects that this dataset has uploaded to a target, one JSON line each, so that a killed run continues."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gbif_webdataset.upload.published_version import PublishedObject


class UploadJournal:
    """The file of uploaded objects; it is open while the context is."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.times: dict[PublishedObject, str] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self.times = _read(self._path)
        self._file = self._path.open("a", encoding="utf-8")
        self._file.write("\n" if self.times else "")  # a killed run may have left a part of a line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, uploaded: PublishedObject) -> None:
        """Note that an object is at the target."""
        now = format_now()
        values = {"name": uploaded.name, "path": uploaded.path, "bytes": uploaded.bytes, "sha256": uploaded.sha256}
        with self._lock:
            self._file.write(json.dumps({**values, "uploaded_at": now}) + "\n")
            self._file.flush()
            self.times[uploaded] = now

    def delete(self) -> None:
        """Delete the file of a publication that is complete."""
        self._path.unlink(missing_ok=True)


def format_now() -> str:
    """The time in UTC, such as 2026-11-28T23:40:05Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _read(path: Path) -> dict[PublishedObject, str]:
    """The objects of a journal with their times, without lines that are not whole. The last line of a name counts."""
    found: dict[str, tuple[PublishedObject, str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values: Mapping[str, str] = json.loads(line)
            time_text = values["uploaded_at"]
            one = PublishedObject(values["name"], values["path"], int(values["bytes"]), values["sha256"])
        except (ValueError, TypeError, KeyError):
            continue
        found[one.name] = (one, time_text)
    return dict(found.values())
