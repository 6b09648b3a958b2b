import re
from dataclasses import replace

from gbif_webdataset.account.funnel import FunnelStage
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.report.equal_earth import Cell
from gbif_webdataset.report.facets import Breakdown, ValueCount
from gbif_webdataset.report.figures import MIN_CLASSES, draw_figures
from gbif_webdataset.report.plot import Plot
from gbif_webdataset.report.statistics import DatasetStatistics

STAGES = [FunnelStage("read", "Read the archive", "media", 20, 15, ()), FunnelStage("fetch", "Fetch", "", 15, 9, ())]
EMPTY = DatasetStatistics({}, {}, {}, {}, (), (), (), (), (), {}, (), 0)
FULL = DatasetStatistics(
    breakdowns={
        "year": Breakdown((ValueCount("1999", 4, 3), ValueCount("2003", 5, 5))),
        "month": Breakdown((ValueCount("7", 6, 5), ValueCount("2", 3, 3)), missing=ValueCount("", 1, 0)),
        "licence": Breakdown((ValueCount("cc0", 6, 5),), ValueCount("", 2, 2), 3, ValueCount("", 1, 1)),
    },
    cells={Cell(3, 4): 5, Cell(5, 6): 1},
    dimensions={(17, 18): 6},
    file_sizes={20_000: 4, 100_000: 2},
    failures=(),
    classes=tuple(
        ClassCounts(label, number, "", {"train": samples})
        for number, (label, samples) in enumerate({str(n): 40 - n for n in range(MIN_CLASSES)}.items())
    ),
    leakage=(), balance=(), duplicates=(), class_examples={}, dropped=(), fetched_bytes=0,
)  # fmt: skip


def tips(plot: Plot) -> list[str]:
    return re.findall('data-tip="([^"]*)"', plot.draw_inline())


def test_each_plot_has_a_title_and_is_described_in_words() -> None:
    plots = draw_figures(FULL, STAGES, {"licence": {"cc0": "CC0"}})
    assert {name: (plot.title, plot.description) for name, plot in plots.items()} == {
        "funnel": ("Images before and after each stage", "From 20 media to 9 samples, stage by stage"),
        "long-tail": (
            "Samples of each class, largest class first",
            "Samples of 20 classes by rank, from 40 to 21; the class in the middle has 30",
        ),
        "map": ("Where the samples are from", "World map: 6 samples in 2 cells of equal area"),
        "by-year": ("Images by year", "Images and samples by year, from 1999 to 2003"),
        "by-month": ("Images by month", "Images and samples by month, with a maximum in July"),
        "image-sizes": ("Samples by width and height of the image", "6 samples by width and height in pixels"),
        "file-sizes": ("Samples by size of the file", "Samples by the size of their file"),
        "by-licence": ("Images by licence", "Images by licence: CC0 has most, 6 of 9"),
    }


def test_images_without_a_month_are_counted_below_the_plot() -> None:
    plots = draw_figures(FULL, STAGES, {})
    assert (plots["by-month"].note, plots["by-year"].note) == ("1 image has no month.", "")


def test_bars_include_other_values_and_images_without_a_value() -> None:
    text = draw_figures(FULL, STAGES, {"licence": {"cc0": "CC0"}})["by-licence"].draw_inline()
    assert re.findall('text class="end"[^>]*>([^<]*)<', text) == ["CC0", "3 other values", "no value"]


def test_years_without_images_have_an_empty_column() -> None:
    assert tips(draw_figures(FULL, STAGES, {})["by-year"]) == [
        "1999: 4 images, 3 samples", "2000: 0 images", "2001: 0 images", "2002: 0 images", "2003: 5 images"
    ]  # fmt: skip


def test_every_month_has_a_column() -> None:
    shown = tips(draw_figures(FULL, STAGES, {})["by-month"])
    assert len(shown) == 12
    assert shown[1] == "February: 3 images"
    assert shown[6] == "July: 6 images, 5 samples"


def test_file_sizes_are_ranges_with_an_empty_one_at_each_end() -> None:
    assert tips(draw_figures(FULL, STAGES, {})["file-sizes"]) == [
        "10.0 kB to 20.0 kB: 0 images", "20.0 kB to 50.0 kB: 4 images", "50.0 kB to 100.0 kB: 0 images",
        "100.0 kB to 200.0 kB: 2 images", "200.0 kB to 500.0 kB: 0 images",
    ]  # fmt: skip


def test_without_data_only_the_funnel_is_drawn() -> None:
    assert list(draw_figures(EMPTY, STAGES, {})) == ["funnel"]


def test_few_classes_have_no_plot_of_ranks() -> None:
    few = replace(FULL, classes=FULL.classes[:-1])
    assert "long-tail" not in draw_figures(few, STAGES, {})
