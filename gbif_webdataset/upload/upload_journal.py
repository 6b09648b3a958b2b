"""The objects that this dataset uploads to a target: a JSON line before and one after, so that a killed run continues.

A line without a time is of an object whose upload began.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from gbif_webdataset.upload.published_version import PublishedObject


class UploadJournal:
    """The file of uploaded objects, which is read at once; it is written while the context is open.

    `times` are the objects that the target has, with the time of their upload. `begun` are all objects whose upload has
    ever begun; the target may have them, or a part of them.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.times: dict[PublishedObject, str] = {}
        self.begun: set[PublishedObject] = set()
        self._last: dict[str, PublishedObject] = {}
        if path.exists():
            self._read()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        self._file.write("\n" if self.begun else "")  # a killed run may have left a part of a line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sizes_begun(self) -> dict[str, int]:
        """The size of each object in `begun`, by name: the largest, if its upload began with several."""
        return {one.name: one.bytes for one in sorted(self.begun, key=lambda one: one.bytes)}

    def begin(self, one: PublishedObject) -> None:
        """Note that an object will be uploaded; until it is, its name may have any bytes."""
        with self._lock:
            self._write(one, "")

    def add(self, one: PublishedObject) -> None:
        """Note that an object is at the target."""
        with self._lock:
            self._write(one, format_now())

    def delete(self) -> None:
        """Delete the file of a publication that is complete."""
        self._path.unlink(missing_ok=True)

    def _write(self, one: PublishedObject, time_text: str) -> None:
        self._file.write(json.dumps({**asdict(one), "uploaded_at": time_text}) + "\n")
        self._file.flush()
        self._note(one, time_text)

    def _read(self) -> None:
        """Note each line that is whole. The last line of a name counts."""
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                values: Mapping[str, str] = json.loads(line)
                time_text = values["uploaded_at"]
                one = PublishedObject(values["name"], values["path"], int(values["bytes"]), values["sha256"])
            except (ValueError, TypeError, KeyError):
                continue
            self._note(one, time_text)

    def _note(self, one: PublishedObject, time_text: str) -> None:
        if before := self._last.pop(one.name, None):
            self.times.pop(before, None)
        self._last[one.name] = one
        self.begun.add(one)
        if time_text:
            self.times[one] = time_text


def format_now() -> str:
    """The time in UTC, such as 2026-11-28T23:40:05Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
