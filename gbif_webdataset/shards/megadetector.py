"""MegaDetector's results: the box of each image, read as a stream from a file of any size."""

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.shards.recipe import Recipe, format_option, missing_file_error
from gbif_webdataset.storage.tables import fetch_rows

PARAMETER = "megadetector_results_json"
MARGIN = 0.1  # of the box's width and height, added on each side
_READ_CHARS = 1 << 20
_MAX_VALUE_CHARS = 1 << 26
_BATCH_ROWS = 10_000
_WHITE_SPACE = " \t\r\n"
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("entry", pa.int64()),
        ("confidence", pa.float64()),
        ("box", pa.list_(pa.float64())),
        ("ignored", pa.int64()),
    ]
)


def load_detections(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> tuple[int, int]:
    """Load the table `detection` (image_path, box, ignored); it is empty without megadetector_results_json.

    `box` is the most confident usable box of the image with its margin: left, top, right and bottom, from 0 to 1 of the
    upright image. It is NULL if there is no usable box; of equally confident boxes it is the first. Return the number
    of ignored boxes of the samples, and the number of samples without a box. A box without area, or with a number that
    is not finite, is ignored.

    Raises:
        ParameterError: the file is missing or not in MegaDetector's format.
    """
    if recipe.megadetector_results_json is None:
        connection.execute("CREATE TEMP TABLE detection (image_path VARCHAR, box DOUBLE[], ignored BIGINT)")
        return 0, 0
    _load_boxes(connection, recipe.megadetector_results_json)
    [(ignored, without_box)] = fetch_rows(
        connection,
        "SELECT coalesce(sum(ignored), 0)::BIGINT, count(*) FILTER (WHERE box IS NULL) "
        "FROM keyed LEFT JOIN detection USING (image_path)",
    )
    return ignored, without_box


def _load_boxes(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute(
        "CREATE TEMP TABLE entry (file VARCHAR, entry BIGINT, confidence DOUBLE, box DOUBLE[], ignored BIGINT)"
    )
    for batch in _read_batches(path):
        connection.register("detection_batch", pa.Table.from_batches([batch]))
        connection.execute("INSERT INTO entry SELECT * FROM detection_batch")
        connection.unregister("detection_batch")
    connection.execute(
        "CREATE TEMP TABLE detection AS SELECT file AS image_path, "
        "arg_max(box, (confidence, -entry)) FILTER (WHERE confidence IS NOT NULL) AS box, "
        "sum(ignored)::BIGINT AS ignored FROM entry GROUP BY file"
    )
    connection.execute("DROP TABLE entry")


def add_margin(bbox: list[float]) -> list[float] | None:
    """The box (left, top, right, bottom), clipped to the image, of MegaDetector's [x, y, width, height] and a margin.

    None if the box has no area within the image, or a number of it is not finite.
    """
    if not all(math.isfinite(value) for value in bbox):
        return None
    x, y, width, height = bbox
    if min(x + width, 1.0) - max(x, 0.0) <= 0 or min(y + height, 1.0) - max(y, 0.0) <= 0:
        return None
    across, down = MARGIN * width, MARGIN * height
    return [max(x - across, 0.0), max(y - down, 0.0), min(x + width + across, 1.0), min(y + height + down, 1.0)]


def _read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = (_make_row(path, number, entry) for number, entry in enumerate(_read_images(path, file)))
            while batch := list(islice(rows, _BATCH_ROWS)):
                yield pa.RecordBatch.from_pylist(batch, schema=_SCHEMA)
    except FileNotFoundError:
        raise missing_file_error(PARAMETER, path) from None
    except UnicodeDecodeError:
        raise _format_error(path, "the text is not UTF-8") from None


def _make_row(path: Path, number: int, entry: Any) -> dict[str, Any]:
    place = f"entry {number + 1:,} of 'images'"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise _format_error(path, f"{place} has no 'file'")
    detections = entry.get("detections") or []
    if not isinstance(detections, list):
        raise _format_error(path, f"'detections' of {place} is not a list")
    best: tuple[float, list[float]] | None = None
    ignored = 0
    for detection in detections:
        confidence, box = _read_detection(path, place, detection)
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


def _read_detection(path: Path, place: str, detection: Any) -> tuple[float, list[float] | None]:
    """The confidence and the box of a detection; the box is None if it is not usable."""
    match detection:
        case {"conf": int() | float() as confidence, "bbox": [*bbox]} if len(bbox) == 4:
            if all(isinstance(value, int | float) for value in bbox):
                return confidence, add_margin(bbox) if math.isfinite(confidence) else None
    raise _format_error(path, f"a detection of {place} lacks 'conf' (a number) or 'bbox' (four numbers)")


def _read_images(path: Path, file: TextIO) -> Iterator[Any]:
    """The entries of the list 'images' of the JSON object in a file, one at a time."""
    window = _JsonWindow(path, file)
    window.expect("{", "it does not start with an object")
    is_found = False
    while not window.skip("}"):
        name = window.read_value()
        window.expect(":", "a name has no value")
        if name == "images":
            is_found = True
            window.expect("[", "'images' is not a list")
            while not window.skip("]"):
                yield window.read_value()
                window.skip(",")
        else:
            window.read_value()
        window.skip(",")
    if not is_found:
        raise _format_error(path, "it has no list 'images'")


class _JsonWindow:
    """A part of a JSON text in memory, which moves through the file."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._position = 0
        self._decode = json.JSONDecoder().raw_decode

    def skip(self, mark: str) -> bool:
        """Move past white space, and past `mark` if it is next; whether it was."""
        while True:
            while self._position < len(self._text) and self._text[self._position] in _WHITE_SPACE:
                self._position += 1
            if self._position < len(self._text):
                break
            if not self._read(_READ_CHARS):
                raise _format_error(self._path, "it ends too early")
        is_next = self._text[self._position] == mark
        self._position += is_next
        return is_next

    def expect(self, mark: str, problem: str) -> None:
        """Move past `mark`. Raises ParameterError with `problem` if it is not next."""
        if not self.skip(mark):
            raise _format_error(self._path, problem)

    def read_value(self) -> Any:
        """The next value. Until the value is complete, twice as much text is read each time."""
        self.skip("")
        length = _READ_CHARS
        while True:
            try:
                value, end = self._decode(self._text, self._position)
                if end < len(self._text):  # a number at the end of the window may continue behind it
                    self._position = end
                    return value
                problem = "it ends too early"
            except json.JSONDecodeError as error:
                problem = error.msg
            if len(self._text) - self._position > _MAX_VALUE_CHARS or not self._read(length):
                raise _format_error(self._path, problem)
            length *= 2

    def _read(self, length: int) -> bool:
        chunk = self._file.read(length)
        self._text = self._text[self._position :] + chunk
        self._position = 0
        return bool(chunk)


def _format_error(path: Path, problem: str) -> ParameterError:
    return ParameterError(
        f"{format_option(PARAMETER, path)}: the file is not in MegaDetector's format: {problem}; give its output file"
    )
