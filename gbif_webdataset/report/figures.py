"""The plots of a dataset, with their titles and their descriptions in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gbif_webdataset.account.funnel import FunnelStage
from gbif_webdataset.formatting import format_count, format_size
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.report import svg
from gbif_webdataset.report.facets import NO_IMAGES, Breakdown, ValueCount
from gbif_webdataset.report.plot import Plot
from gbif_webdataset.report.statistics import DatasetStatistics
from gbif_webdataset.report.svg import Columns
from gbif_webdataset.report.world_map import draw_map

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
MAX_TICKS = 7
MIN_CLASSES = 20  # of the plot of all classes; the table shows fewer classes better
INLINE = ("long-tail", "map", "by-year", "by-month", "image-sizes", "file-sizes")
"""The plots that the page shows as they are. The others are HTML there, because that fits on a phone."""
BARS = {"country": "by-country", "dataset": "by-dataset", "licence": "by-licence", "life stage": "by-life-stage",
        "host": "by-host"}  # fmt: skip
"""By facet, the file of its plot."""
TITLES = {"country": "Images by country (ISO 3166 code)"}
NO_VALUE = "no value"


def draw_figures(
    statistics: DatasetStatistics, stages: Sequence[FunnelStage], names: Mapping[str, Mapping[str, str]]
) -> dict[str, Plot]:
    """All plots for which there are data, by the name of their file. `names` of values are by facet and value."""
    plots = {"funnel": _draw_funnel(stages)}
    if len(statistics.classes) >= MIN_CLASSES:
        plots["long-tail"] = _draw_long_tail(statistics.classes)
    if statistics.cells:
        plots["map"] = _draw_places(statistics)
    breakdowns = statistics.breakdowns
    if (years := breakdowns.get("year", Breakdown())).values:
        plots["by-year"] = _draw_years(years)
    if (months := breakdowns.get("month", Breakdown())).values:
        plots["by-month"] = _draw_months(months)
    if statistics.dimensions:
        description = f"{format_count(sum(statistics.dimensions.values()), 'sample')} by width and height in pixels"
        title = "Samples by width and height of the image"
        plots["image-sizes"] = svg.draw_dimensions(statistics.dimensions, title, description)
    if statistics.file_sizes:
        plots["file-sizes"] = _draw_file_sizes(statistics.file_sizes)
    for facet, name in BARS.items():
        if (breakdown := breakdowns.get(facet, Breakdown())).images:
            rows = list(_list_bars(breakdown, names.get(facet, {})))
            description = f"Images by {facet}: {rows[0][0]} has most, {rows[0][1]:,} of {breakdown.images:,}"
            plots[name] = svg.draw_bars(rows, TITLES.get(facet, f"Images by {facet}"), description)
    return plots


def _draw_long_tail(classes: Sequence[ClassCounts]) -> Plot:
    samples = [one.total for one in classes]
    description = (
        f"Samples of {len(classes):,} classes by rank, from {samples[0]:,} to {samples[-1]:,}; "
        f"the class in the middle has {samples[len(samples) // 2]:,}"
    )
    named = [(one.name or one.label, one.total) for one in classes]
    return svg.draw_long_tail(named, "Samples of each class, largest class first", description)


def _draw_funnel(stages: Sequence[FunnelStage]) -> Plot:
    description = f"From {stages[0].before:,} media to {stages[-1].after:,} samples, stage by stage"
    rows = [(stage.name, stage.before, stage.after) for stage in stages]
    return svg.draw_funnel(rows, "Images before and after each stage", description)


def _draw_places(statistics: DatasetStatistics) -> Plot:
    area = "World map" if statistics.view.is_world else "Map with an inset of the world"
    samples, cells = sum(statistics.cells.values()), len(statistics.cells)
    description = f"{area}: {format_count(samples, 'sample')} in {format_count(cells, 'cell')} of equal area"
    return draw_map(statistics.cells, statistics.view, "Where the samples are from", description)


def _draw_years(breakdown: Breakdown) -> Plot:
    by_year = {int(count.value): count for count in breakdown.values}
    first, last = min(by_year), max(by_year)
    columns = [by_year.get(year, ValueCount(str(year), 0, 0)) for year in range(first, last + 1)]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if len(columns) <= step * MAX_TICKS)
    ticks = {year - first: str(year) for year in range(first, last + 1) if not year % step}
    period = str(first) if first == last else f"from {first} to {last}"
    plot = svg.draw_columns(
        Columns(columns, ticks, "year", "images"), "Images by year", f"Images and samples by year, {period}"
    )
    return replace(plot, note=_describe_missing(breakdown, "year"))


def _draw_months(breakdown: Breakdown) -> Plot:
    by_month = {int(count.value): count for count in breakdown.values}
    columns = [(name, *by_month.get(month, NO_IMAGES)[1:]) for month, name in enumerate(MONTHS, start=1)]
    peak = MONTHS[max(by_month, key=lambda month: by_month[month].images) - 1]
    ticks = {place: name[:3] for place, name in enumerate(MONTHS)}
    description = f"Images and samples by month, with a maximum in {peak}"
    plot = svg.draw_columns(Columns(columns, ticks, "month", "images"), "Images by month", description)
    return replace(plot, note=_describe_missing(breakdown, "month"))


def _describe_missing(breakdown: Breakdown, name: str) -> str:
    images = breakdown.missing.images
    return f"{format_count(images, 'image')} {'has' if images == 1 else 'have'} no {name}." if images else ""


def _draw_file_sizes(file_sizes: Mapping[int, int]) -> Plot:
    bounds = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
    first, last = max(0, bounds.index(min(file_sizes)) - 1), bounds.index(max(file_sizes)) + 1
    columns = []
    for place in range(first, last + 1):
        samples = file_sizes.get(bounds[place], 0)
        columns.append((f"{format_size(bounds[place])} to {format_size(bounds[place + 1])}", samples, samples))
    ticks = {
        place: format_size(bounds[first + place]).replace(".0", "")
        for place in range(0, len(columns), 1 + len(columns) // 6)
    }
    chart = Columns(columns, ticks, "size of the file, from (log scale)", "samples")
    return svg.draw_columns(chart, "Samples by size of the file", "Samples by the size of their file")


def _list_bars(breakdown: Breakdown, names: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    for count in breakdown.values:
        yield names.get(count.value, count.value), count.images, count.samples
    if breakdown.others.images:
        name = format_count(breakdown.other_values, "other value")
        yield name, breakdown.others.images, breakdown.others.samples
    if breakdown.missing.images:
        yield NO_VALUE, breakdown.missing.images, breakdown.missing.samples
