"""The plots; the classes of their shapes are those of the style sheet in plot.py."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from gbif_webdataset.formatting import format_count
from gbif_webdataset.report.plot import LETTER, Plot

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 36
SHADES = 6
MAX_POINTS = 240
MIN_HEIGHT = 0.75  # of a column that is not empty, so that it is visible
MAX_NAME_LETTERS = 34
SAMPLES_AND_OTHERS = (("kept", "samples"), ("lost", "images that are not samples"))


def draw_long_tail(classes: Sequence[tuple[str, int]], title: str, description: str) -> Plot:
    """Samples of each class by its rank, both on logarithmic scales. `classes` are (name, samples), largest first."""
    classes = [(name, samples) for name, samples in classes if samples]
    max_x, max_y = max(2, len(classes)), max(2, classes[0][1] if classes else 2)
    x, y = _LogScale(max_x, LEFT, WIDTH - RIGHT), _LogScale(max_y, HEIGHT - BOTTOM, TOP)
    ranks = _choose_ranks(len(classes))
    points = [(x(rank), y(classes[rank - 1][1])) for rank in ranks]
    parts = [*_draw_log_grid(max_x, max_y, x, y)]
    if points:
        curve = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        base = HEIGHT - BOTTOM
        parts.append(f'<path class="under" d="{curve}L{points[-1][0]:.1f} {base}L{points[0][0]:.1f} {base}Z"/>')
        parts.append(f'<path class="curve" d="{curve}"/>')
    if len(points) <= 40:
        parts += [f'<circle class="kept" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in points]
    edges = [LEFT, *((a + b) / 2 for (a, _), (b, _) in pairwise(points)), WIDTH - RIGHT]
    for rank, start, end in zip(ranks, edges, edges[1:], strict=False):
        tip = f"{rank:,}. {classes[rank - 1][0]}: {format_count(classes[rank - 1][1], 'sample')}"
        parts.append(_draw_hover_area(start, end - start, tip))
    parts += _draw_axis_titles("rank of the class by samples (log scale)", "samples (log scale)")
    return Plot(title, description, WIDTH, HEIGHT, parts)


@dataclass(frozen=True)
class Columns:
    """Columns side by side: (name, all images, samples among them).

    ticks: labels of the horizontal axis by place of a column.
    x_title, y_title: what the axes show, with units.
    """

    columns: Sequence[tuple[str, int, int]]
    ticks: Mapping[int, str]
    x_title: str
    y_title: str


def draw_columns(chart: Columns, title: str, description: str) -> Plot:
    """The columns; if some images are not samples, with a legend."""
    top, step = _choose_ticks(max((images for _, images, _ in chart.columns), default=0))
    base, plot_height = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    width = (WIDTH - LEFT - RIGHT) / max(1, len(chart.columns))
    parts = []
    for value in range(0, top + 1, step):
        y = base - plot_height * value / top
        parts.append(f'<path class="{"grid" if value else "axis"}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{format_compact(value)}</text>')
    gap = 0 if width < 3 else min(3.0, width * 0.2)
    for place, (name, images, samples) in enumerate(chart.columns):
        x = LEFT + place * width
        kept, total = (max(MIN_HEIGHT, plot_height * number / top) if number else 0 for number in (samples, images))
        shape = '<path class="{}" d="M{:.2f} {}h{:.2f}v-{:.2f}h-{:.2f}z"/>'
        drawn = shape.format("lost", x + gap / 2, base, width - gap, total, width - gap) if images > samples else ""
        drawn += shape.format("kept", x + gap / 2, base, width - gap, kept, width - gap) if samples else ""
        tip = f"{name}: {format_count(images, 'image')}"
        tip += f", {format_count(samples, 'sample')}" if samples != images else ""
        parts.append(drawn + _draw_hover_area(x, width, tip))
        if place in chart.ticks:
            label = escape(chart.ticks[place])
            parts.append(f'<text class="middle" x="{x + width / 2:.1f}" y="{base + 14}">{label}</text>')
    parts += _draw_axis_titles(chart.x_title, chart.y_title)
    has_others = any(images > samples for _, images, samples in chart.columns)
    return Plot(title, description, WIDTH, HEIGHT, parts, SAMPLES_AND_OTHERS if has_others else ())


def draw_bars(rows: Sequence[tuple[str, int, int]], title: str, description: str) -> Plot:
    """Bars below each other: (name, all images, samples among them)."""
    names = [name if len(name) <= MAX_NAME_LETTERS else f"{name[: MAX_NAME_LETTERS - 1]}…" for name, *_ in rows]
    counts = [f"{samples:,} of {images:,}" if samples != images else f"{images:,}" for _, images, samples in rows]
    left = 8 + LETTER * max(map(len, names), default=0)
    right = 8 + LETTER * max(map(len, counts), default=0)
    row, width, base = 17, max(120.0, WIDTH - left - right), 17 * len(rows) + 4
    top, step = _choose_ticks(max((images for _, images, _ in rows), default=0))
    parts = []
    for value in range(0, top + 1, step):
        x = left + width * value / top
        parts.append(f'<path class="{"grid" if value else "axis"}" d="M{x:.1f} 0V{base}"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{base + 14}">{format_compact(value)}</text>')
    for place, (name, count, (_, images, samples)) in enumerate(zip(names, counts, rows, strict=True)):
        y = row * place + 4
        parts.append(f'<text class="end" x="{left - 6:.1f}" y="{y + 9}">{escape(name)}</text>')
        for kind, number in (("lost", images if images > samples else 0), ("kept", samples)):
            length = max(MIN_HEIGHT, width * number / top) if number else 0
            parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{length:.1f}" height="11"/>')
        parts.append(f'<text x="{left + width * images / top + 5:.1f}" y="{y + 9}" class="halo">{count}</text>')
    parts.append(f'<text class="middle" x="{left + width / 2:.1f}" y="{base + 30}">images</text>')
    has_others = any(images > samples for _, images, samples in rows)
    legend = SAMPLES_AND_OTHERS if has_others else ()
    return Plot(title, description, round(left + width + right), base + 34, parts, legend)


def draw_dimensions(counts: Mapping[tuple[int, int], int], title: str, description: str) -> Plot:
    """Images by half octaves of their width and height in pixels: (17, 18) starts at 362 and 512."""
    low, high = _find_range(counts)
    side = (HEIGHT - TOP - BOTTOM) / max(1, high - low)
    left = (WIDTH + LEFT - RIGHT - side * (high - low)) / 2
    base, right = TOP + side * (high - low), left + side * (high - low)
    parts = []
    for octave in range(low, high + 1, 2):
        at, name = side * (octave - low), f"{round(2 ** (octave / 2)):,}"
        lines = f"M{left + at:.1f} {TOP}V{base:.1f}M{left:.1f} {base - at:.1f}H{right:.1f}"
        parts.append(f'<path class="grid" d="{lines}"/>')
        parts.append(f'<text class="middle" x="{left + at:.1f}" y="{base + 14:.1f}">{name}</text>')
        parts.append(f'<text class="end" x="{left - 6:.1f}" y="{base - at + 3.5:.1f}">{name}</text>')
    maximum = max(counts.values(), default=1)
    for (width, height), images in sorted(counts.items()):
        x, y = left + side * (width - low), base - side * (height - low + 1)
        tip = f"{_format_pixels(width)} wide, {_format_pixels(height)} high: {format_count(images, 'sample')}"
        square = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
        parts.append(f'<rect class="d{find_shade(images, maximum)}" {square} data-tip="{tip}"/>')
    parts.append(f'<text class="middle" x="{(left + right) / 2:.1f}" y="{HEIGHT - 4}">width, pixels (log scale)</text>')
    parts.append(_draw_turned(left - 42, (TOP + base) / 2, "height, pixels (log scale)"))
    legend = describe_shades(max(counts.values(), default=0))
    return Plot(title, description, WIDTH, HEIGHT, parts, legend, "The legend gives the number of samples in a square.")


def draw_funnel(stages: Sequence[tuple[str, int, int]], title: str, description: str) -> Plot:
    """The stages one below the other: (name, images before, images after)."""
    width, row = 520, 34
    maximum = max((before for _, before, _ in stages), default=0) or 1
    parts = []
    for place, (name, before, after) in enumerate(stages):
        y = 6 + place * row
        reached, kept = width * before / maximum, width * after / maximum
        parts.append(f'<text class="strong" x="0" y="{y + 9}">{escape(name)}</text>')
        parts.append(f'<text class="end" x="{width}" y="{y + 9}">{before:,} → {after:,} images</text>')
        parts.append(f'<rect class="lost" x="0" y="{y + 14}" width="{reached:.1f}" height="10"/>')
        parts.append(f'<rect class="kept" x="0" y="{y + 14}" width="{kept:.1f}" height="10"/>')
    legend = (("kept", "images that the stage kept"), ("lost", "images that it dropped"))
    return Plot(title, description, width, 6 + row * len(stages), parts, legend)


def describe_shades(maximum: int) -> list[tuple[str, str]]:
    """The legend of the shades of numbers up to `maximum`: (class, range of numbers)."""
    shades = list_shades(maximum)
    ends = [following - 1 for _, following in shades[1:]]
    legend = []
    for (shade, first), last in zip(shades, [*ends, maximum], strict=False):
        legend.append((f"d{shade}", f"{first:,}" if first == last else f"{first:,} to {last:,}"))
    return legend


def find_shade(images: int, maximum: int) -> int:
    """The shade, from 1 to SHADES, of a number of images from 1 to `maximum`, by its logarithm."""
    return 1 + min(SHADES - 1, int(SHADES * math.log(images) / math.log(maximum + 1)))


def list_shades(maximum: int) -> list[tuple[int, int]]:
    """(shade, smallest number of images with this shade), for all shades of numbers up to `maximum`."""
    smallest: dict[int, int] = {}
    for number in range(SHADES):
        near = max(1, int((maximum + 1) ** (number / SHADES)) - 1)
        candidates = (n for n in range(near, near + 4) if n <= maximum and find_shade(n, maximum) == number + 1)
        first = next(candidates, None)
        if first is not None:
            smallest[number + 1] = first
    return list(smallest.items())


def format_compact(number: int) -> str:
    """A number in few characters: 1200000 as 1.2M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:,.0f}{unit}" if number >= 999.5 * size else f"{number / size:.3g}{unit}"
    return str(number)


