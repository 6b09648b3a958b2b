"""The moths: for each species its shape, its pose, its body, and the painters of its wings."""

from collections.abc import Callable
from dataclasses import dataclass

from sample.texture import Colour
from sample.wings import Point, Wing

Painter = Callable[[Wing, int], None]
"""Paints a wing in one of its forms, 0 or 1."""
Outline = tuple[Point, ...]

BROAD: Outline = (
    (0, -0.03),
    (0.3, -0.13),
    (0.65, -0.2),
    (0.95, -0.24),
    (1.0, -0.19),
    (0.95, 0.02),
    (0.85, 0.24),
    (0.72, 0.38),
    (0.45, 0.3),
    (0.2, 0.2),
    (0.02, 0.08),
)
NARROW: Outline = (
    (0, -0.04),
    (0.3, -0.12),
    (0.7, -0.16),
    (0.97, -0.17),
    (1.02, -0.12),
    (0.98, 0.05),
    (0.9, 0.2),
    (0.8, 0.27),
    (0.45, 0.22),
    (0.15, 0.16),
    (0.01, 0.07),
)
HAWK: Outline = (
    (0, -0.04),
    (0.3, -0.1),
    (0.7, -0.2),
    (1.0, -0.26),
    (1.06, -0.25),
    (0.95, -0.09),
    (0.8, 0.06),
    (0.62, 0.19),
    (0.52, 0.19),
    (0.3, 0.13),
    (0.02, 0.07),
)
EMPEROR: Outline = (
    (0, -0.04),
    (0.3, -0.16),
    (0.65, -0.27),
    (0.92, -0.3),
    (1.03, -0.23),
    (0.98, -0.08),
    (0.93, 0.1),
    (0.86, 0.28),
    (0.76, 0.4),
    (0.45, 0.32),
    (0.2, 0.22),
    (0.02, 0.09),
)
HIND: Outline = (
    (0, -0.05),
    (0.25, -0.2),
    (0.55, -0.22),
    (0.72, -0.1),
    (0.76, 0.1),
    (0.68, 0.3),
    (0.5, 0.42),
    (0.3, 0.4),
    (0.12, 0.25),
    (0, 0.08),
)
TAILED: Outline = (
    (0, -0.05),
    (0.25, -0.2),
    (0.5, -0.22),
    (0.64, -0.1),
    (0.66, 0.08),
    (0.64, 0.3),
    (0.74, 0.55),
    (0.76, 0.85),
    (0.86, 1.08),
    (0.8, 1.16),
    (0.68, 1.1),
    (0.58, 0.85),
    (0.48, 0.58),
    (0.3, 0.42),
    (0.12, 0.27),
    (0, 0.08),
)


@dataclass(frozen=True)
class Body:
    """Colours of fur and abdomen; lengths in forewings."""

    fur: Colour
    abdomen: Colour
    rings: Colour
    thorax: float = 0.12
    length: float = 0.52
    girth: float = 0.085
    feathered: float = 0.0
    """Width of comb-like antennae; 0 for threads."""
    stripe: Colour | None = None


@dataclass(frozen=True)
class Moth:
    """How a species looks; angles in degrees that the wing is swept back, least and most."""

    fore: Painter
    hind: Painter
    body: Body
    sweep: tuple[float, float]
    hind_sweep: float
    fore_outline: Outline = BROAD
    hind_outline: Outline = HIND
    hind_scale: float = 1.0
    size: float = 1.0
    """Length of the forewing against the sample's usual one."""
    scallop: float = 0.0
    other_body: Body | None = None
    """The body of form 1, where it is another."""


