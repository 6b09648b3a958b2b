"""The part of the world that the map shows: all places of the samples, enlarged."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gbif_webdataset.report.equal_earth import CELL, HEIGHT, KILOMETRES, WIDTH, Cell

MIN_WIDTH = 36.0  # of a view: about 1,700 km, because the coasts have no more detail
MAX_WIDTH = 0.7 * WIDTH  # a wider view would be almost the world
RATIOS = (0.38, 0.52)  # smallest and largest height of a view, divided by its width


@dataclass(frozen=True)
class View:
    """A rectangle of the world map, in its units, and the side of the cells in which its samples are counted.

    `x` and `y`, the upper left corner, are multiples of `cell`.
    """

    x: float
    y: float
    width: float
    height: float
    cell: float

    @property
    def is_world(self) -> bool:
        """Whether it shows the whole world."""
        return self.width == WIDTH

    @property
    def zoom(self) -> float:
        """How many times larger than on the world map everything is drawn."""
        return WIDTH / self.width

    @property
    def cell_km(self) -> float:
        """The side of a square with the area of a cell, in km."""
        return self.cell * KILOMETRES

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """The position in the drawing of a point of the world map."""
        return (point[0] - self.x) * self.zoom, (point[1] - self.y) * self.zoom

    def move_cells(self, cells: Mapping[Cell, int]) -> dict[Cell, int]:
        """The cells with columns and rows counted from the corner of the view."""
        column, row = round(self.x / self.cell), round(self.y / self.cell)
        return {Cell(cell.column - column, cell.row - row): samples for cell, samples in cells.items()}


WORLD = View(0.0, 0.0, WIDTH, HEIGHT, CELL)


def choose_view(cells: Collection[Cell]) -> View:
    """The smallest view with all these cells of the world map and a margin; WORLD if it would be little smaller."""
    if not cells:
        return WORLD
    left, right = min(cell.column for cell in cells) * CELL, (max(cell.column for cell in cells) + 1) * CELL
    top, bottom = min(cell.row for cell in cells) * CELL, (max(cell.row for cell in cells) + 1) * CELL
    width = max(MIN_WIDTH, 1.2 * (right - left), 1.2 * (bottom - top) / RATIOS[1])
    if width > MAX_WIDTH:
        return WORLD
    height = max(1.2 * (bottom - top), RATIOS[0] * width)
    cell = CELL / 2 ** math.floor(math.log2(WIDTH / width))
    x, y = (
        _align((left + right - width) / 2, WIDTH - width, cell),
        _align((top + bottom - height) / 2, HEIGHT - height, cell),
    )
    return View(x, y, width, height, cell)


def _align(start: float, maximum: float, cell: float) -> float:
    """A start within the map that is a multiple of `cell`."""
    return math.floor(min(max(0.0, start), maximum) / cell) * cell
