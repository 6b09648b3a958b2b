import io
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image

from gbif_webdataset.report import plot
from gbif_webdataset.report.plot import Plot

SQUARE = Plot(
    "Images & <b>samples</b>", "A square", 360, 200, ['<rect class="kept" width="90" height="90"/>'],
    [("kept", "samples"), ("lost", "images that are not samples"), ("d1", "1 to 3"), ("d2", "4 to 10")], "A note.",
)  # fmt: skip


def parsed() -> ElementTree.Element:
    return ElementTree.fromstring(SQUARE.draw_file().encode())


def png(of: Plot = SQUARE) -> Image.Image:
    image = Image.open(io.BytesIO(of.draw_png()))
    image.load()
    return image


def test_a_file_has_title_legend_and_note() -> None:
    texts = [one.text for one in parsed().iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [
        "Images & <b>samples</b>",
        "samples",
        "images that are not samples",
        "1 to 3",
        "4 to 10",
        "A note.",
    ]


def test_everything_in_a_file_is_within_its_area_and_no_line_overlaps_another() -> None:
    root = parsed()
    height = float(root.get("viewBox", "").split()[3])
    lines = sorted({float(one.get("y", "")) for one in root.iter("{http://www.w3.org/2000/svg}text")})
    assert lines[-1] < height
    assert len(lines) == 4  # the title, two lines of the legend, the note
    assert all(below - above >= 12 for above, below in pairwise(lines))


def test_a_file_needs_neither_the_page_nor_other_files() -> None:
    text = SQUARE.draw_file()
    assert "var(" not in text
    assert "@import" not in text
    assert text.count("http") == 1  # the name space
    assert not {key for one in parsed().iter() for key in one.attrib if key.endswith(("href", "src"))}


def test_a_png_has_300_pixels_per_inch_and_the_width_of_the_svg() -> None:
    image = png()
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    width = float(parsed().get("width", "").removesuffix("mm"))
    assert image.width == pytest.approx(width / 25.4 * 300, abs=1)


def test_a_png_has_texts_although_the_machine_may_have_no_fonts() -> None:
    with_title, without = png(), png(Plot("", "", 360, 200, SQUARE.parts, SQUARE.legend, SQUARE.note))
    top = (0, 0, with_title.width, 60)
    dark = [image.convert("L").crop(top).point(lambda v: v < 100 and 255).getbbox() for image in (with_title, without)]
    assert dark[0] is not None
    assert dark[1] is None
    assert all(path.is_file() for path in plot.FONTS)
    assert len(plot.FONTS) == 2


def test_kept_and_dropped_images_differ_in_print_without_colour() -> None:
    of = Plot("", "", 200, 50, ['<rect class="kept" width="100" height="50"/>',
                                '<rect class="lost" x="100" width="100" height="50"/>'])  # fmt: skip
    grey = png(of).convert("L")
    y = grey.height // 2
    kept = {grey.getpixel((x, y)) for x in range(grey.width // 5, grey.width // 3)}
    lost = {grey.getpixel((x, y)) for x in range(grey.width * 3 // 5, grey.width * 4 // 5)}
    assert len(kept) == 1
    assert max(lost) - min(lost) > 50  # hatched


def test_characters_that_xml_does_not_allow_are_left_out() -> None:
    assert "\x00" not in Plot("a\x00b", "a\x00b", 1, 1, []).draw_file() + Plot("", "a\x00", 1, 1, []).draw_inline()