def _pronuba_fore(w: Wing, form: int) -> None:
    dark = form == 0
    w.ground((104, 76, 52) if dark else (150, 124, 92), 0.09, (70, 50, 38) if dark else (120, 96, 70))
    w.pepper((52, 38, 28), 1.4, amount=0.35)
    w.band(0.0, 0.98, (176, 146, 108), 0.0 if dark else 0.2)
    w.streak((0.05, -0.06), (0.9, -0.16), 0.05, (168, 140, 106), 0.5)
    for at in (0.3, 0.66):
        w.line(at, 0.014, (50, 34, 26), 0.6, 0.014, 4)
        w.line(at + 0.018, 0.012, (178, 150, 116), 0.45, 0.014, 4)
    w.spot((0.46, -0.02), 0.05, (176, 150, 116), 0.8, 0.8, 0.3)
    w.spot((0.66, -0.01), 0.065, (44, 30, 24), 0.85, 1.35)
    w.spot((0.66, -0.01), 0.075, (182, 154, 118), 0.6, 1.35, 0.22)
    w.line(0.86, 0.016, (190, 160, 122), 0.7, 0.008, 3)
    w.spot((0.9, -0.13), 0.024, (24, 18, 16))
    w.fringe((96, 74, 56))


def _pronuba_hind(w: Wing, form: int) -> None:
    w.ground((238, 156, 34), 0.05)
    w.band(0.78, 0.9, (34, 24, 20), 0.95)
    w.fringe((230, 168, 70))


def _betularia_fore(w: Wing, form: int) -> None:
    if form == 1:
        w.ground((38, 34, 34), 0.1)
        w.pepper((70, 64, 60), 1.2, amount=0.5)
        w.fringe((30, 28, 28), (62, 58, 54))
        return
    w.ground((232, 230, 222), 0.04)
    w.pepper((40, 36, 36), 0.75, 62)
    for at, wave in ((0.26, 0.02), (0.5, 0.03), (0.72, 0.035)):
        w.line(at, 0.026, (34, 30, 30), 0.75, wave, 3)
    w.pepper((40, 36, 36), 1.2, 110)
    w.streak((0.3, -0.12), (0.34, -0.06), 0.04, (30, 28, 28))
    w.streak((0.6, -0.18), (0.62, -0.1), 0.05, (30, 28, 28))
    w.fringe((236, 234, 226), (40, 38, 38))


def _lubricipeda_fore(w: Wing, form: int) -> None:
    w.ground((246, 243, 232) if form == 0 else (240, 230, 204), 0.03)
    for s in range(5):
        for t in range(5):
            if w.rng.random() < 0.82:
                x = 0.22 + 0.165 * s + w.rng.normal(0, 0.016)
                y = (-0.11 + 0.075 * t) * (0.75 + 0.5 * x) + w.rng.normal(0, 0.012)
                w.spot((x, y), abs(w.rng.normal(0.0175, 0.004)), (28, 24, 22))
    w.veins((222, 214, 196), 0.4)
    w.fringe((250, 248, 240))


def _lubricipeda_hind(w: Wing, form: int) -> None:
    w.ground((248, 245, 236), 0.03)
    w.spot((0.4, 0), 0.03, (40, 34, 30))
    w.spot((0.6, 0.22), 0.022, (40, 34, 30))


def _elpenor_fore(w: Wing, form: int) -> None:
    w.ground((158, 146, 78) if form == 0 else (172, 152, 84), 0.05)
    w.streak((0.0, -0.06), (1.0, -0.26), 0.07, (206, 92, 122), 0.85)
    w.streak((0.14, 0.15), (1.04, -0.25), 0.045, (214, 106, 136), 0.95, 0.7)
    w.streak((0.1, 0.08), (0.95, -0.22), 0.02, (126, 114, 58), 0.7)
    w.band(0.88, 1.1, (204, 92, 124), 0.9, slope=0.1, soft=0.03)
    w.spot((0.42, -0.07), 0.015, (250, 244, 236))
    w.fringe((226, 150, 160), start=0.975)


def _elpenor_hind(w: Wing, form: int) -> None:
    w.ground((216, 104, 138), 0.05)
    w.band(-0.1, 0.5, (36, 26, 30), 1.0, soft=0.06)
    w.fringe((246, 232, 226))


def _luteolata_fore(w: Wing, form: int) -> None:
    w.ground((246, 222, 66) if form == 0 else (250, 232, 108), 0.03)
    for s in (0.32, 0.68):
        w.line(s, 0.012, (196, 164, 60), 0.55, 0.016, 6)
    for at, radius in (((0.26, -0.11), 0.03), ((0.55, -0.15), 0.045), ((0.98, -0.21), 0.06), ((0.08, -0.05), 0.04)):
        w.spot(at, radius, (140, 66, 34), 0.95, 0.8)
    w.spot((0.56, -0.08), 0.035, (130, 74, 44), 0.9, 1.3, 0.5)
    w.fringe((238, 210, 84))


