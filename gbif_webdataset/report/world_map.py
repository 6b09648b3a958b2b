"""The map of the samples: cells of equal area, coasts, and where on the world they are."""

import math
from collections.abc import Iterable, Iterator, Mapping

from gbif_webdataset.report.equal_earth import WIDTH, Cell, add_points, load_land, project
from gbif_webdataset.report.map_view import WORLD, View
from gbif_webdataset.report.plot import Plot
from gbif_webdataset.report.svg import describe_shades, find_shade

INSET_WIDTH = 132.0
INSET_HEIGHT = math.ceil(INSET_WIDTH / WIDTH * WORLD.height)
GAP = 8.0
DETAIL_ZOOM = 3  # from which the outlines of the world map are too coarse
Point = tuple[float, float]


def draw_map(cells: Mapping[Cell, int], view: View, title: str, description: str) -> Plot:
    """The shade of each cell is its number of samples. Columns and rows of `cells` count from the corner of the view.

    If the view is a part of the world, an inset in a corner without samples shows which.
    """
    maximum, side = max(cells.values(), default=0), view.cell * view.zoom
    height = float(math.ceil(view.height * view.zoom))
    parts = [*_draw_land(view, height), *_draw_graticule(view, height)]
    paths: dict[int, list[str]] = {}
    for cell, samples in sorted(cells.items()):
        square = f"M{cell.column * side:.2f} {cell.row * side:.2f}h{side:.2f}v{side:.2f}h-{side:.2f}z"
        paths.setdefault(find_shade(samples, maximum), []).append(square)
    sharp = 'shape-rendering="crispEdges"'  # no seams between cells
    parts += [f'<path class="d{shade}" {sharp} d="{"".join(own)}"/>' for shade, own in sorted(paths.items())]
    if not view.is_world:
        corner, height = _find_corner(cells, side, height)
        parts += _draw_inset(view, corner)
    size = f"{view.cell_km:,.0f}" if view.cell_km >= 10 else f"{view.cell_km:.1f}"
    note = f"Samples in a cell; each cell has the area of a square of {size} km. Equal Earth projection."
    return Plot(title, description, WIDTH, height, parts, describe_shades(maximum), note)


def _draw_land(view: View, height: float) -> Iterator[str]:
    if view.is_world:
        yield f'<path class="land" d="{"".join(_draw_rings(map(_project_ring, load_land("land"))))}"/>'
        yield f'<path class="sea" d="{_draw_outline()}"/>'
        return
    rings = (
        _clip([view.place(point) for point in _project_ring(ring)], height)
        for ring in load_land("land-detailed" if view.zoom >= DETAIL_ZOOM else "land")
    )
    yield f'<rect class="sea" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}"/>'
    yield f'<path class="land" d="{"".join(_draw_rings(rings))}"/>'


def _project_ring(ring: list[Point]) -> list[Point]:
    return [project(*point) for point in add_points([*ring, ring[0]])]


def _draw_rings(rings: Iterable[list[Point]]) -> Iterator[str]:
    """Closed paths of points that differ when rounded to a tenth of a unit."""
    for ring in rings:
        points = dict.fromkeys(f"{x:.1f} {y:.1f}" for x, y in ring)
        if len(points) > 2:
            yield f"M{'L'.join(points)}Z"


def _clip(ring: list[Point], height: float) -> list[Point]:
    """The part of a ring within the drawing and a little around it: Sutherland and Hodgman (1974)."""
    pad = 5.0
    for axis, bound, sign in ((0, -pad, 1), (0, WIDTH + pad, -1), (1, -pad, 1), (1, height + pad, -1)):
        kept: list[Point] = []
        for start, end in zip([*ring[-1:], *ring[:-1]], ring, strict=True):
            is_start, is_end = (sign * (point[axis] - bound) >= 0 for point in (start, end))
            if is_start != is_end:
                part = (bound - start[axis]) / (end[axis] - start[axis])
                kept.append((start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])))
            if is_end:
                kept.append(end)
        ring = kept
    return ring


def _draw_outline() -> str:
    west, east = ([project(lon, float(lat)) for lat in range(-90, 91, 5)] for lon in (-180.0, 180.0))
    return f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in [*west, *reversed(east)])}Z"


def _draw_graticule(view: View, height: float) -> Iterator[str]:
    """Meridians and parallels with their degrees, 3 to 8 of them in the drawing."""
    step = next(step for step, zoom in ((2, 12), (5, 5), (10, 2), (30, 0)) if view.zoom >= zoom)
    for latitude in range(-90 + step, 90, step):
        y = view.place(project(0.0, latitude))[1]
        if 12 < y < height:
            west, east = (max(0.0, min(WIDTH, view.place(project(lon, latitude))[0])) for lon in (-180.0, 180.0))
            yield f'<path class="grid" d="M{west:.1f} {y:.1f}H{east:.1f}"/>'
            yield f'<text class="halo" x="{west + 3:.1f}" y="{y - 3:.1f}">{_format_degrees(latitude, "N", "S")}</text>'
    for longitude in range(-180, 181, step):
        points = [view.place(project(longitude, latitude)) for latitude in range(-90, 91, 2)]
        line = [point for point in points if -50 < point[1] < height + 50 and -50 < point[0] < WIDTH + 50]
        if len(line) > 1:
            yield f'<path class="grid" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in line)}"/>'
            x = min(line, key=lambda point: abs(point[1] - height))[0]
            if not view.is_world and 30 < x < WIDTH - 30:
                text = _format_degrees(longitude, "E", "W")
                yield f'<text class="middle halo" x="{x:.1f}" y="{height - 5:.1f}">{text}</text>'


def _format_degrees(degrees: int, positive: str, negative: str) -> str:
    return f"{abs(degrees)}°" + ("" if not degrees else f" {positive if degrees > 0 else negative}")


def _find_corner(cells: Mapping[Cell, int], side: float, height: float) -> tuple[Point, float]:
    """(the upper left corner of an inset that hides no cell, the height of the drawing, larger if none is free)."""
    left, right, top, bottom = GAP, WIDTH - GAP - INSET_WIDTH, GAP, height - GAP - INSET_HEIGHT - 14
    for x, y in ((right, bottom), (right, top), (left, top), (left, bottom)):
        columns = (x / side - 1, (x + INSET_WIDTH) / side)
        rows = (y / side - 1, (y + INSET_HEIGHT) / side)
        if not any(columns[0] <= c.column <= columns[1] and rows[0] <= c.row <= rows[1] for c in cells):
            return (x, y), height
    return (left, height + GAP), height + 2 * GAP + INSET_HEIGHT


def _draw_inset(view: View, corner: Point) -> Iterator[str]:
    scale = INSET_WIDTH / WIDTH
    small = [[(x * scale, y * scale) for x, y in _project_ring(ring)] for ring in load_land("land")]
    land = "".join(_draw_rings(ring for ring in small if math.dist(ring[0], ring[len(ring) // 2]) > 1))
    yield f'<g transform="translate({corner[0]:g} {corner[1]:g})">'
    yield f'<rect class="inset" width="{INSET_WIDTH:g}" height="{INSET_HEIGHT}"/><path class="land" d="{land}"/>'
    yield f'<rect class="sea" width="{INSET_WIDTH:g}" height="{INSET_HEIGHT}"/>'
    box = f'x="{view.x * scale:.1f}" y="{view.y * scale:.1f}" width="{view.width * scale:.1f}"'
    yield f'<rect class="frame" {box} height="{view.height * scale:.1f}"/></g>'
