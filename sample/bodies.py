"""Bodies: the furred thorax with head and antennae, the ringed abdomen, caterpillars and eggs."""

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from sample.moths import Body
from sample.texture import Colour
from sample.wings import UNIT

SHAPE = (1.5, 1.1)
"""Width and height of a body's picture, in lengths of the forewing."""
CENTRE = (0.75, 0.52)
"""The middle of the thorax in that picture."""


def _shade(colour: Colour, by: float) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, round(part * by))) for part in colour)
    return red, green, blue


class _Sketch:
    """A transparent canvas at twice the size. Coordinates are lengths of the forewing from the middle of the thorax."""

    def __init__(self) -> None:
        self.scale = UNIT * 2
        size = (round(SHAPE[0] * self.scale), round(SHAPE[1] * self.scale))
        self.image = Image.new("RGBA", size)
        self.draw = ImageDraw.Draw(self.image)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (CENTRE[0] + x) * self.scale, (CENTRE[1] + y) * self.scale

    def line(
        self, start: tuple[float, float], stop: tuple[float, float], fill: tuple[int, int, int], width: float
    ) -> None:
        self.draw.line((*self.at(*start), *self.at(*stop)), fill=fill, width=max(1, round(width * self.scale)))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        self.draw.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=fill)

    def finish(self) -> Image.Image:
        return self.image.convert("RGBa").reduce(2).convert("RGBA")


@dataclass(frozen=True)
class _Fur:
    """Hairs over an ellipse, `height` of its middle above (negative) or below that of the thorax."""

    height: float
    radii: tuple[float, float]
    colour: Colour
    hairs: int
    length: float

    def draw(self, sketch: _Sketch, rng: Random) -> None:
        """Draw hairs that point outward and to the tail, with light from the upper left."""
        for i in range(self.hairs):
            radius, angle = (i / self.hairs) ** 0.5, rng.uniform(0, 2 * pi)
            radius = 1.0 - radius * 0.98
            x, y = self.radii[0] * radius * cos(angle), self.height + self.radii[1] * radius * sin(angle)
            light = 0.98 - 0.2 * radius * cos(angle - pi * 1.25 + pi) + rng.gauss(0, 0.09) - 0.1 * radius
            reach = self.length * rng.uniform(0.5, 1.1)
            stop = (x + reach * cos(angle) * 0.8, y + reach * (sin(angle) * 0.7 + 0.45))
            sketch.line((x, y), stop, _shade(self.colour, light), 0.0045)


def abdomen(body: Body, seed: int) -> Image.Image:
    """The tapering abdomen from above, with its rings."""
    rng, sketch = Random(seed), _Sketch()
    steps = 90
    for i in range(steps):
        k = i / steps
        half = body.girth * (0.92 + 0.16 * sin(k * pi)) * (1 - k**2.6) ** 0.6 + 0.006
        y = 0.02 + body.length * k
        ring = (k * 7) % 1 < 0.3 and k > 0.15
        for j in range(9):
            a, b = -1 + 2 * j / 9, -1 + 2 * (j + 1) / 9
            middle = (a + b) / 2
            colour = body.stripe if body.stripe and abs(middle) < 0.12 else body.rings if ring else body.abdomen
            light = (1.06 - 0.38 * middle**2 - 0.14 * middle) * (0.93 + 0.07 * sin(k * 44))
            sketch.line((half * a, y), (half * b, y), _shade(colour, light), 1.5 * body.length / steps)
        for side in (-1, 1):
            x = side * half * rng.uniform(0.7, 1)
            sketch.line((x, y), (x + side * 0.014, y + 0.025), _shade(body.abdomen, rng.uniform(0.65, 1.0)), 0.004)
    return sketch.finish()


def thorax(body: Body, seed: int) -> Image.Image:
    """The furred thorax with legs, antennae, head and eyes."""
    rng, sketch = Random(seed), _Sketch()
    wide = body.thorax
    dark = _shade(body.fur, 0.5)
    for side in (-1, 1):
        knee = (side * (wide + rng.uniform(0.05, 0.1)), -wide - rng.uniform(0.02, 0.08))
        sketch.line((side * wide * 0.5, -wide * 0.6), knee, dark, 0.013)
        sketch.line(knee, (knee[0] + side * 0.02, knee[1] - rng.uniform(0.06, 0.1)), dark, 0.009)
        _antenna(sketch, rng, side, body)
    head = -wide * 1.12
    sketch.ellipse(0, head, wide * 0.5, wide * 0.42, _shade(body.fur, 0.8))
    for side in (-1, 1):
        sketch.ellipse(side * wide * 0.44, head - wide * 0.06, wide * 0.16, wide * 0.18, (26, 20, 18))
        sketch.ellipse(side * wide * 0.46 - wide * 0.05, head - wide * 0.13, wide * 0.04, wide * 0.04, (170, 160, 150))
    _Fur(head, (wide * 0.42, wide * 0.34), body.fur, 260, 0.03).draw(sketch, rng)
    sketch.ellipse(0, 0.0, wide * 0.94, wide * 1.02, _shade(body.fur, 0.82))
    _Fur(0.0, (wide, wide * 1.05), body.fur, 1100, wide * 0.5).draw(sketch, rng)
    if body.stripe:
        for side in (-1, 1):
            for _ in range(60):
                y = rng.uniform(-wide * 0.9, wide * 0.7)
                x = side * wide * (0.42 + 0.1 * y / wide) + rng.gauss(0, 0.006)
                sketch.line((x, y), (x, y + 0.04), _shade(body.stripe, rng.uniform(0.85, 1.05)), 0.005)
    return sketch.finish()