def _luteolata_hind(w: Wing, form: int) -> None:
    w.ground((248, 228, 92), 0.03)
    w.line(0.62, 0.012, (196, 164, 60), 0.5, 0.016, 6)
    w.spot((0.36, 0.02), 0.018, (140, 90, 50), 0.8)


def _caja_fore(w: Wing, form: int) -> None:
    w.ground((86, 50, 32) if form == 0 else (66, 38, 28), 0.06)
    cream: Colour = (246, 234, 208)
    wide = 0.042 if form == 0 else 0.058
    for start, stop in (
        ((0.2, -0.16), (0.25, 0.06)),
        ((0.25, 0.06), (0.12, 0.2)),
        ((0.44, -0.2), (0.5, 0.02)),
        ((0.5, 0.02), (0.36, 0.3)),
        ((0.66, -0.22), (0.66, 0.0)),
        ((0.66, 0.0), (0.98, 0.1)),
        ((0.66, 0.0), (0.9, -0.24)),
        ((0.66, 0.0), (0.62, 0.36)),
        ((0.25, 0.06), (0.5, 0.02)),
    ):
        w.streak(start, stop, wide, cream)
    w.fringe((120, 82, 56), start=0.975)


def _caja_hind(w: Wing, form: int) -> None:
    w.ground((226, 84, 30), 0.05)
    for at, radius in (
        ((0.34, -0.04), 0.085),
        ((0.62, -0.08), 0.075),
        ((0.62, 0.16), 0.08),
        ((0.42, 0.3), 0.065),
        ((0.28, 0.16), 0.05),
    ):
        w.eyespot(at, ((radius, (240, 190, 70)), (radius * 0.88, (22, 22, 34)), (radius * 0.55, (38, 56, 104))))
    w.fringe((240, 196, 110))


def _gamma_fore(w: Wing, form: int) -> None:
    w.ground((136, 118, 112) if form == 0 else (110, 92, 84), 0.1, (86, 70, 66))
    w.band(0.34, 0.68, (70, 54, 50), 0.65, 0.02, 2)
    w.pepper((190, 176, 166), 1.3, amount=0.4)
    for at in (0.32, 0.7, 0.86):
        w.line(at, 0.014, (204, 184, 168), 0.7, 0.018, 4)
        w.line(at + 0.022, 0.014, (52, 40, 38), 0.6, 0.018, 4)
    silver: Colour = (246, 242, 228)
    for start, stop in (((0.38, 0.0), (0.47, 0.055)), ((0.47, 0.055), (0.56, 0.02)), ((0.47, 0.055), (0.52, 0.12))):
        w.streak(start, stop, 0.03, silver)
    w.spot((0.545, 0.105), 0.026, silver)
    w.fringe((160, 140, 128), (84, 68, 62), 8)


def _gamma_hind(w: Wing, form: int) -> None:
    w.ground((178, 158, 136), 0.05)
    w.band(0.66, 1.1, (92, 74, 64), 0.9, soft=0.08)
    w.fringe((224, 212, 194), (110, 92, 80))


def _quadripunctaria_fore(w: Wing, form: int) -> None:
    w.ground((26, 30, 32), 0.08)
    cream: Colour = (246, 234, 196) if form == 0 else (240, 216, 150)
    for start, stop, width in (
        ((0.12, -0.12), (0.2, 0.2), 0.035),
        ((0.3, -0.16), (0.42, 0.12), 0.04),
        ((0.42, 0.12), (0.2, 0.14), 0.03),
        ((0.5, -0.2), (0.8, 0.22), 0.055),
        ((0.8, 0.22), (0.55, 0.3), 0.035),
        ((0.78, -0.24), (0.66, 0.02), 0.05),
        ((0.95, -0.2), (0.8, 0.22), 0.03),
        ((0.05, 0.08), (0.72, 0.32), 0.035),
    ):
        w.streak(start, stop, width, cream)
    w.spot((0.93, -0.02), 0.028, cream)
    w.fringe((40, 40, 40), cream, 5, start=0.975)


