import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbif_webdataset.report import svg as plots
from gbif_webdataset.report.plot import Plot
from gbif_webdataset.report.svg import HEIGHT, MAX_POINTS, WIDTH, Columns, find_shade, format_compact, list_shades
from tests.support.published import HOSTILE

MISCHIEF = (*HOSTILE, "'\"><svg onload=alert(1)>", "]]>", "<!--", "\ufffe\uffff\x00\x0b\x1f")
COLUMNS = {
    "none": [], "one": [("2019", 5, 3)], "zeros": [("a", 0, 0), ("b", 0, 0)], "some zeros": [("a", 0, 0), ("b", 9, 0), ("c", 9, 9)],
    "400": [(str(n), n * n, n) for n in range(400)], "uneven": [("a", 10**9, 1), ("b", 1, 1)],
}  # fmt: skip
BAD = MISCHIEF[2]
EVERY = {
    "long tail": plots.draw_long_tail([(text, 20 - n) for n, text in enumerate(MISCHIEF)], BAD, BAD),
    "no class": plots.draw_long_tail([], "", "none"),
    "columns": plots.draw_columns(
        Columns([(t, 3, 1) for t in MISCHIEF], dict(enumerate(MISCHIEF)), BAD, BAD), BAD, BAD
    ),
    "bars": plots.draw_bars([(t, 9 - n, n) for n, t in enumerate(MISCHIEF[:5])], BAD, BAD),
    "no bar": plots.draw_bars([], "", ""),
    "sizes": plots.draw_dimensions({(17, 18): 5, (24, 30): 1}, BAD, BAD),
    "no size": plots.draw_dimensions({}, "", ""),
    "one size": plots.draw_dimensions({(0, 0): 1}, "", ""),
    "funnel": plots.draw_funnel([(t, 9 - n, 8 - n) for n, t in enumerate(MISCHIEF[:8])], BAD, BAD),
    "no step": plots.draw_funnel([], "", ""),
    "nothing left": plots.draw_funnel([("read", 0, 0)], "", ""),
}


def draw_columns(columns: list[tuple[str, int, int]], ticks: dict[int, str] | None = None) -> str:
    return plots.draw_columns(Columns(columns, ticks or {}, "below", "left"), "", "").draw_inline()


def draw_long_tail(classes: list[tuple[str, int]]) -> str:
    return plots.draw_long_tail(classes, "", "").draw_inline()


def parsed(svg: str) -> ElementTree.Element:
    """The plot as an XML parser sees it."""
    return ElementTree.fromstring(svg.encode())


def of_class(svg: str, name: str) -> list[ElementTree.Element]:
    return [one for one in parsed(svg).iter() if name in one.get("class", "").split()]


def tips(svg: str) -> list[str]:
    return [tip for one in parsed(svg).iter() if (tip := one.get("data-tip")) is not None]


@pytest.mark.parametrize("name", EVERY)
def test_every_plot_is_well_formed_and_has_only_shapes_and_texts(name: str) -> None:
    svg = EVERY[name].draw_inline()
    assert {one.tag for one in parsed(svg).iter()} <= {"svg", "path", "text", "rect", "circle"}
    assert not {key for one in parsed(svg).iter() for key in one.attrib if key.startswith("on")}
    assert not re.search(r"\b(nan|inf)\b", svg)


@pytest.mark.parametrize(
    ("plot", "titles"),
    [
        (EVERY["no class"], ["rank of the class by samples (log scale)", "samples (log scale)"]),
        (plots.draw_columns(Columns([], {}, "year", "images"), "", ""), ["year", "images"]),
        (EVERY["no bar"], ["images"]),
        (EVERY["no size"], ["width, pixels (log scale)", "height, pixels (log scale)"]),
    ],
)
def test_every_axis_has_a_title(plot: Plot, titles: list[str]) -> None:
    texts = [one.text for one in of_class(plot.draw_inline(), "middle")]
    assert [text for text in texts if text in titles] == titles