def _draw_axis_titles(x_title: str, y_title: str) -> list[str]:
    below = f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">{escape(x_title)}</text>'
    return [below, _draw_turned(11, (TOP + HEIGHT - BOTTOM) / 2, y_title)]


def _draw_turned(x: float, y: float, text: str) -> str:
    """A text that reads upwards, with its middle at (x, y)."""
    return f'<text class="middle" transform="translate({x:.1f} {y:.1f}) rotate(-90)">{escape(text)}</text>'


def _draw_hover_area(x: float, width: float, tip: str) -> str:
    """A vertical strip of the plot that shows `tip` when the pointer is on it."""
    height = HEIGHT - BOTTOM - TOP
    return f'<rect class="bare" x="{x:.2f}" y="{TOP}" width="{width:.2f}" height="{height}" data-tip="{escape(tip)}"/>'


class _LogScale:
    """A logarithmic scale: 1 is at `start`, `maximum` at `end`."""

    def __init__(self, maximum: int, start: float, end: float) -> None:
        self._maximum, self._start, self._end = math.log(maximum), start, end

    def __call__(self, value: float) -> float:
        return self._start + (self._end - self._start) * math.log(value) / self._maximum


def _draw_log_grid(max_x: int, max_y: int, x: _LogScale, y: _LogScale) -> Iterator[str]:
    for value in _list_log_ticks(max_x):
        yield f'<path class="grid" d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield f'<text class="middle" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 14}">{format_compact(value)}</text>'
    for value in _list_log_ticks(max_y):
        yield f'<path class="{"axis" if value == 1 else "grid"}" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="end" x="{LEFT - 6}" y="{y(value) + 3.5:.1f}">{format_compact(value)}</text>'


