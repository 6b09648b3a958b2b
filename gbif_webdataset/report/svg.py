"""Plots as SVG, for the page, where its style sheet colours them, and as files of their own for a paper."""

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
MOST_POINTS = 240
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # no escape brings these into XML
SHORTEST = 0.75  # of what is not nothing, so that it is seen

# The page's colours in light; it says the same in its own style sheet, for light and for dark.
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


def figure(svg: str) -> str:
    """The plot as a file of its own, in the colours of paper, which all programs understand."""
    style = STYLE
    for name, colour in COLOURS.items():
        style = style.replace(f"var(--{name})", colour)
    head, body = svg.split(">", 1)
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{style}</style>{body}\n'


def long_tail(classes: Sequence[tuple[str, int]], told: str) -> str:
    """The samples of each class by its rank, both on logarithmic scales. `classes` are (name, samples), which fall."""
    classes = [(name, samples) for name, samples in classes if samples]
    most_x, most_y = max(2, len(classes)), max(2, classes[0][1] if classes else 2)
    x, y = _Log(most_x, LEFT, WIDTH - RIGHT), _Log(most_y, HEIGHT - BOTTOM, TOP)
    ranks = _ranks(len(classes))
    points = [(x(rank), y(classes[rank - 1][1])) for rank in ranks]
    parts = [*_log_grid(most_x, most_y, x, y)]
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
        parts.append(_hit(start, end - start, tip))
    parts.append(_below("rank of the class, the largest first"))
    return _svg(WIDTH, HEIGHT, parts, told)


def columns(bars: Sequence[tuple[str, int, int]], ticks: Mapping[int, str], below: str, told: str) -> str:
    """Columns side by side: (what one is, all images, samples among them). `ticks` name some, by their place."""
    most = max((images for _, images, _ in bars), default=0)
    top, step = _nice(most)
    high = HEIGHT - BOTTOM - TOP
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    parts = []
    for value in range(0, top + 1, step):
        y = HEIGHT - BOTTOM - high * value / top
        parts.append(f'<path class="{"grid" if value else "axis"}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{compact(value)}</text>')
    gap = 0 if wide < 3 else min(3.0, wide * 0.2)
    for place, (name, images, samples) in enumerate(bars):
        x, base = LEFT + place * wide, HEIGHT - BOTTOM
        kept, all_of_it = (max(SHORTEST, high * number / top) if number else 0 for number in (samples, images))
        shape = '<path class="{}" d="M{:.2f} {}h{:.2f}v-{:.2f}h-{:.2f}z"/>'
        drawn = shape.format("lost", x + gap / 2, base, wide - gap, all_of_it, wide - gap) if images > samples else ""
        drawn += shape.format("kept", x + gap / 2, base, wide - gap, kept, wide - gap) if samples else ""
        tip = f"{name}: {images:,} images" + (f", {samples:,} samples" if samples != images else "")
        parts.append(drawn + _hit(x, wide, tip))
        if place in ticks:
            parts.append(f'<text class="middle" x="{x + wide / 2:.1f}" y="{base + 14}">{escape(ticks[place])}</text>')
    parts.append(_below(below))
    return _svg(WIDTH, HEIGHT, parts, told)


def sizes(counts: Mapping[tuple[int, int], int], told: str) -> str:
    """Images by half octaves of their width and height in pixels: (17, 18) is from 362 and 512."""
    low, high = _span(counts)
    top = 2 * TOP  # its name stands above the axis
    side = (HEIGHT + 60 - top - BOTTOM) / max(1, high - low)
    base = top + side * (high - low)
    parts = []
    for octave in range(low, high + 1, 2):
        at, name = side * (octave - low), f"{round(2 ** (octave / 2)):,}"
        lines = f"M{LEFT + at:.1f} {top}V{base:.1f}M{LEFT} {base - at:.1f}h{base - top:.1f}"
        parts.append(f'<path class="grid" d="{lines}"/>')
        parts.append(f'<text class="middle" x="{LEFT + at:.1f}" y="{base + 14:.1f}">{name}</text>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{base - at + 3.5:.1f}">{name}</text>')
    most = max(counts.values(), default=1)
    for (width, height), images in sorted(counts.items()):
        x, y = LEFT + side * (width - low), base - side * (height - low + 1)
        tip = f"{_pixels(width)} wide, {_pixels(height)} high: {images:,} samples"
        square = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
        parts.append(f'<rect class="d{shade(images, most)}" {square} data-tip="{tip}"/>')
    parts.append(f'<text class="middle" x="{LEFT + (base - top) / 2:.1f}" y="{base + 29:.1f}">width, pixels</text>')
    parts.append(f'<text class="end" x="{LEFT - 6}" y="{TOP - 4}">height</text>')
    return _svg(round(LEFT + base - top + 24), round(base + BOTTOM), parts, told)