def _quadripunctaria_hind(w: Wing, form: int) -> None:
    w.ground((228, 72, 34) if form == 0 else (236, 150, 40), 0.05)
    for at, radius in (((0.36, -0.02), 0.05), ((0.6, -0.1), 0.06), ((0.6, 0.18), 0.055), ((0.44, 0.3), 0.03)):
        w.spot(at, radius, (24, 22, 26))


def _ocellata_fore(w: Wing, form: int) -> None:
    w.ground((160, 130, 110) if form == 0 else (142, 112, 92), 0.08, (184, 156, 136))
    w.band(0.32, 0.6, (112, 84, 68), 0.55, 0.03, 2, 0.1, 0.04)
    w.band(0.78, 0.9, (104, 78, 64), 0.5, 0.03, 3, soft=0.03)
    for at in (0.3, 0.62, 0.72):
        w.line(at, 0.013, (86, 60, 48), 0.7, 0.02, 3)
    w.streak((0.46, -0.05), (0.52, -0.0), 0.025, (216, 192, 172), 0.7)
    w.streak((0.88, -0.2), (0.98, -0.16), 0.08, (84, 60, 50), 0.8)
    w.veins((196, 172, 152), 0.25)


def _ocellata_hind(w: Wing, form: int) -> None:
    w.ground((214, 110, 116), 0.06, (226, 150, 138))
    w.band(0.8, 1.1, (196, 164, 138), 0.9, soft=0.06)
    w.eyespot((0.5, 0.17), ((0.15, (22, 18, 22)), (0.115, (92, 136, 178)), (0.07, (20, 18, 24))))
    w.spot((0.53, 0.14), 0.012, (190, 214, 232))


def _luna_fore(w: Wing, form: int) -> None:
    w.ground((170, 214, 150) if form == 0 else (188, 222, 138), 0.03, (192, 226, 176))
    w.veins((206, 228, 176), 0.5, 9)
    w.streak((0.0, -0.06), (0.62, -0.265), 0.04, (112, 48, 74), 0.95)
    w.streak((0.62, -0.265), (1.0, -0.27), 0.04, (112, 48, 74), 0.95, 0.7)
    w.line(0.82, 0.008, (214, 214, 150), 0.6, 0.006, 5)
    w.streak((0.58, -0.22), (0.58, -0.16), 0.02, (112, 48, 74), 0.8)
    w.eyespot((0.58, -0.12), ((0.048, (60, 40, 50)), (0.042, (232, 208, 110)), (0.024, (226, 190, 178))), 0.8)
    w.fringe((228, 196, 130), start=0.978)


def _luna_hind(w: Wing, form: int) -> None:
    w.ground((176, 218, 156) if form == 0 else (192, 226, 144), 0.03, (196, 228, 180))
    w.veins((210, 232, 184), 0.4, 7)
    w.eyespot((0.36, 0.02), ((0.048, (50, 40, 50)), (0.04, (232, 208, 110)), (0.024, (226, 180, 170))))
    w.streak((0.66, 0.65), (0.8, 1.12), 0.05, (224, 206, 150), 0.5)


def _belina_fore(w: Wing, form: int) -> None:
    w.ground((178, 128, 86) if form == 0 else (150, 116, 92), 0.06, (196, 152, 112))
    w.band(-0.1, 0.3, (140, 92, 66), 0.7)
    w.line(0.31, 0.035, (238, 220, 200), 0.95)
    w.line(0.285, 0.02, (50, 36, 32), 0.95)
    w.band(0.74, 1.1, (196, 150, 120), 0.7)
    w.line(0.755, 0.035, (240, 224, 206), 0.95)
    w.line(0.725, 0.022, (48, 36, 32), 0.95)
    w.eyespot((0.53, -0.03), ((0.075, (34, 24, 22)), (0.062, (226, 120, 44)), (0.026, (70, 60, 60))))
    w.fringe((150, 108, 80))


def _belina_hind(w: Wing, form: int) -> None:
    w.ground((184, 134, 96), 0.06, (206, 150, 120))
    w.band(0.76, 1.1, (190, 142, 112), 0.8)
    w.line(0.78, 0.035, (240, 224, 206), 0.95)
    w.line(0.745, 0.024, (44, 32, 30), 0.95)
    w.eyespot(
        (0.38, 0.08), ((0.15, (240, 228, 210)), (0.138, (30, 22, 22)), (0.108, (232, 118, 36)), (0.05, (58, 42, 40)))
    )


