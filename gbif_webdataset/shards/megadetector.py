"""MegaDetector's results: the box to crop of each image, read as a stream from a file of any length."""

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError

MARGIN = 0.1
_CHUNK = 1 << 20
_LONGEST = 1 << 26
_BATCH = 10_000
_SPACE = " \t\r\n"
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("entry", pa.int64()),
        ("confidence", pa.float64()),
        ("box", pa.list_(pa.float64())),
        ("ignored", pa.int64()),
    ]
)


def load_boxes(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make the table `detection` (image_path, box DOUBLE[] or NULL, ignored) of MegaDetector's results, a row a file.

    `box` is the most confident usable box with its margin, clipped: left, top, right, bottom from 0 to 1 of the
    upright image; `ignored` counts boxes without area or with non-finite numbers. Of equally confident boxes the
    first counts. Raises ParameterError where the file isn't in MegaDetector's format.
    """
    connection.execute(
        "CREATE TEMP TABLE entry (file VARCHAR, entry BIGINT, confidence DOUBLE, box DOUBLE[], ignored BIGINT)"
    )
    for batch in _batches(path):
        connection.register("detection_batch", pa.Table.from_batches([batch]))
        connection.execute("INSERT INTO entry SELECT * FROM detection_batch")
        connection.unregister("detection_batch")
    connection.execute(
        "CREATE TEMP TABLE detection AS SELECT file AS image_path, "
        "arg_max(box, (confidence, -entry)) FILTER (WHERE confidence IS NOT NULL) AS box, "
        "sum(ignored)::BIGINT AS ignored FROM entry GROUP BY file"
    )
    connection.execute("DROP TABLE entry")


def with_margin(bbox: list[float]) -> list[float] | None:
    """MegaDetector's [x, y, width, height] with the margin on each side, clipped to the image, as left, top, right,
    bottom; None where the box has no area within the image or isn't finite."""
    if not all(math.isfinite(value) for value in bbox):
        return None
    x, y, width, height = bbox
    if min(x + width, 1.0) - max(x, 0.0) <= 0 or min(y + height, 1.0) - max(y, 0.0) <= 0:
        return None
    across, down = MARGIN * width, MARGIN * height
    return [max(x - across, 0.0), max(y - down, 0.0), min(x + width + across, 1.0), min(y + height + down, 1.0)]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = (_row(path, number, entry) for number, entry in enumerate(_images(path, file)))
            while rows_of_batch := list(islice(rows, _BATCH)):
                yield pa.RecordBatch.from_pylist(rows_of_batch, schema=_SCHEMA)
    except FileNotFoundError:
        raise ParameterError(f"megadetector_results_json: there is no file {path}") from None
    except UnicodeDecodeError:
        raise _invalid(path, "it isn't UTF-8 text") from None


def _row(path: Path, number: int, entry: Any) -> dict[str, Any]:
    where = f"entry {number + 1:,} of 'images'"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise _invalid(path, f"{where} has no 'file'")
    detections = entry.get("detections") or []
    if not isinstance(detections, list):
        raise _invalid(path, f"'detections' of {where} isn't a list")
    best: tuple[float, list[float]] | None = None
    ignored = 0
    for detection in detections:
        confidence, box = _detection(path, where, detection)
        if box is None:
            ignored += 1
        elif best is None or confidence > best[0]:
            best = confidence, box
    return {
        "file": entry["file"].removeprefix("images/"),
        "entry": number,
        "confidence": best[0] if best else None,
        "box": best[1] if best else None,
        "ignored": ignored,
    }


def _detection(path: Path, where: str, detection: Any) -> tuple[float, list[float] | None]:
    match detection:
        case {"conf": int() | float() as confidence, "bbox": [*bbox]} if len(bbox) == 4:
            if all(isinstance(value, int | float) for value in bbox):
                return confidence, with_margin(bbox) if math.isfinite(confidence) else None
    raise _invalid(path, f"a detection of {where} lacks 'conf' (a number) or 'bbox' (four numbers)")


def _images(path: Path, file: TextIO) -> Iterator[Any]:
    """The elements of the list 'images' of the file's one object, one at a time."""
    text = _Text(path, file)
    text.expect("{", "it doesn't begin with an object")
    found = False
    while not text.skips("}"):
        name = text.value()
        text.expect(":", "a name without a value")
        if name == "images":
            found = True
            text.expect("[", "'images' isn't a list")
            while not text.skips("]"):
                yield text.value()
                text.skips(",")
        else:
            text.value()
        text.skips(",")
    if not found:
        raise _invalid(path, "it has no list 'images'")


class _Text:
    """A window that moves over JSON text."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.file = file
        self.held = ""
        self.at = 0
        self.decode = json.JSONDecoder().raw_decode

    def more(self, length: int) -> bool:
        chunk = self.file.read(length)
        self.held = self.held[self.at :] + chunk
        self.at = 0
        return bool(chunk)

    def skips(self, mark: str) -> bool:
        """Move past white space, and past `mark` where it stands there."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.held):
                break
            if not self.more(_CHUNK):
                raise _invalid(self.path, "it ends too soon")
        found = self.held[self.at] == mark
        self.at += found
        return found

    def expect(self, mark: str, otherwise: str) -> None:
        if not self.skips(mark):
            raise _invalid(self.path, otherwise)

    def value(self) -> Any:
        """The next value; more text is read, twice as much each time, until it is whole."""
        self.skips("")
        length = _CHUNK
        while True:
            try:
                value, end = self.decode(self.held, self.at)
                if end < len(self.held):  # a number that touches the window's end may go on
                    self.at = end
                    return value
                reason = "it ends too soon"
            except json.JSONDecodeError as error:
                reason = error.msg
            if len(self.held) - self.at > _LONGEST or not self.more(length):
                raise _invalid(self.path, reason)
            length *= 2


def _invalid(path: Path, reason: str) -> ParameterError:
    return ParameterError(f"megadetector_results_json: {path} isn't in MegaDetector's format: {reason}")
