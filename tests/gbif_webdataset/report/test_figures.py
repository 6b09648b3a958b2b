import re

from gbif_webdataset.account.funnel import FunnelStage
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.report.equal_earth import Cell
from gbif_webdataset.report.facets import Breakdown, ValueCount
from gbif_webdataset.report.figures import draw_figures
from gbif_webdataset.report.statistics import DatasetStatistics

STAGES = [FunnelStage("read", "Read the archive", "media", 20, 15, ()), FunnelStage("fetch", "Fetch", "", 15, 9, ())]
EMPTY = DatasetStatistics({}, {}, {}, {}, (), (), (), (), (), {}, (), 0)
FULL = DatasetStatistics(
    breakdowns={
        "year": Breakdown((ValueCount("1999", 4, 3), ValueCount("2003", 5, 5))),
        "month": Breakdown((ValueCount("7", 6, 5), ValueCount("2", 3, 3))),
    },
    cells={Cell(3, 4): 5, Cell(5, 6): 1},
    dimensions={(17, 18): 6},
    file_sizes={20_000: 4, 100_000: 2},
    failures=(),
    classes=tuple(
        ClassCounts(label, number, "", {"train": samples})
        for number, (label, samples) in enumerate({"a": 4, "b": 1, "c": 1}.items())
    ),
    leakage=(), balance=(), duplicates=(), class_examples={}, dropped=(), fetched_bytes=0,
)  # fmt: skip


def label(svg: str) -> str:
    return re.findall('aria-label="([^"]*)"', svg)[0]


def tips(svg: str) -> list[str]:
    return re.findall('data-tip="([^"]*)"', svg)


def test_each_plot_is_described_in_words() -> None:
    plots = draw_figures(FULL, STAGES).plots
    assert {name: label(svg) for name, svg in plots.items()} == {
        "funnel": "From 20 media to 9 samples, stage by stage",
        "long_tail": "Samples of 3 classes by rank, from 4 to 1; the class in the middle has 1",
        "world": "World map: 6 samples in 2 cells of equal area",
        "years": "Images and samples by year, from 1999 to 2003",
        "months": "Images and samples by month, with a maximum in July",
        "dimensions": "6 samples by width and height",
        "file_sizes": "Samples by the size of their file",
    }


def test_years_without_images_have_an_empty_column() -> None:
    assert tips(draw_figures(FULL, STAGES).plots["years"]) == [
        "1999: 4 images, 3 samples", "2000: 0 images", "2001: 0 images", "2002: 0 images", "2003: 5 images"
    ]  # fmt: skip


def test_every_month_has_a_column() -> None:
    shown = tips(draw_figures(FULL, STAGES).plots["months"])
    assert len(shown) == 12
    assert shown[1] == "February: 3 images"
    assert shown[6] == "July: 6 images, 5 samples"


def test_file_sizes_are_ranges_with_an_empty_one_at_each_end() -> None:
    assert tips(draw_figures(FULL, STAGES).plots["file_sizes"]) == [
        "10.0 kB to 20.0 kB: 0 images", "20.0 kB to 50.0 kB: 4 images", "50.0 kB to 100.0 kB: 0 images",
        "100.0 kB to 200.0 kB: 2 images", "200.0 kB to 500.0 kB: 0 images",
    ]  # fmt: skip


def test_without_data_only_the_funnel_is_drawn() -> None:
    figures = draw_figures(EMPTY, STAGES)
    assert list(figures.plots) == ["funnel"]
    assert figures.scale == []
    assert figures.list_inline() == {}
    assert list(figures.list_files()) == ["funnel"]


def test_one_class_has_no_long_tail() -> None:
    one_class = DatasetStatistics({}, {}, {}, {}, (), FULL.classes[:1], (), (), (), {}, (), 0)
    assert "long_tail" not in draw_figures(one_class, STAGES).plots
