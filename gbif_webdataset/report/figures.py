"""The plots of a dataset, with their descriptions in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gbif_webdataset.account.funnel import FunnelStage
from gbif_webdataset.formatting import format_size
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.report import svg
from gbif_webdataset.report.facets import NO_IMAGES, Breakdown, ValueCount
from gbif_webdataset.report.statistics import DatasetStatistics

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
MAX_TICKS = 8
FILES = {"long_tail": "long-tail", "world": "map", "years": "by-year", "funnel": "funnel"}
"""The plots that are files as well, and the names of these files."""


@dataclass(frozen=True)
class Figures:
    """The plots by name, and the scale of the map: (shade, smallest number of samples with this shade)."""

    plots: dict[str, str]
    scale: list[tuple[int, int]]

    def list_inline(self) -> dict[str, str]:
        """The plots in the page; the page draws the funnel with HTML."""
        return {name: plot for name, plot in self.plots.items() if name != "funnel"}

    def list_files(self) -> dict[str, str]:
        """The plots that are files, for use in a paper, by file name."""
        return {file: svg.make_standalone(self.plots[name]) for name, file in FILES.items() if name in self.plots}


def draw_figures(statistics: DatasetStatistics, stages: Sequence[FunnelStage]) -> Figures:
    """All plots for which there are data."""
    plots = {"funnel": _draw_funnel(stages)}
    if len(statistics.classes) > 1:
        plots["long_tail"] = _draw_long_tail(statistics.classes)
    if statistics.cells:
        samples = sum(statistics.cells.values())
        description = f"World map: {samples:,} samples in {len(statistics.cells):,} cells of equal area"
        plots["world"] = svg.draw_world_map(statistics.cells, description)
    if (years := statistics.breakdowns.get("year", Breakdown())).values:
        plots["years"] = _draw_years(years)
    if (months := statistics.breakdowns.get("month", Breakdown())).values:
        plots["months"] = _draw_months(months)
    if statistics.dimensions:
        samples = sum(statistics.dimensions.values())
        plots["dimensions"] = svg.draw_dimensions(statistics.dimensions, f"{samples:,} samples by width and height")
    if statistics.file_sizes:
        plots["file_sizes"] = _draw_file_sizes(statistics.file_sizes)
    return Figures(plots, svg.list_shades(max(statistics.cells.values(), default=0)))


def _draw_long_tail(classes: Sequence[ClassCounts]) -> str:
    samples = [one.total for one in classes]
    description = (
        f"Samples of {len(classes):,} classes by rank, from {samples[0]:,} to {samples[-1]:,}; "
        f"the class in the middle has {samples[len(samples) // 2]:,}"
    )
    return svg.draw_long_tail([(one.name or one.label, one.total) for one in classes], description)


def _draw_funnel(stages: Sequence[FunnelStage]) -> str:
    description = f"From {stages[0].before:,} media to {stages[-1].after:,} samples, stage by stage"
    return svg.draw_funnel([(stage.name, stage.before, stage.after) for stage in stages], description)


def _draw_years(breakdown: Breakdown) -> str:
    by_year = {int(count.value): count for count in breakdown.values}
    first, last = min(by_year), max(by_year)
    columns = [by_year.get(year, ValueCount(str(year), 0, 0)) for year in range(first, last + 1)]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if len(columns) <= step * MAX_TICKS)
    ticks = {year - first: str(year) for year in range(first, last + 1) if not year % step}
    return svg.draw_columns(columns, ticks, "year", f"Images and samples by year, from {first} to {last}")


def _draw_months(breakdown: Breakdown) -> str:
    by_month = {int(count.value): count for count in breakdown.values}
    columns = [(name, *by_month.get(month, NO_IMAGES)[1:]) for month, name in enumerate(MONTHS, start=1)]
    peak = MONTHS[max(by_month, key=lambda month: by_month[month].images) - 1]
    ticks = {place: name[:3] for place, name in enumerate(MONTHS)}
    return svg.draw_columns(columns, ticks, "month", f"Images and samples by month, with a maximum in {peak}")


def _draw_file_sizes(file_sizes: Mapping[int, int]) -> str:
    bounds = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
    first, last = max(0, bounds.index(min(file_sizes)) - 1), bounds.index(max(file_sizes)) + 1
    columns = []
    for place in range(first, last + 1):
        samples = file_sizes.get(bounds[place], 0)
        columns.append((f"{format_size(bounds[place])} to {format_size(bounds[place + 1])}", samples, samples))
    ticks = {
        place: format_size(bounds[first + place]).replace(".0", "")
        for place in range(0, len(columns), 1 + len(columns) // 8)
    }
    return svg.draw_columns(columns, ticks, "size of the file, from", "Samples by the size of their file")
