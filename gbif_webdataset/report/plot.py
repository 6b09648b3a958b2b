"""A plot as part of the page, and as a file for a paper."""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import resvg_py

UNIT = 0.25  # millimetres on paper: a plot of 440 units is 110 mm wide, its text has 8 points
DPI = 300
FONTS = sorted((Path(__file__).parent / "fonts").glob("*.ttf"))  # because machines of a cluster often have no fonts
LETTER = 6.1  # average width of a letter, in SVG units
LINE, MARGIN = 16, 14
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not allowed in XML, even escaped

# Blue and orange of Okabe and Ito (2008), Color Universal Design; d1 to d6 get darker, so they are also clear in grey.
# These are the light colours of the page. report.css has them as well, and the dark ones.
COLOURS = {
    "ink": "#1c242b", "soft": "#56636e", "line": "#dde2e6", "panel": "#ffffff", "kept": "#0072b2", "lost": "#e69f00",
    "land": "#ebebe6", "d1": "#a6cee3", "d2": "#6baed6", "d3": "#4292c6", "d4": "#2171b5", "d5": "#08519c",
    "d6": "#08254f",
}  # fmt: skip
STYLE = """
.plot { font: 11px "DejaVu Sans", Verdana, Arial, sans-serif; }
.plot text { fill: var(--soft); } .plot .strong { fill: var(--ink); font-weight: bold; }
.plot .middle { text-anchor: middle; } .plot .end { text-anchor: end; }
.plot .halo { stroke: var(--panel); stroke-width: 3px; paint-order: stroke; stroke-linejoin: round; }
.plot .grid { stroke: var(--line); fill: none; } .plot .axis { stroke: var(--soft); fill: none; }
.plot .kept { fill: var(--kept); } .plot .lost { fill: var(--lost); } .plot .bare { fill: none; pointer-events: all; }
.plot .curve { stroke: var(--kept); stroke-width: 2; fill: none; stroke-linejoin: round; }
.plot .under { fill: var(--kept); opacity: .14; } .plot .sea { fill: none; stroke: var(--soft); stroke-width: .5; }
.plot .land { fill: var(--land); stroke: #b9bdb5; stroke-width: .4; } .plot .inset { fill: var(--panel); }
.plot .frame { fill: none; stroke: var(--lost); stroke-width: 2; }
.plot .d1 { fill: var(--d1); } .plot .d2 { fill: var(--d2); } .plot .d3 { fill: var(--d3); }
.plot .d4 { fill: var(--d4); } .plot .d5 { fill: var(--d5); } .plot .d6 { fill: var(--d6); }
"""
# Hatched, so that dropped images differ from kept ones on a print in grey.
HATCH = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="#e69f00"/><rect width="1.6" height="5" fill="#7a4b00"/></pattern></defs>'
)


@dataclass(frozen=True)
class Plot:
    """Shapes on an area of `width` x `height` SVG units.

    Attributes:
        title: for readers; `description` is the text for those who do not see the plot.
        parts: elements of SVG; their classes are those of STYLE.
        legend: (class, meaning) of each kind of shape.
        note: a sentence on how to read the plot.
    """

    title: str
    description: str
    width: float
    height: float
    parts: Sequence[str]
    legend: Sequence[tuple[str, str]] = ()
    note: str = ""

    def draw_inline(self) -> str:
        """The shapes as SVG for the page, which shows title, legend and note as text."""
        head = f'<svg class="plot" viewBox="0 0 {self.width:g} {self.height:g}" role="img"'
        return _FORBIDDEN.sub("", f'{head} aria-label="{escape(self.description)}">{"".join(self.parts)}</svg>')

    def draw_file(self) -> str:
        """The plot with title, legend and note, as an SVG file in light colours.

        It has no CSS variables, because not all programs understand them.
        """
        style = STYLE.replace("fill: var(--lost)", "fill: url(#hatch)")
        for name, colour in COLOURS.items():
            style = style.replace(f"var(--{name})", colour)
        top = MARGIN + 1.5 * LINE
        below = list(self._draw_legend(top + self.height + LINE))
        width = self.width + 2 * MARGIN
        height = top + self.height + LINE * (1 + self._count_lines()) + MARGIN / 2
        size = f'width="{width * UNIT:.2f}mm" height="{height * UNIT:.2f}mm" viewBox="0 0 {width:g} {height:g}"'
        body = (
            f'<svg x="{MARGIN}" y="{top:g}" width="{self.width:g}" height="{self.height:g}">{"".join(self.parts)}</svg>'
        )
        title = (
            f'<text class="strong" style="font-size: 13px" x="{MARGIN}" y="{MARGIN + 9}">{escape(self.title)}</text>'
        )
        label = f'role="img" aria-label="{escape(self.description)}"'
        return _FORBIDDEN.sub(
            "",
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" {size} {label}>'
            f"<style>{style}</style>{HATCH}"
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>{title}{body}{"".join(below)}</svg>\n',
        )

    def draw_png(self) -> bytes:
        """The file of `draw_file` as a PNG with DPI pixels per inch."""
        fonts = [str(path) for path in FONTS]
        return _state_resolution(resvg_py.svg_to_bytes(svg_string=self.draw_file(), dpi=DPI, font_files=fonts))

    def _draw_legend(self, y: float) -> Iterator[str]:
        for line, row in enumerate(self._arrange_legend()):
            at = y + line * LINE
            for x, (kind, meaning) in row:
                yield f'<rect class="{kind}" x="{x:.1f}" y="{at - 9:.1f}" width="10" height="10"/>'
                yield f'<text x="{x + 15:.1f}" y="{at:.1f}">{escape(meaning)}</text>'
        if self.note:
            at = y + (self._count_lines() - 1) * LINE
            yield f'<text x="{MARGIN}" y="{at:.1f}">{escape(self.note)}</text>'

    def _arrange_legend(self) -> list[list[tuple[float, tuple[str, str]]]]:
        """The entries of the legend with their x, line by line."""
        lines: list[list[tuple[float, tuple[str, str]]]] = []
        x = self.width + 1
        for entry in self.legend:
            length = 15 + LETTER * len(entry[1]) + 14
            if not lines or x + length > self.width + MARGIN:
                lines.append([])
                x = MARGIN
            lines[-1].append((x, entry))
            x += length
        return lines

    def _count_lines(self) -> int:
        return len(self._arrange_legend()) + bool(self.note)


def _state_resolution(png: bytes) -> bytes:
    """The PNG with its resolution, which programs use to lay out a page, after its header."""
    per_metre = round(DPI / 0.0254)
    content = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    end = 8 + 4 + 4 + 13 + 4  # signature, and length, name, content and CRC of IHDR
    return (
        png[:end] + struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content)) + png[end:]
    )