def world(cells: Mapping[Cell, int], told: str) -> str:
    """A map of the world with the images of each cell, by shade."""
    most = max(cells.values(), default=1)
    paths: dict[int, list[str]] = {}
    for cell, images in sorted(cells.items()):
        square = f"M{cell.column * CELL:g} {cell.row * CELL:g}h{CELL:g}v{CELL:g}h-{CELL:g}z"
        paths.setdefault(shade(images, most), []).append(square)
    sharp = 'shape-rendering="crispEdges"'  # no seams between cells
    parts = [
        f'<path class="land" d="{equal_earth.land()}"/>',
        f'<path class="grid" d="{equal_earth.graticule()}"/>',
        f'<path class="sea" d="{equal_earth.outline()}"/>',
        *(f'<path class="d{number}" {sharp} d="{"".join(squares)}"/>' for number, squares in sorted(paths.items())),
    ]
    return _svg(round(equal_earth.WIDTH), math.ceil(equal_earth.HEIGHT), parts, told)


def funnel(steps: Sequence[tuple[str, int, int]], told: str) -> str:
    """The stages one below the other: (what it is, images before, images after)."""
    wide, row = 520, 34
    most = max((before for _, before, _ in steps), default=0) or 1
    parts = []
    for place, (name, before, after) in enumerate(steps):
        y = 6 + place * row
        reach, kept = wide * before / most, wide * after / most
        parts.append(f'<text class="strong" x="0" y="{y + 9}">{escape(name)}</text>')
        parts.append(f'<text class="end" x="{wide}" y="{y + 9}">{before:,} → {after:,}</text>')
        parts.append(f'<rect class="lost" x="0" y="{y + 14}" width="{reach:.1f}" height="10"/>')
        parts.append(f'<rect class="kept" x="0" y="{y + 14}" width="{kept:.1f}" height="10"/>')
    return _svg(wide, 6 + row * len(steps), parts, told)


def shade(images: int, most: int) -> int:
    """Which of SHADES stands for a number of images from 1 to `most`, by its logarithm."""
    return 1 + min(SHADES - 1, int(SHADES * math.log(images) / math.log(most + 1)))


def shades(most: int) -> list[tuple[int, int]]:
    """(the shade, the least number of images that has it) of every shade that occurs up to `most`."""
    least: dict[int, int] = {}
    for number in range(SHADES):
        near = max(1, int((most + 1) ** (number / SHADES)) - 1)
        first = next((n for n in range(near, near + 4) if n <= most and shade(n, most) == number + 1), None)
        if first is not None:
            least[number + 1] = first
    return list(least.items())


def compact(number: int) -> str:
    """A number in few characters: 1200000 as 1.2M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:,.0f}{unit}" if number >= 999.5 * size else f"{number / size:.3g}{unit}"
    return str(number)


def _svg(width: float, height: float, parts: Sequence[str], told: str) -> str:
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(told)}">'
    return _FORBIDDEN.sub("", f"{head}{''.join(parts)}</svg>")


def _below(text: str) -> str:
    return f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">{escape(text)}</text>'


def _hit(x: float, width: float, tip: str) -> str:
    """What the pointer meets in a strip of the plot."""
    high = HEIGHT - BOTTOM - TOP
    return f'<rect class="bare" x="{x:.2f}" y="{TOP}" width="{width:.2f}" height="{high}" data-tip="{escape(tip)}"/>'


class _Log:
    """A logarithmic scale: 1 is at `start`, `most` at `end`."""

    def __init__(self, most: int, start: float, end: float) -> None:
        self._most, self._start, self._end = math.log(most), start, end

    def __call__(self, value: float) -> float:
        return self._start + (self._end - self._start) * math.log(value) / self._most


def _log_grid(most_x: int, most_y: int, x: _Log, y: _Log) -> Iterator[str]:
    for value in _powers(most_x):
        yield f'<path class="grid" d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield f'<text class="middle" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 14}">{compact(value)}</text>'
    for value in _powers(most_y):
        yield f'<path class="{"axis" if value == 1 else "grid"}" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="end" x="{LEFT - 6}" y="{y(value) + 3.5:.1f}">{compact(value)}</text>'


def _powers(most: int) -> list[int]:
    """Powers of ten up to `most`; below a thousand 2 and 5 of each as well."""
    found = [digit * 10**power for power in range(13) for digit in (1, 2, 5)]
    return [value for value in found if value <= most and (most < 1000 or str(value).startswith("1"))]


def _ranks(classes: int) -> list[int]:
    """Ranks from 1 to `classes`, at most MOST_POINTS or so, evenly on a logarithmic scale."""
    if classes <= MOST_POINTS:
        return list(range(1, classes + 1))
    return sorted({round(classes ** (place / MOST_POINTS)) for place in range(MOST_POINTS + 1)})


def _nice(most: int) -> tuple[int, int]:
    """(the end of an axis, the step of its ticks) for numbers up to `most`."""
    steps = (digit * 10**power for power in range(13) for digit in (1, 2, 5))
    step = next(step for step in steps if step * 4 >= most)
    return max(step, math.ceil(most / step) * step), step


def _span(counts: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """The even half octaves around all sides, at least two octaves apart."""
    every = [side for pair in counts for side in pair]
    low, high = min(every, default=16) // 2 * 2, (max(every, default=18) // 2 + 1) * 2
    return (low, high) if high - low >= 4 else (low - 2, high)


def _pixels(octave: int) -> str:
    least, most = math.ceil(2 ** (octave / 2)), math.ceil(2 ** ((octave + 1) / 2)) - 1
    return f"{least:,} to {most:,}"
