import math
from functools import cache
from itertools import pairwise

import duckdb
import numpy as np
import pytest

from gbif_webdataset.report.equal_earth import (
    CELL,
    HEIGHT,
    WIDTH,
    Cell,
    add_points,
    decode_cell,
    load_land,
    make_cell_key,
    project,
)

Point = tuple[float, float]
LANDS = ("land", "land-detailed")
LATITUDES = (-90, -89.9999, -60.5, -0.0001, 0, 1e-9, 23.4, 51.5, 89.9999, 90)
LONGITUDES = (-180, -179.9999, -90, -0.0001, 0, 0.0001, 77.7, 179.9999, 180)


def keys(places: list[tuple[object, object]], side: float = CELL) -> list[int | None]:
    """The cell keys of places (longitude, latitude), whose columns are texts as the archive's are."""
    with duckdb.connect() as connection:
        rows = ", ".join("({}, {}, {})".format(n, *(_literal(value) for value in one)) for n, one in enumerate(places))
        table = f"(VALUES {rows}) AS places (n, decimalLongitude, decimalLatitude)"
        return [
            key for (key,) in connection.execute(f"SELECT {make_cell_key(side)} FROM {table} ORDER BY n").fetchall()
        ]


def _literal(value: object) -> str:
    return "NULL::VARCHAR" if value is None else f"'{value}'"


def cells(places: list[Point], side: float = CELL) -> list[Cell]:
    return [decode_cell(key) for key in keys(list(places), side) if key is not None]


@cache
def rings(name: str) -> list[list[Point]]:
    """The rings of the land, on the map."""
    return [[project(*point) for point in add_points([*ring, ring[0]])] for ring in load_land(name)]


def is_land(name: str, longitude: float, latitude: float) -> bool:
    """Whether a line to the right crosses outlines an odd number of times."""
    x, y = project(longitude, latitude)
    crossed = 0
    for ring in rings(name):
        for (x1, y1), (x2, y2) in pairwise([*ring, ring[0]]):
            crossed += (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    return bool(crossed % 2)


def area(corners: list[Point]) -> float:
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise([*corners, corners[0]]))) / 2


@pytest.mark.parametrize("side", [CELL, CELL / 16])
def test_sql_and_python_find_the_same_cell_for_every_place(side: float) -> None:
    random = np.random.default_rng(5)
    places = [(lon, lat) for lon in LONGITUDES for lat in LATITUDES if lon or lat]
    places += zip(random.uniform(-180, 180, 2000).tolist(), random.uniform(-90, 90, 2000).tolist(), strict=True)
    found = cells(places, side)
    assert len(found) == len(places)
    for place, cell in zip(places, found, strict=True):
        for at, number in zip(project(*place), cell, strict=True):
            assert number * side - 1e-6 <= at <= (number + 1) * side + 1e-6, place


def test_every_cell_is_on_the_map_even_at_its_edge() -> None:
    edge = [(lon, lat / 2) for lon in (-180, 180) for lat in range(-180, 181)]
    edge += [(float(lon), lat) for lon in range(-180, 181) for lat in (-90, 90)]
    edge += [(lon, sign * 10.0**-power) for lon in (-180, 180) for sign in (-1, 1) for power in range(14)]
    for place, cell in zip(edge, cells(edge), strict=True):
        assert 0 <= cell.column < WIDTH / CELL, place
        assert 0 <= cell.row < HEIGHT / CELL, place


def test_the_map_ends_at_the_antimeridian_and_the_poles() -> None:
    assert project(0, 0) == pytest.approx((WIDTH / 2, HEIGHT / 2))
    assert project(-180, 0)[0] == pytest.approx(0)
    assert project(180, 0)[0] == pytest.approx(WIDTH)
    assert project(0, 90)[1] == pytest.approx(0, abs=1e-9)
    assert project(0, -90)[1] == pytest.approx(HEIGHT)
    # The poles are lines, 0.59247 as long as the equator: Šavrič et al. (2019).
    assert project(180, 90)[0] - project(-180, 90)[0] == pytest.approx(0.59247 * WIDTH, rel=1e-4)


