"""Which part of an image a sample shows, and its size in pixels."""

from dataclasses import dataclass

RESIZE_MODES = ("shorter", "longer", "square")

Box = tuple[float, float, float, float]
"""left, top, right, bottom as fractions (0 to 1) of the upright image."""


@dataclass(frozen=True)
class Frame:
    """The rectangle to crop (left, top, right, bottom, in pixels of the upright image), and its size after resizing."""

    rectangle: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def cropped_size(self) -> tuple[int, int]:
        """Width and height of the rectangle, in pixels."""
        left, top, right, bottom = self.rectangle
        return right - left, bottom - top

    @property
    def is_enlarged(self) -> bool:
        """Whether resizing adds pixels."""
        return self.size[0] > self.cropped_size[0]


def fit_frame(upright_size: tuple[int, int], box: Box | None, side: int, mode: str) -> Frame:
    """The frame of an upright image of `upright_size` pixels: `box`, or the whole image, resized to `side` pixels.

    `shorter` and `longer` name the side that gets at most `side` pixels. They keep the aspect ratio and never enlarge.
    `square` crops the central square and resizes it to `side` x `side`, even if that enlarges it, so that all samples
    can be stacked. A `side` of 0 does not resize.
    """
    rectangle = box_to_pixels(box, *upright_size) if box else (0, 0, *upright_size)
    width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
    if not side:
        return Frame(rectangle, (width, height))
    if mode == "square":
        edge = min(width, height)
        left, top = rectangle[0] + (width - edge) // 2, rectangle[1] + (height - edge) // 2
        return Frame((left, top, left + edge, top + edge), (side, side))
    return Frame(rectangle, _fit_size(width, height, side, mode))


def box_to_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A box in pixels of an upright image: left, top, right, bottom. It has at least one pixel per side."""
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)


def _fit_size(width: int, height: int, side: int, mode: str) -> tuple[int, int]:
    limited = min(width, height) if mode == "shorter" else max(width, height)
    if limited <= side:
        return width, height
    return max(1, round(width * side / limited)), max(1, round(height * side / limited))