def _list_log_ticks(maximum: int) -> list[int]:
    """Powers of ten up to `maximum`; if it is below 1000, also 2 and 5 times these."""
    values = [digit * 10**power for power in range(13) for digit in (1, 2, 5)]
    return [value for value in values if value <= maximum and (maximum < 1000 or str(value).startswith("1"))]


def _choose_ranks(classes: int) -> list[int]:
    """About MAX_POINTS ranks from 1 to `classes` at most, evenly spaced on a logarithmic scale."""
    if classes <= MAX_POINTS:
        return list(range(1, classes + 1))
    return sorted({round(classes ** (place / MAX_POINTS)) for place in range(MAX_POINTS + 1)})


def _choose_ticks(maximum: int) -> tuple[int, int]:
    """(the end of the axis, the step of its ticks) for numbers up to `maximum`."""
    steps = (digit * 10**power for power in range(13) for digit in (1, 2, 5))
    step = next(step for step in steps if step * 4 >= maximum)
    return max(step, math.ceil(maximum / step) * step), step


def _find_range(counts: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """Even numbers of half octaves around all sides, at least two octaves apart."""
    sides = [side for pair in counts for side in pair]
    low, high = min(sides, default=16) // 2 * 2, (max(sides, default=18) // 2 + 1) * 2
    return (low, high) if high - low >= 4 else (low - 2, high)


def _format_pixels(octave: int) -> str:
    first, last = math.ceil(2 ** (octave / 2)), math.ceil(2 ** ((octave + 1) / 2)) - 1
    return f"{first:,} to {last:,}"
