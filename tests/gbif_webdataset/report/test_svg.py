import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbif_webdataset.report import svg as plots
from gbif_webdataset.report.equal_earth import Cell
from gbif_webdataset.report.svg import HEIGHT, MAX_POINTS, WIDTH, find_shade, format_compact, list_shades
from tests.support.published import HOSTILE

MISCHIEF = (*HOSTILE, "'\"><svg onload=alert(1)>", "]]>", "<!--", "\ufffe\uffff\x00\x0b\x1f")
COLUMNS = {
    "none": [], "one": [("2019", 5, 3)], "zeros": [("a", 0, 0), ("b", 0, 0)], "some zeros": [("a", 0, 0), ("b", 9, 0), ("c", 9, 9)],
    "400": [(str(n), n * n, n) for n in range(400)], "uneven": [("a", 10**9, 1), ("b", 1, 1)],
}  # fmt: skip
EVERY = {
    "long tail": plots.draw_long_tail([(text, 20 - n) for n, text in enumerate(MISCHIEF)], MISCHIEF[2]),
    "no class": plots.draw_long_tail([], "none"),
    "columns": plots.draw_columns([(t, 3, 1) for t in MISCHIEF], dict(enumerate(MISCHIEF)), MISCHIEF[2], MISCHIEF[3]),
    "sizes": plots.draw_dimensions({(17, 18): 5, (24, 30): 1}, MISCHIEF[2]),
    "no size": plots.draw_dimensions({}, ""),
    "one size": plots.draw_dimensions({(0, 0): 1}, ""),
    "world": plots.draw_world_map({Cell(0, 0): 1, Cell(143, 70): 1000}, MISCHIEF[2]),
    "no place": plots.draw_world_map({}, ""),
    "funnel": plots.draw_funnel([(t, 9 - n, 8 - n) for n, t in enumerate(MISCHIEF[:8])], MISCHIEF[2]),
    "no step": plots.draw_funnel([], ""),
    "nothing left": plots.draw_funnel([("read", 0, 0)], ""),
}


def parsed(svg: str) -> ElementTree.Element:
    """The plot as an XML parser sees it."""
    return ElementTree.fromstring(svg.encode())


def of_class(svg: str, name: str) -> list[ElementTree.Element]:
    return [one for one in parsed(svg).iter() if name in one.get("class", "").split()]


def tips(svg: str) -> list[str]:
    return [tip for one in parsed(svg).iter() if (tip := one.get("data-tip")) is not None]


@pytest.mark.parametrize("name", EVERY)
def test_every_plot_is_well_formed_and_has_only_shapes_and_texts(name: str) -> None:
    tags = {one.tag for one in parsed(EVERY[name]).iter()}
    assert tags <= {"svg", "path", "text", "rect", "circle"}
    assert not {key for one in parsed(EVERY[name]).iter() for key in one.attrib if key.startswith("on")}
    assert not re.search(r"\b(nan|inf)\b", EVERY[name])


@pytest.mark.parametrize("name", EVERY)
def test_a_standalone_plot_needs_neither_the_page_nor_other_files(name: str) -> None:
    figure = plots.make_standalone(EVERY[name])
    root = parsed(figure)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {one.tag.partition("}")[0] for one in root.iter()} == {"{http://www.w3.org/2000/svg"}
    style = root.findtext("{*}style") or ""
    assert ".plot .kept { fill: #2f7d5b; }" in style
    for forbidden in ("var(", "url(", "@import", "http"):
        assert forbidden not in style
    assert "var(" not in figure
    assert not {key for one in root.iter() for key in one.attrib if key.endswith(("href", "src"))}


