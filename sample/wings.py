"""A flat wing: its outline, coordinates that follow its shape, and the brushes that paint patterns on it.

It is a right wing with its root at (0, 0), x outward, y towards the tail; the forewing has a length of about 1. `s`
goes from 0 at the root to 1 at the outer margin, `t` from 0 at the front edge to 1 at the hind edge. The cross lines of
real moths follow lines of equal `s`, their veins lines of equal `t`.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from sample.texture import Colour, Field, noise, rgb, smooth

UNIT = 250
"""Pixels of a length of 1, at full size."""
Point = tuple[float, float]
Window = tuple[slice, slice]
EVERYWHERE: Window = (slice(None), slice(None))


def curve(points: Sequence[Point], steps: int = 10) -> Field:
    """A closed Catmull-Rom curve through the points: n x 2."""
    p = np.asarray(points, np.float32)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    k = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    q0, q1, q2, q3 = (a[:, None, :] for a in (before, p, after, beyond))
    out = 0.5 * (2 * q1 + (q2 - q0) * k + (2 * q0 - 5 * q1 + 4 * q2 - q3) * k**2 + (3 * q1 - q0 - 3 * q2 + q3) * k**3)
    return np.asarray(out.reshape(-1, 2), np.float32)


def _coordinates(edge: Field, x: Field, y: Field) -> tuple[Field, Field]:
    """s and t of each pixel of a wing with this edge."""
    x0, y0 = -0.06, 0.01
    angle = np.arctan2(edge[:, 1] - y0, edge[:, 0] - x0)
    reach = np.hypot(edge[:, 0] - x0, edge[:, 1] - y0)
    far = reach > 0.35 * reach.max()
    low, high = float(angle[far].min()), float(angle[far].max())
    bins = np.linspace(low, high, 90)
    radius = np.array([reach[np.abs(angle - b) < 0.04].max(initial=0.3) for b in bins])
    here = np.arctan2(y - y0, x - x0)
    s = np.hypot(x - x0, y - y0) / np.interp(here, bins, radius)
    return np.asarray(s, np.float32), np.asarray(np.clip((here - low) / (high - low), 0, 1), np.float32)


class Wing:
    """A canvas in the shape of a wing. Colours and coordinates are arrays over its pixels."""

    def __init__(self, outline: Sequence[Point], seed: Sequence[int], scallop: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        edge = curve(outline)
        if scallop:
            reach = np.hypot(edge[:, 0], edge[:, 1])
            along = np.arctan2(edge[:, 1], edge[:, 0])
            wave = 1 + scallop * np.abs(np.sin(along * 11)) * smooth(reach / reach.max(), 0.55, 0.8)
            edge = np.asarray(edge * wave[:, None], np.float32)
        self.origin = edge.min(0) - 0.03
        width, height = (int(n) for n in np.ceil((edge.max(0) - self.origin + 0.03) * UNIT))
        self.shape = (height, width)
        corners = [(float(x), float(y)) for x, y in (edge - self.origin) * UNIT * 2]
        mask = Image.new("L", (width * 2, height * 2))
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        self.alpha = mask.reduce(2)
        row, column = np.mgrid[0:height, 0:width].astype(np.float32)
        self.x, self.y = column / UNIT + self.origin[0], row / UNIT + self.origin[1]
        self.s, self.t = _coordinates(edge, self.x, self.y)
        wobble = noise(self.rng, self.shape, (14, 14), 3)
        self.sw = self.s + 0.010 * wobble
        self.rough = noise(self.rng, self.shape, (20, 20), 2)
        self.colours = np.zeros((height, width, 3), np.float32)

    def mix(self, mask: Field, colour: Colour, amount: float = 1.0, near: Window = EVERYWHERE) -> None:
        """Paint `colour` where `mask` is 1. `near` is the part of the wing that `mask` covers."""
        m = (mask * np.float32(amount))[..., None]
        colours = self.colours[near]
        colours += m * (rgb(colour) - colours)

    def ground(self, colour: Colour, mottle: float = 0.06, second: Colour | None = None) -> None:
        """Cover the wing unevenly with `colour`, and with patches of `second`."""
        self.colours[:] = rgb(colour)
        if second is not None:
            self.mix(smooth(noise(self.rng, self.shape, (5, 6), 3), -0.6, 1.2), second)
        self.colours *= (1 + mottle * noise(self.rng, self.shape, (9, 9), 3))[..., None]

    def band(
        self,
        start: float,
        stop: float,
        colour: Colour,
        amount: float = 1.0,
        wave: float = 0.0,
        waves: float = 6,
        slope: float = 0.0,
        soft: float = 0.012,
    ) -> None:
        """Paint a band across the wing from s = `start` to `stop`, with `waves` waves and slanted by `slope`."""
        s = self.sw + wave * np.sin(self.t * waves * 2 * np.pi) + slope * (self.t - 0.5)
        inside = smooth(s, start - soft, start + soft) * smooth(s, stop + soft, stop - soft)
        self.mix(inside, colour, amount)

    def line(
        self,
        at: float,
        width: float,
        colour: Colour,
        amount: float = 1.0,
        wave: float = 0.0,
        waves: float = 6,
        slope: float = 0.0,
    ) -> None:
        """Paint a thin cross line."""
        self.band(at - width / 2, at + width / 2, colour, amount, wave, waves, slope, soft=0.008)

    def spot(
        self, at: Point, radius: float, colour: Colour, amount: float = 1.0, squash: float = 1.0, hollow: float = 0.0
    ) -> None:
        """Paint a spot at (x, y). `squash` > 1 makes it tall; `hollow` > 0 leaves only a ring of that width."""
        near = self._near(
            at[0] - radius * 1.3, at[1] - radius * squash * 1.3, at[0] + radius * 1.3, at[1] + radius * squash * 1.3
        )
        d = np.hypot(self.x[near] - at[0], (self.y[near] - at[1]) / squash) / radius
        d = d * (1 + 0.08 * self.rough[near])
        mask = smooth(d, 1.12, 0.88)
        if hollow:
            mask = mask * smooth(d, 0.88 - hollow, 1.08 - hollow)
        self.mix(mask, colour, amount, near)

    def eyespot(self, at: Point, rings: Sequence[tuple[float, Colour]], squash: float = 1.0) -> None:
        """Paint discs on each other, from the widest to the pupil: a radius and a colour of each."""
        for radius, colour in rings:
            self.spot(at, radius, colour, squash=squash)

    def streak(
        self, start: Point, stop: Point, width: float, colour: Colour, amount: float = 1.0, taper: float = 0.0
    ) -> None:
        """Paint a stripe between two points. `taper` makes it thinner towards its end."""
        dx, dy = stop[0] - start[0], stop[1] - start[1]
        near = self._near(
            min(start[0], stop[0]) - width,
            min(start[1], stop[1]) - width,
            max(start[0], stop[0]) + width,
            max(start[1], stop[1]) + width,
        )
        x, y = self.x[near] - start[0], self.y[near] - start[1]
        along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
        d = np.hypot(x - along * dx, y - along * dy) + 0.006 * self.rough[near]
        half = width / 2 * (1 - taper * along)
        self.mix(smooth(d - half, 0.008, -0.008), colour, amount, near)

    def _near(self, left: float, top: float, right: float, bottom: float) -> Window:
        """The pixels of a box that is given in coordinates of the wing."""
        columns, rows = (
            (np.array([a, b]) - self.origin[i]) * UNIT for i, (a, b) in enumerate(((left, right), (top, bottom)))
        )
        return (
            slice(max(0, int(rows[0])), max(0, int(rows[1]) + 1)),
            slice(max(0, int(columns[0])), max(0, int(columns[1]) + 1)),
        )

    def pepper(self, colour: Colour, density: float, fine: float = 70, amount: float = 1.0) -> None:
        """Paint specks everywhere. `density` is the threshold of the noise, from 0 (half is painted) to 2 (little)."""
        specks = noise(self.rng, self.shape, (fine, fine)) + 0.5 * noise(self.rng, self.shape, (fine / 6, fine / 6))
        self.mix(smooth(specks, density, density + 0.5), colour, amount)

    def fringe(self, colour: Colour, other: Colour | None = None, checks: float = 9, start: float = 0.955) -> None:
        """Paint the hair at the outer margin, chequered with `other`."""
        edge = smooth(self.s, start - 0.012, start + 0.012) * smooth(self.x, 0.2, 0.35)
        self.mix(edge, colour, 0.9)
        if other is not None:
            self.mix(edge * smooth(np.sin(self.t * checks * 2 * np.pi), 0.0, 0.3), other, 0.9)

    def veins(self, colour: Colour, amount: float = 0.3, count: int = 9, width: float = 0.05) -> None:
        """Paint veins from the root outward."""
        phase = np.abs((self.t * count) % 1 - 0.5)
        self.mix(smooth(phase, width, 0.0) * smooth(self.s, 0.25, 0.5), colour, amount)

    def finish(self, count: int = 9) -> Image.Image:
        """The wing with its scales, pleats and light, RGBA."""
        height, width = self.shape
        streaks = noise(self.rng, (400, 60), (400, 24))
        rows = np.clip(self.t * 399, 0, 399).astype(int)
        columns = np.clip(self.s * 55, 0, 59).astype(int)
        grain = 0.030 * streaks[rows, columns] + 0.028 * noise(self.rng, self.shape, (height / 1.6, width / 1.6))
        pleats = 0.035 * np.sin(self.t * count * 2 * np.pi) * smooth(self.s, 0.15, 0.6)
        ends = (0.86 + 0.14 * smooth(self.s, 0.0, 0.35)) * (1 - 0.10 * smooth(self.s, 0.9, 1.02))
        light = (1 + grain + pleats) * ends
        colours = np.clip(self.colours * light[..., None], 0, 1)
        picture = Image.fromarray((colours * 255 + 0.5).astype(np.uint8))
        picture.putalpha(self.alpha)
        return picture
