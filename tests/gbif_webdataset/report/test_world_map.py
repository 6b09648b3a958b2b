import re
from xml.etree import ElementTree

import pytest

from gbif_webdataset.report.equal_earth import WIDTH, Cell
from gbif_webdataset.report.map_view import WORLD, View, choose_view
from gbif_webdataset.report.plot import Plot
from gbif_webdataset.report.world_map import INSET_HEIGHT, INSET_WIDTH, draw_map

EUROPE = choose_view([Cell(72, 10), Cell(78, 14)])


def drawn(cells: dict[Cell, int], view: View = WORLD) -> Plot:
    return draw_map(cells, view, "Where", "A map")


def of_class(plot: Plot, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(plot.draw_inline()).iter() if name in one.get("class", "").split()]


def test_the_map_shades_each_cell_by_its_samples() -> None:
    plot = drawn({Cell(3, 4): 1, Cell(5, 6): 1000, Cell(7, 8): 1})
    [few], [many] = of_class(plot, "d1"), of_class(plot, "d6")
    assert re.findall("M[^h]*", few.get("d", "")) == ["M15.00 20.00", "M35.00 40.00"]
    assert many.get("d") == "M25.00 30.00h5.00v5.00h-5.00z"


def test_only_a_part_of_the_world_has_an_inset_with_a_frame_where_it_is() -> None:
    assert of_class(drawn({Cell(3, 4): 1}), "frame") == []
    [frame] = of_class(drawn({Cell(3, 4): 1}, EUROPE), "frame")
    scale = INSET_WIDTH / WIDTH
    assert float(frame.get("x", "")) == pytest.approx(EUROPE.x * scale, abs=0.06)
    assert float(frame.get("width", "")) == pytest.approx(EUROPE.width * scale, abs=0.06)


@pytest.mark.parametrize("is_full", [False, True])
def test_the_inset_hides_no_cell(is_full: bool) -> None:
    side = EUROPE.cell * EUROPE.zoom
    columns, rows = int(WIDTH / side), int(EUROPE.height * EUROPE.zoom / side)
    cells = {
        Cell(c, r): 1 for c in range(columns) for r in range(rows) if is_full or not (c < columns / 2 and r < rows / 2)
    }
    plot = drawn(cells, EUROPE)
    [place] = re.findall(r'translate\(([\d.]+) ([\d.]+)\)"><rect class="inset"', plot.draw_inline())
    x, y = map(float, place)
    assert y + INSET_HEIGHT <= plot.height
    hidden = [c for c in cells if x < (c.column + 1) * side and c.column * side < x + INSET_WIDTH
              and y < (c.row + 1) * side and c.row * side < y + INSET_HEIGHT]  # fmt: skip
    assert hidden == []
    assert (plot.height > EUROPE.height * EUROPE.zoom + INSET_HEIGHT) == is_full


def test_the_coasts_of_a_part_of_the_world_end_near_its_edge() -> None:
    plot = drawn({}, EUROPE)
    [land, _] = of_class(plot, "land")
    numbers = [tuple(map(float, point.split())) for point in re.findall(r"[-\d.]+ [-\d.]+", land.get("d", ""))]
    assert len(numbers) > 500
    assert all(-6 <= x <= WIDTH + 6 and -6 <= y <= plot.height + 6 for x, y in numbers)
    assert len(plot.draw_inline()) < 150_000


def test_a_map_without_samples_has_no_legend_and_legend_and_note_explain_the_shades() -> None:
    assert drawn({}).legend == []
    plot = drawn({Cell(1, 1): 1, Cell(2, 1): 9})
    assert plot.legend[0] == ("d1", "1")
    assert plot.note == "Samples in a cell; each cell has the area of a square of 239 km. Equal Earth projection."


def test_meridians_and_parallels_have_their_degrees() -> None:
    texts = {one.text for one in of_class(drawn({}, EUROPE), "halo")}
    assert {"50° N", "10° E"} <= texts
    assert {"0°", "60° N", "30° S"} <= {one.text for one in of_class(drawn({}), "halo")}