@pytest.mark.parametrize("south", [-90, -60, -25, 0, 40, 70, 85])
@pytest.mark.parametrize("west", [-180, -30, 0, 150])
def test_equal_areas_of_the_globe_are_equal_on_the_map(west: int, south: int) -> None:
    east, north, steps = west + 20, south + 5, 400
    latitudes = [south + (north - south) * step / steps for step in range(steps + 1)]
    outline = [project(west, lat) for lat in latitudes] + [project(east, lat) for lat in reversed(latitudes)]
    part = (east - west) / 360 * (math.sin(math.radians(north)) - math.sin(math.radians(south))) / 2
    whole = 4 * math.pi * (WIDTH * math.sqrt(3) / 2 * 1.340264 / (2 * math.pi)) ** 2
    assert area(outline) / whole == pytest.approx(part, rel=1e-5)


def test_an_invalid_or_unknown_place_has_no_cell() -> None:
    nowhere: list[tuple[object, object]] = [
        (None, "1"), ("1", None), (None, None), ("", ""), ("180.1", "5"), ("-181", "5"), ("5", "90.01"), ("5", "-91"),
        ("12,5", "5"), ("5", "12°"), ("nan", "5"), ("5", "nan"), ("inf", "5"), ("5", "-inf"), ("1e999", "5"),
        ("0", "0"), ("-0.0", "0.000"),
    ]  # fmt: skip
    assert keys(nowhere) == [None] * len(nowhere)
    assert keys([*nowhere, ("1e1", " 5.0 ")])[-1] == keys([(10, 5)])[0] is not None


@pytest.mark.parametrize("name", LANDS)
def test_every_ring_of_the_land_is_within_the_outline(name: str) -> None:
    latitudes = np.linspace(90, -90, 3601)
    edge = np.array([project(180, lat) for lat in latitudes])
    assert len(rings(name)) > 100
    for ring in rings(name):
        assert len(ring) >= 3
        assert area(ring) > 0
        for x, y in ring:
            assert 0 <= y <= HEIGHT + 0.1
            assert abs(x - WIDTH / 2) <= np.interp(y, edge[:, 1], edge[:, 0]) - WIDTH / 2 + 0.2


@pytest.mark.parametrize("name", LANDS)
def test_no_outline_crosses_the_map(name: str) -> None:
    for ring in load_land(name):
        for (lon, lat), (to_lon, to_lat) in pairwise([*ring, ring[0]]):
            is_the_pole = lat == to_lat == -90
            assert abs(lon - to_lon) < 200 or is_the_pole, (lon, lat)
    longest = sorted(math.dist(a, b) for ring in rings(name) for a, b in pairwise([*ring, ring[0]]))
    assert longest[-1] == pytest.approx(0.59247 * WIDTH, abs=0.5)  # Antarctica's, along the pole
    assert longest[-2] < WIDTH / 20


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(-0.1, 51.6), (150.5, -33.5), (37.6, 55.8), (36.8, -1.3), (-100, 40), (-60, -10), (0, -89), (-179.5, -88),
     (179, -88), (-41, 72), (179.5, 68), (-179.5, 68), (47, -19)],
)  # fmt: skip
def test_places_on_land_are_within_the_outlines(longitude: float, latitude: float) -> None:
    assert all(is_land(name, longitude, latitude) for name in LANDS)


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(-30, 30), (-140, 0), (180, 0), (-180, 0), (0, 89.9), (80, -20), (-30, -50), (18, 34), (42, -19), (-170, 57)],
)
def test_places_at_sea_are_outside_the_outlines(longitude: float, latitude: float) -> None:
    assert not any(is_land(name, longitude, latitude) for name in LANDS)
