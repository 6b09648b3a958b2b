"""Plots as SVG, for the page and its style sheet, and as standalone files for a paper."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise

from gbif_webdataset.report import equal_earth
from gbif_webdataset.report.equal_earth import CELL, Cell

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 42, 14, 14, 34
SHADES = 6
MAX_POINTS = 240
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not allowed in XML, even escaped
MIN_HEIGHT = 0.75  # of a column that is not empty, so that it is visible

# The light colours of the page. report.css has them as well, and the dark ones.
COLOURS = {
    "ink": "#1f2a24", "soft": "#64736a", "line": "#dfe5e0", "paper": "#fbfbf8", "kept": "#2f7d5b", "lost": "#c9793b",
    "land": "#e9ece6", "d1": "#a5cfb6", "d2": "#72b390", "d3": "#43946d", "d4": "#22754f", "d5": "#0e5537",
    "d6": "#063620",
}  # fmt: skip
STYLE = """
.plot { font: 11px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.plot text { fill: var(--soft); } .plot .strong { fill: var(--ink); }
.plot .middle { text-anchor: middle; } .plot .end { text-anchor: end; }
.plot .grid { stroke: var(--line); fill: none; } .plot .axis { stroke: var(--soft); fill: none; }
.plot .kept { fill: var(--kept); } .plot .lost { fill: var(--lost); } .plot .bare { fill: none; pointer-events: all; }
.plot .curve { stroke: var(--kept); stroke-width: 2; fill: none; stroke-linejoin: round; }
.plot .under { fill: var(--kept); opacity: .14; } .plot .sea { fill: none; stroke: var(--line); }
.plot .land { fill: var(--land); }
.plot .d1 { fill: var(--d1); } .plot .d2 { fill: var(--d2); } .plot .d3 { fill: var(--d3); }
.plot .d4 { fill: var(--d4); } .plot .d5 { fill: var(--d5); } .plot .d6 { fill: var(--d6); }
"""


def make_standalone(svg: str) -> str:
    """The plot as a standalone file in light colours, without CSS variables, which not all programs understand."""
    style = STYLE
    for name, colour in COLOURS.items():
        style = style.replace(f"var(--{name})", colour)
    head, body = svg.split(">", 1)
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{style}</style>{body}\n'


def draw_long_tail(classes: Sequence[tuple[str, int]], description: str) -> str:
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
        tip = f"{rank:,}. {classes[rank - 1][0]}: {classes[rank - 1][1]:,} samples"
        parts.append(_draw_hover_area(start, end - start, tip))
    parts.append(_draw_axis_title("rank of the class"))
    return _wrap(WIDTH, HEIGHT, parts, description)


def draw_columns(
    columns: Sequence[tuple[str, int, int]], ticks: Mapping[int, str], axis_title: str, description: str
) -> str:
    """Columns side by side: (name, all images, samples among them). `ticks` are axis labels by place of a column."""
    top, step = _choose_ticks(max((images for _, images, _ in columns), default=0))
    base, plot_height = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    width = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    parts = []
    for value in range(0, top + 1, step):
        y = base - plot_height * value / top
        parts.append(f'<path class="{"grid" if value else "axis"}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{format_compact(value)}</text>')
    gap = 0 if width < 3 else min(3.0, width * 0.2)
    for place, (name, images, samples) in enumerate(columns):
        x = LEFT + place * width
        kept, total = (max(MIN_HEIGHT, plot_height * number / top) if number else 0 for number in (samples, images))
        shape = '<path class="{}" d="M{:.2f} {}h{:.2f}v-{:.2f}h-{:.2f}z"/>'
        drawn = shape.format("lost", x + gap / 2, base, width - gap, total, width - gap) if images > samples else ""
        drawn += shape.format("kept", x + gap / 2, base, width - gap, kept, width - gap) if samples else ""
        tip = f"{name}: {images:,} images" + (f", {samples:,} samples" if samples != images else "")
        parts.append(drawn + _draw_hover_area(x, width, tip))
        if place in ticks:
            parts.append(f'<text class="middle" x="{x + width / 2:.1f}" y="{base + 14}">{escape(ticks[place])}</text>')
    parts.append(_draw_axis_title(axis_title))
    return _wrap(WIDTH, HEIGHT, parts, description)


def draw_dimensions(counts: Mapping[tuple[int, int], int], description: str) -> str:
    """Images by half octaves of their width and height in pixels: (17, 18) starts at 362 and 512."""
    low, high = _find_range(counts)
    top = 2 * TOP  # the title is above the axis
    side = (HEIGHT + 60 - top - BOTTOM) / max(1, high - low)
    base = top + side * (high - low)
    parts = []
    for octave in range(low, high + 1, 2):
        at, name = side * (octave - low), f"{round(2 ** (octave / 2)):,}"
        lines = f"M{LEFT + at:.1f} {top}V{base:.1f}M{LEFT} {base - at:.1f}h{base - top:.1f}"
        parts.append(f'<path class="grid" d="{lines}"/>')
        parts.append(f'<text class="middle" x="{LEFT + at:.1f}" y="{base + 14:.1f}">{name}</text>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{base - at + 3.5:.1f}">{name}</text>')
    maximum = max(counts.values(), default=1)
    for (width, height), images in sorted(counts.items()):
        x, y = LEFT + side * (width - low), base - side * (height - low + 1)
        tip = f"{_format_pixels(width)} wide, {_format_pixels(height)} high: {images:,} samples"
        square = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
        parts.append(f'<rect class="d{find_shade(images, maximum)}" {square} data-tip="{tip}"/>')
    parts.append(f'<text class="middle" x="{LEFT + (base - top) / 2:.1f}" y="{base + 29:.1f}">width, pixels</text>')
    parts.append(f'<text class="end" x="{LEFT - 6}" y="{TOP - 4}">height</text>')
    return _wrap(round(LEFT + base - top + 24), round(base + BOTTOM), parts, description)


def draw_world_map(cells: Mapping[Cell, int], description: str) -> str:
    """A map of the world; the shade of each cell is its number of images."""
    maximum = max(cells.values(), default=1)
    paths: dict[int, list[str]] = {}
    for cell, images in sorted(cells.items()):
        square = f"M{cell.column * CELL:g} {cell.row * CELL:g}h{CELL:g}v{CELL:g}h-{CELL:g}z"
        paths.setdefault(find_shade(images, maximum), []).append(square)
    sharp = 'shape-rendering="crispEdges"'  # no seams between cells
    parts = [
        f'<path class="land" d="{equal_earth.draw_land()}"/>',
        f'<path class="grid" d="{equal_earth.draw_graticule()}"/>',
        f'<path class="sea" d="{equal_earth.draw_outline()}"/>',
        *(f'<path class="d{number}" {sharp} d="{"".join(squares)}"/>' for number, squares in sorted(paths.items())),
    ]
    return _wrap(round(equal_earth.WIDTH), math.ceil(equal_earth.HEIGHT), parts, description)


def draw_funnel(stages: Sequence[tuple[str, int, int]], description: str) -> str:
    """The stages one below the other: (name, images before, images after)."""
    width, row = 520, 34
    maximum = max((before for _, before, _ in stages), default=0) or 1
    parts = []
    for place, (name, before, after) in enumerate(stages):
        y = 6 + place * row
        reached, kept = width * before / maximum, width * after / maximum
        parts.append(f'<text class="strong" x="0" y="{y + 9}">{escape(name)}</text>')
        parts.append(f'<text class="end" x="{width}" y="{y + 9}">{before:,} → {after:,}</text>')
        parts.append(f'<rect class="lost" x="0" y="{y + 14}" width="{reached:.1f}" height="10"/>')
        parts.append(f'<rect class="kept" x="0" y="{y + 14}" width="{kept:.1f}" height="10"/>')
    return _wrap(width, 6 + row * len(stages), parts, description)


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


def _wrap(width: float, height: float, parts: Sequence[str], description: str) -> str:
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">'
    return _FORBIDDEN.sub("", f"{head}{''.join(parts)}</svg>")


def _draw_axis_title(text: str) -> str:
    return f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">{escape(text)}</text>'


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