def _antenna(sketch: _Sketch, rng: Random, side: int, body: Body) -> None:
    colour = _shade(body.fur, 0.62)
    reach, bend = rng.uniform(0.3, 0.4), rng.uniform(0.15, 0.4)
    if body.feathered > 0.06:
        reach *= 0.8
    points = []
    for i in range(25):
        k = i / 24
        forward = body.thorax * 1.35 + reach * 0.75 * k * (1 - 0.35 * k)
        points.append((side * (0.03 + reach * k * (0.75 + bend * k)), -forward))
    for i, (start, stop) in enumerate(pairwise(points)):
        sketch.line(start, stop, colour, 0.011 - 0.006 * i / 24)
        if body.feathered:
            comb = body.feathered * sin(pi * min(1.0, (i + 2) / 26)) ** 0.7
            for direction in (-1, 1):
                tip = (start[0] + (direction + 1) * side * comb * 0.35, start[1] - direction * comb * 0.6)
                sketch.line(start, tip, _shade(body.fur, 0.7), 0.0035)


def larva(species: str, seed: int) -> Image.Image:
    """A slightly bent caterpillar. Its colours and hairs depend on the species."""
    look, rng, sketch = Random(species), Random(seed), _Sketch()
    hairy = look.random() < 0.5
    colour: Colour = look.choice(((96, 132, 58), (70, 52, 40), (128, 104, 72), (150, 168, 80), (52, 44, 42)))
    band: Colour = look.choice(((222, 196, 90), (232, 226, 206), (206, 110, 50), (40, 34, 32)))
    bend, steps = rng.uniform(0.05, 0.16), 260
    for i in range(steps):
        k = i / steps
        x, y = -0.56 + 1.12 * k, bend * sin(k * pi * 1.5) + 0.01 * sin(k * 40)
        segment = abs(sin(k * pi * 12))
        half = 0.075 * (0.35 + 0.65 * min(1.0, 6 * k, 5 * (1 - k) + 0.3)) * (0.86 + 0.14 * segment**0.5)
        for j in range(13):
            across = -1 + 2 * (j + 0.5) / 13
            stripe = abs(abs(across) - 0.5) < 0.1 or abs(across) < 0.08
            light = (1.08 - 0.5 * across**2 - 0.22 * across) * (0.8 + 0.2 * segment**0.6) * rng.uniform(0.95, 1.05)
            top = y - half + 2 * half * (j + 0.5) / 13
            sketch.ellipse(x, top, 0.007, half / 11, _shade(band if stripe else colour, light))
    for k in (rng.random() for _ in range(900 if hairy else 60)):
        x, y = -0.56 + 1.12 * k, bend * sin(k * pi * 1.5) + rng.uniform(-0.06, 0.06)
        angle, reach = rng.uniform(0, 2 * pi), rng.uniform(0.04, 0.13 if hairy else 0.05)
        tip = (x + reach * cos(angle), y + reach * sin(angle))
        sketch.line((x, y), tip, _shade(colour, rng.uniform(0.4, 1.3)), 0.003)
    sketch.ellipse(0.575, bend * sin(1.5 * pi), 0.045, 0.05, _shade(colour, 0.45))
    return sketch.finish()


def eggs(species: str, seed: int) -> Image.Image:
    """A group of eggs side by side, each with a highlight."""
    look, rng, sketch = Random(species), Random(seed), _Sketch()
    colour: Colour = look.choice(((224, 226, 190), (206, 190, 150), (238, 232, 214)))
    spots = [(x, y) for x in np.arange(-0.35, 0.35, 0.062) for y in np.arange(-0.25, 0.25, 0.056)]
    for x, y in spots:
        if (x / 0.33) ** 2 + (y / 0.24) ** 2 + rng.gauss(0, 0.12) > 1:
            continue
        x, y = x + rng.gauss(0, 0.006) + 0.03 * (round(y / 0.056) % 2), y + rng.gauss(0, 0.006)
        tone = rng.uniform(0.9, 1.02)
        for k in range(6):
            size = 0.03 * (1 - k / 6)
            sketch.ellipse(x - 0.008 * k / 5, y - 0.009 * k / 5, size, size, _shade(colour, tone * (0.72 + 0.09 * k)))
    return sketch.finish()
