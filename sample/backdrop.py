"""The backgrounds of the photos: cloths, bark, wood, plaster, drawer paper and leaves, painted once in a process."""

from functools import cache
from random import Random
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from sample.texture import Colour, Field, noise, rgb, smooth, to_image

Ground = Literal["sheet", "linen", "felt", "bark", "wood", "plaster", "paper", "leaf"]
SHAPE = (840, 1100)
"""Height and width of a painted texture, in pixels."""
SCENES: dict[str, tuple[Ground, ...]] = {
    "field": ("sheet", "linen", "felt", "bark", "bark", "wood", "plaster"),
    "trap": ("sheet", "felt"),
    "museum": ("paper",),
}


def crop(ground: Ground, size: tuple[int, int], blur: Image.Image, rng: Random) -> Image.Image:
    """A random piece of the texture, `size` pixels. It is out of focus where `blur` (grey, same size) is bright."""
    texture, soft = make(ground), _soft(ground)
    x, y = rng.randrange(texture.width - size[0] + 1), rng.randrange(texture.height - size[1] + 1)
    box = (x, y, x + size[0], y + size[1])
    piece = texture.crop(box)
    piece.paste(soft.crop(box), (0, 0), blur)
    return piece


@cache
def _soft(ground: Ground) -> Image.Image:
    """The texture out of focus."""
    texture = make(ground)
    return texture.reduce(5).filter(ImageFilter.BoxBlur(0.6)).resize(texture.size, Image.Resampling.BICUBIC)


@cache
def make(ground: Ground) -> Image.Image:
    """The whole texture."""
    rng = np.random.default_rng(list(ground.encode()))
    match ground:
        case "sheet":
            colours = _folds(rng, _weave(rng, 3.2, (252, 250, 244), 0.12), 0.8)
        case "linen":
            colours = _folds(rng, _weave(rng, 4.6, (240, 226, 198), 0.24), 0.9)
        case "felt":
            colours = _felt(rng, (196, 198, 200))
        case "bark":
            colours = _bark(rng)
        case "wood":
            colours = _wood(rng)
        case "plaster":
            colours = _plaster(rng, (236, 227, 212))
        case "paper":
            colours = _felt(rng, (246, 243, 236), 0.25)
        case "leaf":
            colours = _leaf(rng)
    return to_image(colours)


def _grid() -> tuple[Field, Field]:
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(np.float32)
    return x, y


def _tinted(colour: Colour, light: Field) -> Field:
    return np.asarray(rgb(colour) * light[..., None], np.float32)


def _weave(rng: np.random.Generator, pitch: float, colour: Colour, depth: float) -> Field:
    """Plain weave with threads of `pitch` pixels, which differ a little in brightness and thickness."""
    x, y = _grid()
    u = x / pitch + 0.5 * noise(rng, SHAPE, (9, 5)) + 0.08 * noise(rng, SHAPE, (150, 30))
    v = y / pitch + 0.5 * noise(rng, SHAPE, (5, 9)) + 0.08 * noise(rng, SHAPE, (30, 150))
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    shades = rng.normal(0, 1, 2000).astype(np.float32)
    across = np.sin(np.pi * (u - column)) * (0.7 + 0.3 * np.sin(np.pi * (v - row)))
    down = np.sin(np.pi * (v - row)) * (0.7 + 0.3 * np.sin(np.pi * (u - column)))
    over = (column + row) % 2 == 0
    height = np.where(over, across, down)
    thread = np.where(over, shades[column % 2000], shades[(row + 991) % 2000])
    light = 1 - depth * (1 - height) + 0.16 * depth * thread + 0.008 * noise(rng, SHAPE, (60, 60), 2)
    slubs = smooth(noise(rng, SHAPE, (160, 14)), 2.3, 3.4) + smooth(noise(rng, SHAPE, (14, 160)), 2.3, 3.4)
    return _tinted(colour, np.asarray(light + 0.08 * depth * 3 * slubs, np.float32))


