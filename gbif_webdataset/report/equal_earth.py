"""A world map in the Equal Earth projection, which keeps areas, and its cells of equal area.

Šavrič, Patterson and Jenny (2019), The Equal Earth map projection, https://doi.org/10.1080/13658816.2018.1504949
"""

import json
import math
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

WIDTH = 720.0  # of the map, in SVG units
_A = (1.340264, -0.081106, 0.000893, 0.003796)
_M = math.sqrt(3) / 2
_SCALE = WIDTH / 2 / (math.pi / (_M * _A[0]))
_TOP = 1.3173627591574133  # y of the pole
HEIGHT = 2 * _TOP * _SCALE
CELL = 5.0  # side of a cell
_ROW = 1000  # more than there are cells in a row

_LATITUDE, _LONGITUDE = "try_cast(decimalLatitude AS DOUBLE)", "try_cast(decimalLongitude AS DOUBLE)"
_T = f"asin({_M} * sin(radians({_LATITUDE})))"
_SLOPE = f"({_A[0]} + {3 * _A[1]} * {_T}**2 + {_T}**6 * ({7 * _A[2]} + {9 * _A[3]} * {_T}**2))"
_X = f"({WIDTH / 2} + {_SCALE} * radians({_LONGITUDE}) * cos({_T}) / ({_M} * {_SLOPE}))"
_Y = f"({HEIGHT / 2} - {_SCALE} * {_T} * ({_A[0]} + {_A[1]} * {_T}**2 + {_T}**6 * ({_A[2]} + {_A[3]} * {_T}**2)))"

# At the equator the antimeridian is the edge of the map; it belongs to the last cell.
_COLUMN = f"greatest(0, least({math.ceil(WIDTH / CELL) - 1}, floor({_X} / {CELL})))"

CELL_KEY = (
    f"CASE WHEN {_LATITUDE} BETWEEN -90 AND 90 AND {_LONGITUDE} BETWEEN -180 AND 180 "
    f"THEN floor({_Y} / {CELL})::INTEGER * {_ROW} + {_COLUMN}::INTEGER END"
)
"""The SQL expression of the cell of decimalLatitude and decimalLongitude, as one number; NULL for no valid place."""


class Cell(NamedTuple):
    """A square of the map; columns and rows are counted from the upper left corner."""

    column: int
    row: int


def decode_cell(key: int) -> Cell:
    """The cell of a value of CELL_KEY."""
    row, column = divmod(key, _ROW)
    return Cell(column, row)


def project(longitude: float, latitude: float) -> tuple[float, float]:
    """The position (x, y) on the map of a place in degrees."""
    t = math.asin(_M * math.sin(math.radians(latitude)))
    slope = _A[0] + 3 * _A[1] * t**2 + t**6 * (7 * _A[2] + 9 * _A[3] * t**2)
    x = math.radians(longitude) * math.cos(t) / (_M * slope)
    y = t * (_A[0] + _A[1] * t**2 + t**6 * (_A[2] + _A[3] * t**2))
    return WIDTH / 2 + x * _SCALE, HEIGHT / 2 - y * _SCALE


def draw_land() -> str:
    """The outlines of the land as a closed SVG path."""
    text = resources.files("gbif_webdataset.report").joinpath("templates/land.json").read_text(encoding="utf-8")
    rings: list[list[int]] = json.loads(text)["rings"]
    return "".join(_draw_ring([(lon / 10, lat / 10) for lon, lat in zip(r[::2], r[1::2], strict=True)]) for r in rings)


def draw_graticule(step: int = 30) -> str:
    """Meridians and parallels every `step` degrees as an SVG path."""
    meridians = [[(float(lon), float(lat)) for lat in range(-90, 91, 5)] for lon in range(-180, 181, step)]
    parallels = [[(-180.0, float(lat)), (180.0, float(lat))] for lat in range(-90 + step, 90, step)]
    return "".join(_draw_line(line) for line in (*meridians, *parallels))


def draw_outline() -> str:
    """The edge of the map as a closed SVG path."""
    west, east = ([(lon, float(lat)) for lat in range(-90, 91, 5)] for lon in (-180.0, 180.0))
    return _draw_line([*west, *reversed(east)]) + "Z"


def _draw_ring(points: list[tuple[float, float]]) -> str:
    return _draw_line(list(_add_points([*points, points[0]]))) + "Z"


def _add_points(points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The points, with more between points far apart in latitude, because straight lines are curves on the map."""
    for (lon, lat), (to_lon, to_lat) in pairwise(points):
        parts = max(1, math.ceil(abs(to_lat - lat) / 5))
        yield from ((lon + (to_lon - lon) * i / parts, lat + (to_lat - lat) * i / parts) for i in range(parts))


def _draw_line(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join("{:.1f} {:.1f}".format(*project(*point)) for point in points)
