"""Draw the photos: an animal on a background, with the effects of light, lens and sensor."""

import io
from dataclasses import dataclass
from functools import cache
from math import cos, radians, sin
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from sample import backdrop, bodies
from sample.moths import MOTHS
from sample.plan import Photo
from sample.texture import noise
from sample.wings import UNIT, Wing

FORMS = 2
"""Painted forms of each species. Size, pose and tone differ between animals."""
Affine = tuple[float, float, float, float, float, float]
Linear = NDArray[np.float64]
"""A 2 x 2 matrix."""


@dataclass(frozen=True)
class Part:
    """A painted part of an animal, at full and at half size. `origin` is its joint, in full-size pixels."""

    image: Image.Image
    half: Image.Image
    origin: tuple[float, float]


def _part(image: Image.Image, origin: tuple[float, float]) -> Part:
    left, top, right, bottom = image.getbbox() or (0, 0, *image.size)
    image = image.crop((left - 2, top - 2, right + 2, bottom + 2))
    return Part(image, image.convert("RGBa").reduce(2).convert("RGBA"), (origin[0] - left + 2, origin[1] - top + 2))


@cache
def _times(percent: int) -> list[int]:
    """A table for Image.point that multiplies each byte by `percent`."""
    return [min(255, (v * percent + 50) // 100) for v in range(256)]


@cache
def _wing(species: str, form: int, hind: bool) -> Part:
    moth = MOTHS[species]
    outline = moth.hind_outline if hind else moth.fore_outline
    wing = Wing(outline, [form, int(hind), *species.encode()], moth.scallop)
    (moth.hind if hind else moth.fore)(wing, form)
    x, y = -wing.origin * UNIT
    return _part(wing.finish(), (float(x), float(y)))


def _body(species: str, form: int, piece: str) -> Part:
    return _painted_body(species, form if MOTHS[species].other_body else 0, piece)


@cache
def _painted_body(species: str, form: int, piece: str) -> Part:
    moth = MOTHS[species]
    body = moth.other_body if form and moth.other_body else moth.body
    match piece:
        case "abdomen":
            image = bodies.abdomen(body, form)
        case "thorax":
            image = bodies.thorax(body, form)
        case "larva":
            image = bodies.larva(species, form)
        case _:
            image = bodies.eggs(species, form)
    return _part(image, (bodies.CENTRE[0] * UNIT, bodies.CENTRE[1] * UNIT))


@cache
def _grain(strength: int) -> Image.Image:
    """Noise of the sensor around a grey of 128, partly in colour."""
    rng = np.random.default_rng(strength)
    shape = backdrop.SHAPE
    luma = rng.standard_normal(shape, np.float32) + 0.6 * noise(rng, shape, (380, 500))
    chroma = np.stack([noise(rng, shape, (280, 360)) for _ in range(3)], -1)
    values = 128 + strength * (0.8 * luma[..., None] + 0.5 * chroma)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Placement:
    """How a part is added to an animal. `joint` is in lengths of the forewing, `angle` in degrees, body upright."""

    joint: tuple[float, float] = (0, 0)
    angle: float = 0
    is_mirrored: bool = False
    stretch: tuple[float, float] = (1, 1)
    light: float = 1
    shadow: float = 0

    def matrix(self) -> Linear:
        """The linear part of the placement."""
        a, side = radians(self.angle), -1 if self.is_mirrored else 1
        sx, sy = self.stretch
        linear = np.array([[cos(a) * sx, -sin(a) * sy], [sin(a) * sx, cos(a) * sy]])
        return np.asarray(np.array([[side, 0], [0, 1]]) @ linear)


class _Stage:
    """The place of the animal in the picture: its middle in pixels, its scale, and its rotation in degrees."""

    def __init__(self, size: tuple[int, int], x: float, y: float, scale: float, turn: float) -> None:
        self.layer = Image.new("RGBA", size)
        self.x, self.y, self.scale, self.turn = x, y, scale, turn

    def place(self, part: Part, placement: Placement) -> None:
        """Draw a part over those that are placed already."""
        image, unit = (part.half, 2.0) if self.scale < 0.62 else (part.image, 1.0)
        t = radians(self.turn)
        whole = np.array([[cos(t), -sin(t)], [sin(t), cos(t)]]) * self.scale
        joint = np.array([-placement.joint[0] if placement.is_mirrored else placement.joint[0], placement.joint[1]])
        offset = whole @ joint * UNIT + (self.x, self.y)
        matrix = whole @ placement.matrix()
        offset = offset - matrix @ np.array(part.origin)
        corners = np.array([[0, 0], [part.image.width, 0], [0, part.image.height], part.image.size]) @ matrix.T + offset
        left, top = (max(0, int(v)) for v in corners.min(0) - 1)
        right, bottom = (min(full, int(v) + 2) for v, full in zip(corners.max(0), self.layer.size, strict=True))
        if right - left < 2 or bottom - top < 2:
            return
        back = np.linalg.inv(matrix) / unit
        start = back @ (np.array([left, top]) - offset)
        data: Affine = (back[0, 0], back[0, 1], start[0], back[1, 0], back[1, 1], start[1])
        piece = image.transform((right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        grey = min(255, round(255 * placement.light))
        piece = ImageChops.multiply(piece, Image.new("RGBA", piece.size, (grey, grey, grey, 255)))
        if placement.shadow:
            self._shade(piece, left, top, placement.shadow)
        self.layer.alpha_composite(piece, (left, top))

    def _shade(self, piece: Image.Image, left: int, top: int, strength: float) -> None:
        """Draw the shadow of a part on the parts below it."""
        reach = max(2, round(self.scale * UNIT * 0.016))
        mask = piece.getchannel("A").reduce(2).point(_times(round(strength * 100)))
        mask = mask.filter(ImageFilter.BoxBlur(reach / 2)).resize(piece.size, Image.Resampling.BILINEAR)
        box = (left, top, left + piece.width, top + piece.height)
        under = self.layer.crop(box)
        mask = ImageChops.offset(mask, reach // 2, reach)
        mask = ImageChops.multiply(mask, under.getchannel("A"))
        dark = Image.new("RGBA", piece.size, (24, 18, 16, 255))
        dark.putalpha(mask)
        self.layer.alpha_composite(dark, (left, top))


def _adult(stage: _Stage, photo: Photo, rng: Random) -> None:
    moth = MOTHS[photo.species]
    form = rng.choices(range(FORMS), (3, 2))[0]
    sweep = rng.triangular(*moth.sweep)
    hind_sweep = moth.hind_sweep + 0.3 * (sweep - moth.sweep[0]) + rng.uniform(-4, 4)
    if photo.scene == "museum":
        sweep, hind_sweep = rng.uniform(-14, -8), min(24, moth.hind_sweep) + rng.uniform(-4, 4)
    broad = rng.uniform(0.94, 1.05)
    fore, hind = _wing(photo.species, form, False), _wing(photo.species, form, True)
    bright = rng.uniform(0.86, 0.99)
    sides = [(True, bright * 1.03), (False, bright * 0.95)]
    for mirror, light in sides:
        stretch = (moth.hind_scale, moth.hind_scale * broad)
        stage.place(hind, Placement((0.035, 0.08), hind_sweep + rng.gauss(0, 2), mirror, stretch, light))
    stage.place(_body(photo.species, form, "abdomen"), Placement(light=bright, shadow=0.5))
    rng.shuffle(sides)
    for mirror, light in sides:
        angle, stretch = sweep + rng.gauss(0, 1.8), (rng.uniform(0.985, 1.015), broad)
        stage.place(fore, Placement((0.05, -0.03), angle, mirror, stretch, light, 0.6))
    stage.place(_body(photo.species, form, "thorax"), Placement(light=bright, shadow=0.45))


def _grown(photo: Photo) -> float:
    """Size relative to other animals. Photographers go nearer to moths that fold their wings."""
    if photo.stage != "adult":
        return 1.1
    moth = MOTHS[photo.species]
    return moth.size if photo.scene == "museum" else moth.size / max(0.66, cos(radians(sum(moth.sweep) / 2)))


def _animal(photo: Photo, size: tuple[int, int]) -> Image.Image:
    """The animal alone, RGBA, at its place in the picture."""
    framing, individual = Random(photo.number), Random(photo.individual)
    width, height = size
    part = {"trap": 0.25, "museum": 0.35}.get(photo.scene, 0.32) * framing.uniform(0.85, 1.15)
    scale = min(width, height * 1.25) * part * _grown(photo) / UNIT
    turn = framing.gauss(0, 3) if photo.scene == "museum" else framing.gauss(0, 45)
    if photo.stage == "larva":
        turn = framing.uniform(0, 360)
    below = (0.42 if photo.species == "Actias luna" else 0.24) * scale * UNIT if photo.stage == "adult" else 0
    x = width * (0.5 + framing.gauss(0, 0.035)) + below * sin(radians(turn))
    y = height * (0.5 + framing.gauss(0, 0.03)) - below * cos(radians(turn))
    stage = _Stage(size, x, y, scale, turn)
    if photo.stage == "adult":
        _adult(stage, photo, individual)
    else:
        body = _body(photo.species, individual.randrange(FORMS), photo.stage)
        stage.place(body, Placement(light=individual.uniform(0.9, 1.0)))
    return stage.layer


def _cast(ground: Image.Image, animal: Image.Image, reach: float, rng: Random) -> None:
    """Draw the animal's shadow on the ground: dark and narrow near it, wide and faint away from the lamp."""
    alpha = animal.getchannel("A").reduce(4)
    away = rng.uniform(-1, 1)
    mask = Image.new("L", alpha.size)
    for blur, shift, percent in ((0.05, 0.03, 46), (0.15, 0.1, 36)):
        soft = alpha.filter(ImageFilter.BoxBlur(reach * blur / 4))
        soft = soft.filter(ImageFilter.BoxBlur(reach * blur / 4))
        soft = ImageChops.offset(soft, round(reach * shift * away / 4), round(reach * shift / 4))
        mask = ImageChops.screen(mask, soft.point(_times(percent)))
    mask = mask.resize(ground.size, Image.Resampling.BILINEAR)
    box = mask.getbbox()
    if box:
        ground.paste((38, 32, 34), box, mask.crop(box))


def _light(photo: Photo, size: tuple[int, int], rng: Random) -> Image.Image:
    """The uneven light of a lamp and the darker corners of a lens, as a picture to multiply with."""
    y, x = np.mgrid[-1:1:24j, -1:1:32j]
    cx, cy, angle = rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.3), rng.uniform(0, 6.28)
    pool = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / rng.uniform(2.2, 6))
    slope = 1 + rng.uniform(0.02, 0.14) * (x * cos(angle) + y * sin(angle))
    corners = 1 - rng.uniform(0.08, 0.24) * ((x**2 + y**2) / 2) ** 1.5
    level = (0.72 + 0.28 * pool) * slope * corners
    level = level / level.max() * rng.uniform(0.95, 1.08)
    lamps = {"museum": ((1, 0.985, 0.96),), "trap": ((0.94, 0.97, 1.03), (0.96, 0.955, 1.03), (1, 0.97, 0.91))}
    field = ((1, 0.96, 0.88), (1, 0.98, 0.95), (0.97, 0.99, 1.0), (1, 0.94, 0.84), (0.96, 0.975, 1.02))
    balance = rng.choice(lamps.get(photo.scene, field))
    grey = Image.fromarray(np.clip(level * 244, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.merge("RGB", [grey.point(_times(round(part * 104))) for part in balance])


def _blur(size: tuple[int, int], rng: Random) -> Image.Image:
    """How much the ground is out of focus, grey. The plane of focus goes through the middle of the picture."""
    strength = rng.uniform(0.2, 1.0)
    v, u = np.mgrid[-0.5:0.5:24j, -0.5:0.5:32j]
    tilt = rng.gauss(1.57, 0.4)
    depth = np.abs(u * cos(tilt) + v * sin(tilt))
    mask = np.clip((depth - 0.2) * 3.4 * strength, 0, 1) * 255
    return Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def draw(photo: Photo) -> Image.Image:
    """The picture of a photo, RGB, `photo.size` pixels."""
    size = photo.size if photo.size[0] >= 300 else (photo.size[0] * 5, photo.size[1] * 5)
    rng, place = Random(f"{photo.number} light"), Random(photo.individual)
    surface = place.choice(backdrop.SCENES[photo.scene]) if photo.stage == "adult" else "leaf"
    picture = backdrop.crop(surface, size, _blur(size, rng), rng)
    animal = _animal(photo, size)
    _cast(picture, animal, min(size) * 0.3, rng)
    box = animal.getbbox()
    if box:
        piece = animal.crop(box)
        picture.paste(piece, box, piece)
    picture = ImageChops.multiply(picture, _light(photo, size, rng))
    grain = _grain(rng.choice((2, 5)))
    x, y = rng.randrange(grain.width - size[0] + 1), rng.randrange(grain.height - size[1] + 1)
    picture = ImageChops.add(picture, grain.crop((x, y, x + size[0], y + size[1])), 1, -128)
    return picture if size == photo.size else picture.resize(photo.size, Image.Resampling.LANCZOS)


def encode(photo: Photo) -> bytes:
    """The file of a photo, with its fault if the file has one."""
    buffer = io.BytesIO()
    image = draw(photo)
    if photo.fault == "png":
        image.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    exif = Image.Exif()
    if photo.fault == "rotated":
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    mode = {"grey": "L", "cmyk": "CMYK"}.get(photo.fault, "RGB")
    image.convert(mode).save(buffer, "JPEG", quality=85, exif=exif)
    content = buffer.getvalue()
    return content[: len(content) * 6 // 10] if photo.fault == "truncated" else content
