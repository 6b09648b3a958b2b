import math

import pytest

from gbif_webdataset.report.equal_earth import CELL, HEIGHT, WIDTH, Cell
from gbif_webdataset.report.map_view import MIN_WIDTH, RATIOS, WORLD, View, choose_view

PLACES = {
    "one cell": [Cell(70, 20)],
    "in the corner": [Cell(0, 0), Cell(1, 1)],
    "at the lower edge": [Cell(140, 69)],
    "wide": [Cell(40, 30), Cell(100, 31)],
    "high": [Cell(70, 10), Cell(71, 50)],
}


@pytest.mark.parametrize("name", PLACES)
def test_a_view_shows_all_places_and_stays_on_the_world_map(name: str) -> None:
    view, cells = choose_view(PLACES[name]), PLACES[name]
    assert 0 <= view.x <= min(cell.column for cell in cells) * CELL
    assert 0 <= view.y <= min(cell.row for cell in cells) * CELL
    assert max(cell.column + 1 for cell in cells) * CELL <= view.x + view.width <= WIDTH + view.cell
    assert min(HEIGHT, max(cell.row + 1 for cell in cells) * CELL) <= view.y + view.height + view.cell
    assert RATIOS[0] - 1e-9 <= view.height / view.width <= RATIOS[1] + 1e-9


@pytest.mark.parametrize("name", PLACES)
def test_cells_are_about_as_large_in_every_drawing_and_start_at_the_corner_of_the_view(name: str) -> None:
    view = choose_view(PLACES[name])
    assert CELL <= view.cell * view.zoom < 2 * CELL
    assert math.log2(CELL / view.cell).is_integer()
    assert (view.x / view.cell, view.y / view.cell) == (round(view.x / view.cell), round(view.y / view.cell))


def test_places_all_over_the_world_are_shown_on_the_whole_map() -> None:
    assert choose_view([Cell(5, 30), Cell(130, 30)]) == WORLD
    assert choose_view([]) == WORLD
    assert WORLD.is_world


def test_one_place_is_not_enlarged_beyond_the_detail_of_the_coasts() -> None:
    assert choose_view([Cell(70, 20)]).width == MIN_WIDTH


def test_cells_are_moved_to_the_corner_of_the_view() -> None:
    assert View(10, 5, 36, 18, 2.5).move_cells({Cell(4, 2): 1, Cell(7, 3): 5}) == {Cell(0, 0): 1, Cell(3, 1): 5}


def test_the_side_of_a_cell_in_km_is_that_of_its_area() -> None:
    sphere = 4 * math.pi * 6371.007**2
    cells = 510_065_622 / WORLD.cell_km**2  # the area of the earth in square km
    assert cells * WORLD.cell_km**2 == pytest.approx(sphere, rel=1e-4)
    assert WORLD.cell_km == pytest.approx(239, abs=1)
