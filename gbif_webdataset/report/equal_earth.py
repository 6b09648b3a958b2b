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
KILOMETRES = 6371.007 / _SCALE  # that a unit stands for: it squared is an area in km², everywhere on the map
_ROW = 10_000  # more than there are cells in a row

_LATITUDE, _LONGITUDE = "try_cast(decimalLatitude AS DOUBLE)", "try_cast(decimalLongitude AS DOUBLE)"
_T = f"asin({_M} * sin(radians({_LATITUDE})))"
_SLOPE = f"({_A[0]} + {3 * _A[1]} * {_T}**2 + {_T}**6 * ({7 * _A[2]} + {9 * _A[3]} * {_T}**2))"
_X = f"({WIDTH / 2} + {_SCALE} * radians({_LONGITUDE}) * cos({_T}) / ({_M} * {_SLOPE}))"
_Y = f"({HEIGHT / 2} - {_SCALE} * {_T} * ({_A[0]} + {_A[1]} * {_T}**2 + {_T}**6 * ({_A[2]} + {_A[3]} * {_T}**2)))"


def make_cell_key(side: float) -> str:
    """The SQL expression of the cell of decimalLatitude and decimalLongitude, as one number.

    It is NULL for no valid place and for 0, 0, which stands for unknown coordinates. `side` is that of the cells, CELL
    or a part of it.
    """
    # At the equator the antimeridian is the edge of the map; it belongs to the last cell.
    column = f"greatest(0, least({math.ceil(WIDTH / side) - 1}, floor({_X} / {side})))"
    return (
        f"CASE WHEN {_LATITUDE} BETWEEN -90 AND 90 AND {_LONGITUDE} BETWEEN -180 AND 180 "
        f"AND ({_LATITUDE} <> 0 OR {_LONGITUDE} <> 0) "
        f"THEN floor({_Y} / {side})::INTEGER * {_ROW} + {column}::INTEGER END"
    )


class Cell(NamedTuple):
    """A square of the map; columns and rows are counted from the upper left corner."""

    column: int
    row: int


def decode_cell(key: int) -> Cell:
    """The cell of a value of make_cell_key."""
    row, column = divmod(key, _ROW)
    return Cell(column, row)


def project(longitude: float, latitude: float) -> tuple[float, float]:
    """The position (x, y) on the map of a place in degrees."""
    t = math.asin(_M * math.sin(math.radians(latitude)))
    slope = _A[0] + 3 * _A[1] * t**2 + t**6 * (7 * _A[2] + 9 * _A[3] * t**2)
    x = math.radians(longitude) * math.cos(t) / (_M * slope)
    y = t * (_A[0] + _A[1] * t**2 + t**6 * (_A[2] + _A[3] * t**2))
    return WIDTH / 2 + x * _SCALE, HEIGHT / 2 - y * _SCALE


def load_land(name: str) -> list[list[tuple[float, float]]]:
    """The outlines of the land as rings of (longitude, latitude), from a file of templates/: land or land-detailed."""
    text = resources.files("gbif_webdataset.report").joinpath(f"templates/{name}.json").read_text(encoding="utf-8")
    content = json.loads(text)
    parts = content["parts_of_degree"]
    return [
        [(lon / parts, lat / parts) for lon, lat in zip(ring[::2], ring[1::2], strict=True)]
        for ring in content["rings"]
    ]


def add_points(points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The points, with more between points far apart in latitude, because straight lines are curves on the map."""
    for (lon, lat), (to_lon, to_lat) in pairwise(points):
        parts = max(1, math.ceil(abs(to_lat - lat) / 5))
        yield from ((lon + (to_lon - lon) * i / parts, lat + (to_lat - lat) * i / parts) for i in range(parts))
