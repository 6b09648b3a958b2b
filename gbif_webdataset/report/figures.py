"""Which plots are drawn of a dataset, with what they tell in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from gbif_webdataset.account.funnel import Step
from gbif_webdataset.formatting import format_size
from gbif_webdataset.report import svg as plots
from gbif_webdataset.report.facets import NONE, Bar, Breakdown
from gbif_webdataset.report.statistics import Overview

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
MOST_TICKS = 8
ALSO_FILES = {"long_tail": "long-tail", "world": "map", "years": "by-year", "funnel": "funnel"}


@dataclass(frozen=True)
class Drawings:
    """The plots by name, and what the map's shades stand for: (shade, images from which on)."""

    plots: dict[str, str]
    scale: list[tuple[int, int]]

    def inline(self) -> dict[str, str]:
        """Those for the page."""
        return {name: svg for name, svg in self.plots.items() if name != "funnel"}

    def figures(self) -> dict[str, str]:
        """Those that people may paste into a paper, by the names of their files."""
        return {file: plots.figure(self.plots[name]) for name, file in ALSO_FILES.items() if name in self.plots}


def draw(overview: Overview, steps: Sequence[Step]) -> Drawings:
    """All plots that the tables have something for."""
    drawn = {"funnel": _funnel(steps)}
    if len(overview.classes) > 1:
        drawn["long_tail"] = _long_tail(overview)
    if overview.cells:
        placed = sum(overview.cells.values())
        drawn["world"] = plots.world(
            overview.cells, f"World map: {placed:,} samples in {len(overview.cells):,} cells of equal area"
        )
    if found := _years(overview.by.get("year", Breakdown())):
        drawn["years"] = found
    if overview.by.get("month", Breakdown()).bars:
        drawn["months"] = _months(overview.by["month"])
    if overview.sizes:
        drawn["sizes"] = plots.sizes(overview.sizes, f"Samples by width and height, {sum(overview.sizes.values()):,}")
    if overview.weights:
        drawn["weights"] = _weights(overview.weights)
    return Drawings(drawn, plots.shades(max(overview.cells.values(), default=0)))


def _long_tail(overview: Overview) -> str:
    classes = [(one.name or one.label, one.samples) for one in overview.classes]
    most, middle, least = (classes[place][1] for place in (0, len(classes) // 2, -1))
    told = f"Samples of {len(classes):,} classes by rank, from {most:,} to {least:,}; the class in the middle has "
    return plots.long_tail(classes, f"{told}{middle:,}")


def _funnel(steps: Sequence[Step]) -> str:
    told = f"From {steps[0].before:,} media to {steps[-1].after:,} samples, stage by stage"
    return plots.funnel([(step.name, step.before, step.after) for step in steps], told)


def _years(by_year: Breakdown) -> str:
    if not by_year.bars:
        return ""
    found = {int(bar.value): bar for bar in by_year.bars}
    first, last = min(found), max(found)
    bars = [found.get(year, Bar(str(year), 0, 0)) for year in range(first, last + 1)]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if len(bars) <= step * MOST_TICKS)
    ticks = {year - first: str(year) for year in range(first, last + 1) if not year % step}
    return plots.columns(bars, ticks, "year", f"Images and samples by year, from {first} to {last}")


def _months(by_month: Breakdown) -> str:
    found = {int(bar.value): bar for bar in by_month.bars}
    bars = [(name, *found.get(month, NONE)[1:]) for month, name in enumerate(MONTHS, start=1)]
    most = MONTHS[max(found, key=lambda month: found[month].images) - 1]
    ticks = {place: name[:3] for place, name in enumerate(MONTHS)}
    return plots.columns(bars, ticks, "month", f"Images and samples by month, the most in {most}")


def _weights(weights: dict[int, int]) -> str:
    bounds = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
    first, last = bounds.index(min(weights)), bounds.index(max(weights))
    first, last = max(0, first - 1), last + 1
    bars = []
    for place in range(first, last + 1):
        images = weights.get(bounds[place], 0)
        bars.append((f"{format_size(bounds[place])} to {format_size(bounds[place + 1])}", images, images))
    ticks = {
        place: format_size(bounds[first + place]).replace(".0", "") for place in range(0, len(bars), 1 + len(bars) // 8)
    }
    return plots.columns(bars, ticks, "size of the file, from", "Samples by the size of their file")