def _pavonia_fore(w: Wing, form: int) -> None:
    w.ground((176, 164, 160) if form == 0 else (160, 134, 122), 0.07, (206, 194, 190))
    w.band(-0.1, 0.28, (128, 96, 92), 0.8, soft=0.03)
    w.line(0.3, 0.02, (60, 44, 46), 0.9, 0.012, 3)
    w.band(0.36, 0.68, (228, 220, 214), 0.55, soft=0.05)
    for at in (0.7, 0.75):
        w.line(at, 0.013, (60, 46, 48), 0.8, 0.016, 6)
    w.band(0.8, 0.9, (118, 92, 92), 0.8, soft=0.02)
    w.band(0.91, 0.965, (238, 230, 222), 0.9)
    w.streak((0.86, -0.27), (0.97, -0.25), 0.05, (190, 60, 76), 0.85)
    _peacock_eye(w, (0.53, -0.05), 0.1)


def _pavonia_hind(w: Wing, form: int) -> None:
    w.ground((232, 150, 62) if form == 0 else (182, 164, 158), 0.05)
    w.line(0.7, 0.02, (60, 44, 46), 0.8, 0.014, 6)
    w.band(0.78, 0.9, (90, 68, 68), 0.85, soft=0.02)
    w.band(0.91, 0.965, (238, 226, 210), 0.9)
    _peacock_eye(w, (0.42, 0.04), 0.1)


def _peacock_eye(w: Wing, at: Point, r: float) -> None:
    w.eyespot(at, ((r * 1.15, (240, 234, 226)), (r, (28, 22, 28)), (r * 0.8, (206, 164, 96)), (r * 0.6, (24, 20, 26))))
    w.spot((at[0] - r * 0.1, at[1] - r * 0.3), r * 0.2, (150, 176, 206), 0.9, 0.5)
    w.spot(at, r * 0.92, (172, 50, 66), 0.6, 1, 0.12)


def _papilionaria(w: Wing, form: int) -> None:
    w.ground((104, 172, 118), 0.04, (130, 190, 138))
    for at in (0.3, 0.62):
        w.line(at, 0.02, (232, 244, 226), 0.85, 0.022, 6)
    for n in range(7):
        angle = (n + 0.5) / 7
        w.mix(((abs(w.t - angle) < 0.02) & (abs(w.s - 0.82) < 0.014)).astype("float32"), (240, 248, 236), 0.9)
    w.fringe((226, 240, 220), (120, 180, 130))


def _nupta_fore(w: Wing, form: int) -> None:
    w.ground((150, 142, 132), 0.1, (112, 104, 98))
    w.pepper((70, 62, 58), 1.0, amount=0.5)
    for at in (0.2, 0.4, 0.68, 0.74):
        w.line(at, 0.02, (58, 50, 46), 0.75, 0.035, 5)
        w.line(at + 0.024, 0.014, (206, 198, 186), 0.6, 0.035, 5)
    w.spot((0.56, -0.06), 0.06, (86, 76, 70), 0.7, 1.2)
    w.line(0.86, 0.02, (196, 188, 176), 0.6, 0.02, 8)
    w.fringe((168, 160, 150), (96, 88, 82))


def _nupta_hind(w: Wing, form: int) -> None:
    w.ground((206, 58, 46), 0.05)
    w.band(0.42, 0.56, (24, 20, 22), 1, 0.02, 2)
    w.band(0.74, 0.93, (24, 20, 22), 1)
    w.fringe((242, 238, 230))


