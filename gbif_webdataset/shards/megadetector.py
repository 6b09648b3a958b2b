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
from gbif_webdataset.storage.tables import fetch_rows, quote_text

PARAMETER = "megadetector_results_json"
MARGIN = 0.1  # of the box's width and height, added on each side
_READ_CHARS = 1 << 20
_MAX_VALUE_CHARS = 1 << 26
_BATCH_ROWS = 10_000
_WHITE_SPACE = " \t\r\n"
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("tail", pa.string()),
        ("name", pa.string()),
        ("entry", pa.int64()),
        ("position", pa.int64()),
        ("category", pa.string()),
        ("confidence", pa.float64()),
        ("box", pa.list_(pa.float64())),
        ("ignored", pa.int64()),
    ]
)
_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}  # of MegaDetector, for files that do not list them
DEFAULT_THRESHOLD = 0.2  # if the file does not state the typical threshold of its detector
_MAX_SHOWN = 10


def load_detections(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> tuple[int, int]:
    """Load the table `detection` (image_path, box, ignored); it is empty without megadetector_results_json.

    `box` is the most confident usable box of the image with its margin: left, top, right and bottom, from 0 to 1 of the
    upright image. Boxes of other categories than detection_categories, or below detection_threshold, are not used.
    `box` is NULL if there is no usable box; of equally confident boxes it is the first. Return the number of ignored
    boxes of the samples, and the number of samples without a box. A box without area, or with a number that is not
    finite, is ignored.

    Raises:
        ParameterError: the file is missing or not in MegaDetector's format, lacks a category, or has none of the
            images.
    """
    if recipe.megadetector_results_json is None:
        connection.execute("CREATE TEMP TABLE detection (image_path VARCHAR, box DOUBLE[], ignored BIGINT)")
        return 0, 0
    load_boxes(connection, recipe, recipe.megadetector_results_json)
    [(ignored, without_box)] = fetch_rows(
        connection,
        "SELECT coalesce(sum(ignored), 0)::BIGINT, count(*) FILTER (WHERE box IS NULL) "
        "FROM keyed LEFT JOIN detection USING (image_path)",
    )
    return ignored, without_box


def load_boxes(connection: duckdb.DuckDBPyConnection, recipe: Recipe, path: Path) -> tuple[int, int]:
    """Load the table `detection` for the images of the table `keyed`, as `load_detections` describes it.

    Return the number of entries of the file that are one of these images, and the number of all entries.
    """
    header: dict[str, Any] = {}
    connection.register("no_entries", _SCHEMA.empty_table())
    connection.execute("CREATE TEMP TABLE entry AS SELECT * FROM no_entries")
    for batch in _read_batches(path, header):
        connection.register("detection_batch", pa.Table.from_batches([batch]))
        connection.execute("INSERT INTO entry SELECT * FROM detection_batch")
        connection.unregister("detection_batch")
    numbers = ", ".join(quote_text(number) for number in _find_categories(path, header, recipe.detection_categories))
    threshold = _read_typical_threshold(header) if recipe.detection_threshold is None else recipe.detection_threshold
    connection.execute(
        "CREATE TEMP TABLE bare_name AS SELECT split_part(image_path, '/', -1) AS name, min(image_path) AS image_path "
        "FROM keyed GROUP BY 1 HAVING count(*) = 1"
    )
    connection.execute(
        f"""CREATE TEMP TABLE detection AS
        WITH matched AS (
            SELECT entry.*, coalesce(same.image_path, below.image_path, bare_name.image_path) AS image_path
            FROM entry LEFT JOIN keyed AS same ON same.image_path = file
                LEFT JOIN keyed AS below ON below.image_path = tail
                LEFT JOIN bare_name ON bare_name.name = entry.name
        )
        SELECT image_path,
            arg_max(box, (confidence, -entry, -position))
                FILTER (WHERE category IN ({numbers}) AND confidence >= {threshold!r}) AS box,
            coalesce(sum(ignored) FILTER (WHERE category IN ({numbers})), 0)::BIGINT AS ignored,
            count(DISTINCT entry) AS entries
        FROM matched WHERE image_path IS NOT NULL GROUP BY image_path"""
    )
    if not fetch_rows(connection, "SELECT 1 FROM detection LIMIT 1"):
        raise _no_match_error(connection, path)
    counts = "SELECT (SELECT sum(entries)::BIGINT FROM detection), count(DISTINCT entry) FROM entry"
    [(found, entries)] = fetch_rows(connection, counts)
    connection.execute("DROP TABLE entry; DROP TABLE bare_name; ALTER TABLE detection DROP entries")
    return found, entries


def _find_categories(path: Path, header: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The numbers of the categories of these names in the file; without names, those of all that the file lists."""
    listed = header.get("detection_categories", _CATEGORIES)
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise _format_error(path, "'detection_categories' does not map numbers to names")
    _check_text(path, "".join(listed), "a number of 'detection_categories'")
    by_name: dict[str, list[str]] = {}
    for number, name in listed.items():
        by_name.setdefault(name.strip().lower(), []).append(number)
    for name in names:
        if name.lower() not in by_name:
            shown = ", ".join(ascii(name)[1:-1] for name in list(by_name)[:_MAX_SHOWN])
            raise ParameterError(
                f"{format_option('detection_categories', name)}: {path} has no such category; choose from {shown}"
            )
    chosen = [name.lower() for name in names] or list(by_name)
    return [number for name in chosen for number in by_name[name]] or [""]


def _read_typical_threshold(header: dict[str, Any]) -> float:
    match header.get("info"):
        case {"detector_metadata": {"typical_detection_threshold": float() | int() as threshold}}:
            if 0 <= threshold <= 1:
                return float(threshold)
    return DEFAULT_THRESHOLD


def _no_match_error(connection: duckdb.DuckDBPyConnection, path: Path) -> ParameterError:
    option = format_option(PARAMETER, path)
    entries = fetch_rows(connection, "SELECT file FROM entry ORDER BY entry LIMIT 1")
    if not entries:
        return ParameterError(f"{option}: its list 'images' is empty; give the results for the images of this dataset")
    [(image_path,)] = fetch_rows(connection, "SELECT min(image_path) FROM keyed")
    return ParameterError(
        f"{option}: none of its files is an image of the dataset. It has {entries[0][0]!a}, the dataset has "
        f"{image_path!a}; give the results for the images of this dataset"
    )


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


def _read_batches(path: Path, header: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """The rows of _SCHEMA. At the end, `header` has the other parts of the file that are used."""
    rows = read_boxes(path, header)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(batch, schema=_SCHEMA)


def read_boxes(path: Path, header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of _SCHEMA. At the end, `header` has the other parts of the file that are used.

    Raises:
        ParameterError: the file is missing or not in MegaDetector's format.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, entry in enumerate(_read_images(path, file, header)):
                yield from _make_rows(path, number, entry)
    except FileNotFoundError:
        raise missing_file_error(PARAMETER, path) from None
    except UnicodeError:
        raise _format_error(path, "the text is not UTF-8") from None


def _make_rows(path: Path, number: int, entry: Any) -> Iterator[dict[str, Any]]:
    """A row for each category of an entry, with its most confident usable box; one row if there is no detection."""
    place = f"entry {number + 1:,} of 'images'"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise _format_error(path, f"{place} has no 'file'")
    _check_text(path, entry["file"], f"'file' of {place}")
    detections = entry.get("detections") or []
    if not isinstance(detections, list):
        raise _format_error(path, f"'detections' of {place} is not a list")
    parts = [part for part in entry["file"].replace("\\", "/").split("/") if part not in ("", ".")]
    row = {
        "file": entry["file"].removeprefix("images/"),
        "tail": "/".join(parts[-2:]),  # image paths are <datasetKey>/<name>
        "name": parts[0] if len(parts) == 1 else None,
        "entry": number,
        "ignored": 0,
    }
    best: dict[str, dict[str, Any]] = {}
    for position, detection in enumerate(detections):
        category, confidence, box = _read_detection(path, place, detection)
        present = best.setdefault(category, {**row, "category": category, "position": position})
        if box is None:
            present["ignored"] += 1
        elif "box" not in present or confidence > present["confidence"]:
            present |= {"confidence": confidence, "box": box, "position": position}
    yield from best.values() if best else [row]


def _read_detection(path: Path, place: str, detection: Any) -> tuple[str, float, list[float] | None]:
    """The category, the confidence and the box of a detection; the box is None if it is not usable."""
    match detection:
        case {"conf": int() | float() as confidence, "bbox": [*bbox]} if len(bbox) == 4:
            if all(isinstance(value, int | float) for value in bbox):
                numbers = [_to_float(value) for value in (confidence, *bbox)]
                box = add_margin(numbers[1:]) if math.isfinite(numbers[0]) else None
                category = str(detection.get("category", ""))
                _check_text(path, category, f"'category' of a detection of {place}")
                return category, numbers[0], box
    raise _format_error(path, f"a detection of {place} lacks 'conf' (a number) or 'bbox' (four numbers)")


def _check_text(path: Path, text: str, place: str) -> None:
    """Raise ParameterError for half of a pair of surrogates, which JSON can name, but which no table can hold."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _format_error(path, f"{place} is not Unicode text")


def _to_float(value: float) -> float:
    """A number of the file; infinity for a whole number that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read_images(path: Path, file: TextIO, header: dict[str, Any]) -> Iterator[Any]:
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
            value = window.read_value()
            if name in ("info", "detection_categories"):
                header[name] = value
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
            except ValueError:
                raise _format_error(self._path, "a number has too many digits") from None
            except RecursionError:
                raise _format_error(self._path, "its values are nested too deeply") from None
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