def test_images_that_are_not_samples_are_in_the_legend() -> None:
    meanings = [meaning for _, meaning in plots.draw_bars([("GB", 3, 1)], "", "").legend]
    assert meanings == ["samples", "images that are not samples"]
    assert plots.draw_bars([("GB", 3, 3)], "", "").legend == ()


def test_a_bar_is_as_long_as_its_number_and_shows_it() -> None:
    svg = plots.draw_bars([("GB", 1000, 800), ("DK", 500, 500), ("NA", 0, 0)], "", "").draw_inline()
    kept = [float(one.get("width", "")) for one in of_class(svg, "kept")]
    assert kept[0] / kept[1] == pytest.approx(1.6, abs=0.01)
    assert kept[2] == 0
    assert [one.text for one in of_class(svg, "halo")] == ["800 of 1,000", "500", "0"]


@pytest.mark.parametrize("classes", [1, 2, MAX_POINTS, MAX_POINTS + 1, 10_000])
def test_a_long_tail_runs_from_the_largest_class_to_the_smallest(classes: int) -> None:
    of = [(f"class {rank}", 10**6 // rank) for rank in range(1, classes + 1)]
    svg = draw_long_tail(of)
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
    assert len(tips(draw_long_tail([("a", 3), ("b", 1), ("c", 0)]))) == 2
    assert tips(draw_long_tail([("a", 0)])) == []


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_as_high_as_their_numbers(name: str) -> None:
    columns = COLUMNS[name]
    svg = draw_columns(columns, {0: "first"} if columns else {})
    assert len(tips(svg)) == len(columns)
    high = HEIGHT - plots.BOTTOM - plots.TOP
    top = plots._choose_ticks(max((images for _, images, _ in columns), default=0))[0]
    for kind, numbers in (("kept", [s for *_, s in columns if s]), ("lost", [i for _, i, s in columns if i > s])):
        drawn = [float(one.get("d", "").split("v-")[1].split("h")[0]) for one in of_class(svg, kind)]
        assert drawn == pytest.approx([max(plots.MIN_HEIGHT, high * n / top) for n in numbers], abs=0.01)
        assert all(length <= high for length in drawn)


def test_a_tip_has_the_samples_only_if_some_images_are_not_samples() -> None:
    assert tips(draw_columns([("2019", 1200, 1200), ("2020", 1, 0)])) == [
        "2019: 1,200 images", "2020: 1 image, 0 samples",
    ]  # fmt: skip


@pytest.mark.parametrize("text", MISCHIEF[:-1])
def test_a_hostile_name_is_only_text(text: str) -> None:
    shown = tips(draw_long_tail([(text, 1)]))[0]
    assert re.sub(r"\s+", " ", shown) == re.sub(r"\s+", " ", f"1. {text}: 1 sample")
    for svg in (draw_long_tail([(text, 1)]), draw_columns([(text, 1, 1)], {0: text})):
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
    svg = plots.draw_funnel([("read", 1000, 900), ("fetch", 900, 450), ("split", 450, 0)], "", "").draw_inline()
    widths = {kind: [float(one.get("width", "")) for one in of_class(svg, kind)] for kind in ("lost", "kept")}
    assert widths == {"lost": [520, 468, 234], "kept": [468, 234, 0]}
    assert [one.text for one in of_class(svg, "end")] == ["1,000 → 900 images", "900 → 450 images", "450 → 0 images"]
    assert [one.text for one in of_class(svg, "strong")] == ["read", "fetch", "split"]


def test_the_legend_of_shades_has_the_range_of_each() -> None:
    assert plots.describe_shades(63) == [
        ("d1", "1"), ("d2", "2 to 3"), ("d3", "4 to 7"), ("d4", "8 to 15"), ("d5", "16 to 31"), ("d6", "32 to 63"),
    ]  # fmt: skip
    assert plots.describe_shades(0) == []