def _folds(rng: np.random.Generator, cloth: Field, strength: float) -> Field:
    """The soft creases of a hanging cloth: each is bright on one side and dark on the other."""
    small = (SHAPE[0] // 4, SHAPE[1] // 4)
    y, x = np.mgrid[0 : SHAPE[0] : 4, 0 : SHAPE[1] : 4].astype(np.float32)
    light = 1 + 0.035 * strength * noise(rng, small, (3, 3), 2)
    for _ in range(6):
        angle = rng.normal(np.pi / 2, 0.5)
        distance = (x - rng.uniform(0, SHAPE[1])) * np.sin(angle) - (y - SHAPE[0] / 2) * np.cos(angle)
        distance = distance + 18 * noise(rng, small, (3, 3))
        width = rng.uniform(14, 60)
        light = light - 0.13 * strength * distance / width * np.exp(-((distance / width) ** 2))
    smoothed = Image.fromarray(light.astype(np.float32)).resize((SHAPE[1], SHAPE[0]), Image.Resampling.BILINEAR)
    light = np.asarray(smoothed)
    return np.asarray(cloth * light[..., None], np.float32)


def _felt(rng: np.random.Generator, colour: Colour, strength: float = 1.0) -> Field:
    fibres = noise(rng, SHAPE, (300, 120)) + noise(rng, SHAPE, (120, 300)) + noise(rng, SHAPE, (500, 500))
    light = 1 + strength * (0.035 * fibres + 0.02 * noise(rng, SHAPE, (12, 12), 2))
    return _tinted(colour, np.asarray(light, np.float32))


def _bark(rng: np.random.Generator) -> Field:
    """Long plates of bark, dark furrows between them, a grain, and patches of grey-green lichen."""
    plates = noise(rng, SHAPE, (1.6, 20), 4)
    fissure = smooth(plates, -0.5, -1.7)
    relief = 0.5 * plates - 1.1 * fissure + 0.2 * noise(rng, SHAPE, (60, 220), 3)
    slope = np.roll(relief, 2, 1) - np.roll(relief, -2, 1)
    light = 0.74 + 0.08 * relief - 0.24 * fissure + 0.36 * slope + 0.05 * noise(rng, SHAPE, (300, 300))
    brown = rgb((186, 168, 148)) * (1 + 0.07 * noise(rng, SHAPE, (4, 7), 2)[..., None] * rgb((255, 210, 150)))
    patches = noise(rng, SHAPE, (7, 9), 4) + 0.5 * plates
    lichen = smooth(patches, 0.9, 1.3)[..., None]
    crust = rgb((186, 194, 164)) * (1 + 0.1 * noise(rng, SHAPE, (160, 200), 2)[..., None])
    return np.asarray((brown * (1 - lichen) + crust * lichen) * light[..., None] * 1.04, np.float32)


def _wood(rng: np.random.Generator) -> Field:
    """A weathered board with its grain, and a gap between two planks."""
    _, y = _grid()
    grain = y / 9 + 2.4 * noise(rng, SHAPE, (3, 2), 2) + 0.25 * noise(rng, SHAPE, (180, 5))
    rings = 0.5 + 0.5 * np.sin(grain)
    fibres = noise(rng, SHAPE, (420, 14)) + 0.6 * noise(rng, SHAPE, (500, 50))
    light = 0.82 + 0.1 * rings**2 + 0.05 * fibres
    gap = smooth(np.abs(y - 0.28 * SHAPE[0] - 1.5 * noise(rng, SHAPE, (2, 12))), 2, 8)
    return _tinted((192, 178, 160), np.asarray(light * (0.25 + 0.75 * gap), np.float32))


def _plaster(rng: np.random.Generator, colour: Colour) -> Field:
    """A plastered wall. Light from the left makes its grains visible."""
    relief = noise(rng, SHAPE, (70, 90), 4) + 0.8 * smooth(noise(rng, SHAPE, (110, 140)), 0.9, 1.8)
    slope = np.roll(relief, (1, 1), (0, 1)) - np.roll(relief, (-1, -1), (0, 1))
    return _tinted(colour, np.asarray(0.9 - 0.1 * slope + 0.03 * noise(rng, SHAPE, (5, 6), 3), np.float32))


def _leaf(rng: np.random.Generator) -> Field:
    """A leaf from near, with its midrib from left to right."""
    x, y = _grid()
    x = x + 20 * noise(rng, SHAPE, (2, 2))
    offset = y - 0.5 * SHAPE[0] + 40 * np.sin(x / 500)
    side = (x - 0.75 * np.abs(offset)) / 92 + np.where(offset > 0, 0.45, 0.0)
    ribs = np.exp(-((np.abs(side - np.round(side)) * 92 / 4) ** 2))
    midrib = np.exp(-((offset / 9) ** 2))
    swell = np.cos(2 * np.pi * side)
    net = np.abs(noise(rng, SHAPE, (70, 90))) < 0.13
    light = 0.74 - 0.09 * swell + 0.05 * noise(rng, SHAPE, (6, 6), 3) + 0.018 * noise(rng, SHAPE, (300, 300))
    green = rgb((112, 158, 62)) * (light - 0.02 * net)[..., None]
    veins = np.clip(0.5 * ribs + 0.9 * midrib, 0, 1)[..., None] * 0.62
    return np.asarray(green * (1 - veins) + rgb((182, 206, 128)) * veins, np.float32)
