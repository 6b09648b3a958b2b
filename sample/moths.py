"""The moths: the shape, pose and body of each species, and the functions that paint its wings."""

from collections.abc import Callable
from dataclasses import dataclass

from sample import patterns
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
    """Colours of fur and abdomen. Lengths are in lengths of the forewing."""

    fur: Colour
    abdomen: Colour
    rings: Colour
    thorax: float = 0.12
    length: float = 0.52
    girth: float = 0.085
    feathered: float = 0.0
    """Width of comb-like antennae; 0 for thread-like ones."""
    stripe: Colour | None = None


@dataclass(frozen=True)
class Moth:
    """The appearance of a species. `sweep` is the least and the greatest angle of the wing to the rear, in degrees."""

    fore: Painter
    hind: Painter
    body: Body
    sweep: tuple[float, float]
    hind_sweep: float
    fore_outline: Outline = BROAD
    hind_outline: Outline = HIND
    hind_scale: float = 1.0
    size: float = 1.0
    """Length of the forewing, relative to the usual one of this sample."""
    scallop: float = 0.0
    other_body: Body | None = None
    """The body of form 1, if it differs from form 0."""


MOTHS: dict[str, Moth] = {
    "Noctua pronuba": Moth(
        patterns.pronuba_fore,
        patterns.pronuba_hind,
        Body((112, 84, 60), (168, 132, 92), (140, 104, 70), 0.11, 0.58),
        (44, 68),
        66,
        NARROW,
        hind_scale=0.98,
        size=0.95,
    ),
    "Biston betularia": Moth(
        patterns.betularia_fore,
        patterns.betularia_fore,
        Body((208, 204, 196), (196, 190, 180), (70, 64, 62), 0.13, 0.56, 0.09, 0.05),
        (24, 40),
        62,
        hind_scale=0.95,
        size=0.95,
        other_body=Body((52, 48, 48), (44, 40, 40), (30, 28, 28), 0.13, 0.56, 0.09, 0.05),
    ),
    "Spilosoma lubricipeda": Moth(
        patterns.lubricipeda_fore,
        patterns.lubricipeda_hind,
        Body((250, 246, 236), (236, 190, 60), (40, 34, 30), 0.14, 0.56, 0.1, 0.03),
        (46, 60),
        74,
        size=0.86,
    ),
    "Deilephila elpenor": Moth(
        patterns.elpenor_fore,
        patterns.elpenor_hind,
        Body((160, 146, 84), (164, 148, 84), (212, 110, 136), 0.13, 0.72, 0.1, 0.0, (220, 116, 146)),
        (26, 44),
        66,
        HAWK,
        hind_scale=0.66,
        size=1.1,
    ),
    "Opisthograptis luteolata": Moth(
        patterns.luteolata_fore,
        patterns.luteolata_hind,
        Body((244, 220, 92), (240, 218, 100), (220, 190, 80), 0.085, 0.5, 0.05),
        (10, 26),
        50,
        hind_scale=1.0,
        size=0.78,
    ),
    "Arctia caja": Moth(
        patterns.caja_fore,
        patterns.caja_hind,
        Body((84, 48, 32), (214, 74, 32), (26, 22, 26), 0.15, 0.6, 0.115, 0.02, (196, 48, 36)),
        (30, 56),
        64,
        hind_scale=0.95,
        size=1.0,
    ),
    "Autographa gamma": Moth(
        patterns.gamma_fore,
        patterns.gamma_hind,
        Body((126, 106, 98), (150, 128, 110), (120, 100, 86), 0.125, 0.56),
        (46, 62),
        72,
        NARROW,
        size=0.84,
    ),
    "Euplagia quadripunctaria": Moth(
        patterns.quadripunctaria_fore,
        patterns.quadripunctaria_hind,
        Body((40, 40, 40), (226, 90, 44), (40, 30, 30), 0.1, 0.55, 0.07, 0.0, (246, 234, 196)),
        (34, 56),
        64,
        hind_scale=0.98,
        size=0.9,
    ),
    "Smerinthus ocellata": Moth(
        patterns.ocellata_fore,
        patterns.ocellata_hind,
        Body((164, 136, 118), (150, 122, 104), (120, 94, 80), 0.14, 0.66, 0.11, 0.03, (92, 66, 54)),
        (16, 36),
        48,
        HAWK,
        hind_scale=0.78,
        size=1.12,
        scallop=0.04,
    ),
    "Actias luna": Moth(
        patterns.luna_fore,
        patterns.luna_hind,
        Body((244, 242, 230), (240, 238, 222), (222, 220, 200), 0.12, 0.42, 0.085, 0.1),
        (4, 18),
        12,
        EMPEROR,
        TAILED,
        1.0,
        1.15,
    ),
    "Gonimbrasia belina": Moth(
        patterns.belina_fore,
        patterns.belina_hind,
        Body((150, 104, 78), (160, 114, 84), (120, 82, 62), 0.13, 0.46, 0.1, 0.09),
        (2, 20),
        44,
        EMPEROR,
        HIND,
        1.08,
        1.2,
    ),
    "Saturnia pavonia": Moth(
        patterns.pavonia_fore,
        patterns.pavonia_hind,
        Body((150, 128, 122), (186, 164, 150), (120, 96, 92), 0.13, 0.46, 0.1, 0.1),
        (4, 22),
        46,
        EMPEROR,
        HIND,
        1.02,
        1.0,
    ),
    "Geometra papilionaria": Moth(
        patterns.papilionaria,
        patterns.papilionaria,
        Body((150, 196, 150), (196, 216, 186), (170, 196, 164), 0.08, 0.46, 0.05, 0.03),
        (4, 18),
        46,
        hind_scale=1.05,
        size=0.95,
    ),
    "Catocala nupta": Moth(
        patterns.nupta_fore,
        patterns.nupta_hind,
        Body((138, 128, 120), (160, 148, 134), (126, 114, 104), 0.13, 0.56, 0.09),
        (34, 46),
        58,
        hind_scale=1.0,
        size=1.12,
    ),
}