@pytest.mark.parametrize("classes", [1, 2, MAX_POINTS, MAX_POINTS + 1, 10_000])
def test_a_long_tail_runs_from_the_largest_class_to_the_smallest(classes: int) -> None:
    of = [(f"class {rank}", 10**6 // rank) for rank in range(1, classes + 1)]
    svg = plots.draw_long_tail(of, "")
    shown = tips(svg)
    assert shown[0] == "1. class 1: 1,000,000 samples"
    assert shown[-1] == f"{classes:,}. class {classes}: {10**6 // classes:,} samples"
    assert len(shown) == classes if classes <= MAX_POINTS else 100 < len(shown) <= MAX_POINTS + 1
    strips = [(float(one.get("x", "")), float(one.get("width", ""))) for one in of_class(svg, "bare")]
    assert strips[0][0] == plots.LEFT
    assert sum(width for _, width in strips) == pytest.approx(WIDTH - plots.RIGHT - plots.LEFT, abs=0.02 * len(strips))
    assert all(width > 0 for _, width in strips)
    [curve] = [one.get("d", "")[1:] for one in of_class(svg, "curve")]
    points = [tuple(map(float, point.split())) for point in curve.split("L")]
    assert points[0] == (plots.LEFT, plots.TOP)
    assert points == sorted(points, key=lambda point: (point[0], point[1]))
    assert all(plots.LEFT <= x <= WIDTH - plots.RIGHT and plots.TOP <= y <= HEIGHT - plots.BOTTOM for x, y in points)


def test_classes_without_samples_are_left_out_of_the_long_tail() -> None:
    assert len(tips(plots.draw_long_tail([("a", 3), ("b", 1), ("c", 0)], ""))) == 2
    assert tips(plots.draw_long_tail([("a", 0)], "")) == []


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_as_high_as_their_numbers(name: str) -> None:
    columns = COLUMNS[name]
    svg = plots.draw_columns(columns, {0: "first"} if columns else {}, "below", "told")
    assert len(tips(svg)) == len(columns)
    high = HEIGHT - plots.BOTTOM - plots.TOP
    top = plots._choose_ticks(max((images for _, images, _ in columns), default=0))[0]
    for kind, numbers in (("kept", [s for *_, s in columns if s]), ("lost", [i for _, i, s in columns if i > s])):
        drawn = [float(one.get("d", "").split("v-")[1].split("h")[0]) for one in of_class(svg, kind)]
        assert drawn == pytest.approx([max(plots.MIN_HEIGHT, high * n / top) for n in numbers], abs=0.01)
        assert all(length <= high for length in drawn)


def test_a_tip_has_the_samples_only_if_some_images_are_not_samples() -> None:
    assert tips(plots.draw_columns([("2019", 1200, 1200), ("2020", 5, 0)], {}, "", "")) == [
        "2019: 1,200 images", "2020: 5 images, 0 samples",
    ]  # fmt: skip


@pytest.mark.parametrize("text", MISCHIEF[:-1])
def test_a_hostile_name_is_only_text(text: str) -> None:
    shown = tips(plots.draw_long_tail([(text, 1)], text))[0]
    assert re.sub(r"\s+", " ", shown) == re.sub(r"\s+", " ", f"1. {text}: 1 samples")
    for svg in (plots.draw_long_tail([(text, 1)], text), plots.draw_columns([(text, 1, 1)], {0: text}, text, text)):
        assert not re.search("<(script|img|svg on|!--)", svg)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7, 10, 64, 100, 729, 1000, 4096])
def test_the_scale_has_the_smallest_number_of_each_shade(most: int) -> None:
    first: dict[int, int] = {}
    for images in range(1, most + 1):
        first.setdefault(find_shade(images, most), images)
    assert list_shades(most) == list(first.items())
    assert list(first) == sorted(first)


@given(st.integers(1, 10**9))
def test_the_scale_is_right_for_large_numbers(most: int) -> None:
    found = list_shades(most)
    assert found[0] == (1, 1)
    assert found[-1][0] == find_shade(most, most)
    for number, least in found:
        assert find_shade(least, most) == number
        assert least == 1 or find_shade(least - 1, most) < number


def test_a_map_without_samples_has_no_scale() -> None:
    assert list_shades(0) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1500, "1.5k"), (20_000, "20k"), (999_499, "999k"), (999_999, "1,000k"),
     (1_200_000, "1.2M"), (500_000_000, "500M"), (1_000_000_000, "1,000M"), (50_000_000_000, "50,000M")],
)  # fmt: skip
def test_a_compact_number_has_no_exponent(number: int, text: str) -> None:
    assert format_compact(number) == text


@given(st.integers(0, 10**12))
def test_an_axis_includes_the_maximum_and_has_few_ticks(most: int) -> None:
    top, step = plots._choose_ticks(most)
    assert top >= most
    assert top % step == 0
    assert top - step < max(1, most)
    assert 1 <= top // step <= 4
    assert str(step).rstrip("0") in ("1", "2", "5")


def test_a_stage_of_the_funnel_is_as_wide_as_the_images_that_it_kept() -> None:
    svg = plots.draw_funnel([("read", 1000, 900), ("fetch", 900, 450), ("split", 450, 0)], "")
    widths = {kind: [float(one.get("width", "")) for one in of_class(svg, kind)] for kind in ("lost", "kept")}
    assert widths == {"lost": [520, 468, 234], "kept": [468, 234, 0]}
    assert [one.text for one in of_class(svg, "end")] == ["1,000 → 900", "900 → 450", "450 → 0"]
    assert [one.text for one in of_class(svg, "strong")] == ["read", "fetch", "split"]


def test_the_map_shades_each_cell_by_its_images() -> None:
    cells = {Cell(3, 4): 1, Cell(5, 6): 1000, Cell(7, 8): 1}
    svg = plots.draw_world_map(cells, "")
    assert [one.get("d") for one in of_class(svg, "d1")] == ["M15 20h5v5h-5zM35 40h5v5h-5z"]
    assert [one.get("d") for one in of_class(svg, "d6")] == ["M25 30h5v5h-5z"]