MOTHS: dict[str, Moth] = {
    "Noctua pronuba": Moth(
        _pronuba_fore,
        _pronuba_hind,
        Body((112, 84, 60), (168, 132, 92), (140, 104, 70), 0.11, 0.58),
        (44, 68),
        66,
        NARROW,
        hind_scale=0.98,
        size=0.95,
    ),
    "Biston betularia": Moth(
        _betularia_fore,
        _betularia_fore,
        Body((208, 204, 196), (196, 190, 180), (70, 64, 62), 0.13, 0.56, 0.09, 0.05),
        (24, 40),
        62,
        hind_scale=0.95,
        size=0.95,
        other_body=Body((52, 48, 48), (44, 40, 40), (30, 28, 28), 0.13, 0.56, 0.09, 0.05),
    ),
    "Spilosoma lubricipeda": Moth(
        _lubricipeda_fore,
        _lubricipeda_hind,
        Body((250, 246, 236), (236, 190, 60), (40, 34, 30), 0.14, 0.56, 0.1, 0.03),
        (46, 60),
        74,
        size=0.86,
    ),
    "Deilephila elpenor": Moth(
        _elpenor_fore,
        _elpenor_hind,
        Body((160, 146, 84), (164, 148, 84), (212, 110, 136), 0.13, 0.72, 0.1, 0.0, (220, 116, 146)),
        (26, 44),
        66,
        HAWK,
        hind_scale=0.66,
        size=1.1,
    ),
    "Opisthograptis luteolata": Moth(
        _luteolata_fore,
        _luteolata_hind,
        Body((244, 220, 92), (240, 218, 100), (220, 190, 80), 0.085, 0.5, 0.05),
        (10, 26),
        50,
        hind_scale=1.0,
        size=0.78,
    ),
    "Arctia caja": Moth(
        _caja_fore,
        _caja_hind,
        Body((84, 48, 32), (214, 74, 32), (26, 22, 26), 0.15, 0.6, 0.115, 0.02, (196, 48, 36)),
        (30, 56),
        64,
        hind_scale=0.95,
        size=1.0,
    ),
    "Autographa gamma": Moth(
        _gamma_fore,
        _gamma_hind,
        Body((126, 106, 98), (150, 128, 110), (120, 100, 86), 0.125, 0.56),
        (46, 62),
        72,
        NARROW,
        size=0.84,
    ),
    "Euplagia quadripunctaria": Moth(
        _quadripunctaria_fore,
        _quadripunctaria_hind,
        Body((40, 40, 40), (226, 90, 44), (40, 30, 30), 0.1, 0.55, 0.07, 0.0, (246, 234, 196)),
        (34, 56),
        64,
        hind_scale=0.98,
        size=0.9,
    ),
    "Smerinthus ocellata": Moth(
        _ocellata_fore,
        _ocellata_hind,
        Body((164, 136, 118), (150, 122, 104), (120, 94, 80), 0.14, 0.66, 0.11, 0.03, (92, 66, 54)),
        (16, 36),
        48,
        HAWK,
        hind_scale=0.78,
        size=1.12,
        scallop=0.04,
    ),
    "Actias luna": Moth(
        _luna_fore,
        _luna_hind,
        Body((244, 242, 230), (240, 238, 222), (222, 220, 200), 0.12, 0.42, 0.085, 0.1),
        (4, 18),
        12,
        EMPEROR,
        TAILED,
        1.0,
        1.15,
    ),
    "Gonimbrasia belina": Moth(
        _belina_fore,
        _belina_hind,
        Body((150, 104, 78), (160, 114, 84), (120, 82, 62), 0.13, 0.46, 0.1, 0.09),
        (2, 20),
        44,
        EMPEROR,
        HIND,
        1.08,
        1.2,
    ),
    "Saturnia pavonia": Moth(
        _pavonia_fore,
        _pavonia_hind,
        Body((150, 128, 122), (186, 164, 150), (120, 96, 92), 0.13, 0.46, 0.1, 0.1),
        (4, 22),
        46,
        EMPEROR,
        HIND,
        1.02,
        1.0,
    ),
    "Geometra papilionaria": Moth(
        _papilionaria,
        _papilionaria,
        Body((150, 196, 150), (196, 216, 186), (170, 196, 164), 0.08, 0.46, 0.05, 0.03),
        (4, 18),
        46,
        hind_scale=1.05,
        size=0.95,
    ),
    "Catocala nupta": Moth(
        _nupta_fore,
        _nupta_hind,
        Body((138, 128, 120), (160, 148, 134), (126, 114, 104), 0.13, 0.56, 0.09),
        (34, 46),
        58,
        hind_scale=1.0,
        size=1.12,
    ),
}
