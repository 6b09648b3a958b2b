"""What of an image is kept, and how large it becomes."""

from dataclasses import dataclass

RESIZE_MODES = ("shorter", "longer", "square")

Box = tuple[float, float, float, float]  # left, top, right, bottom from 0 to 1 of the upright image


@dataclass(frozen=True)
class Frame:
    """The rectangle (left, top, right, bottom, in pixels of the upright image) to keep, and the size it is to have."""

    kept: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def kept_size(self) -> tuple[int, int]:
        """Pixels across and down of what is kept."""
        return self.kept[2] - self.kept[0], self.kept[3] - self.kept[1]

    @property
    def is_enlarged(self) -> bool:
        """Whether pixels have to be made up."""
        return self.size[0] > self.kept_size[0]


def framed(whole: tuple[int, int], box: Box | None, side: int, mode: str) -> Frame:
    """The frame of an upright image of `whole` pixels: its `box`, if any, then resized to `side` pixels (0: as it is).

    `shorter` and `longer` keep the shape, make that side at most `side` long and never enlarge. `square` takes the
    square in the middle and makes it `side` x `side`, whatever it was, so that all samples can be stacked.
    """
    kept = in_pixels(box, *whole) if box else (0, 0, *whole)
    across, down = kept[2] - kept[0], kept[3] - kept[1]
    if not side:
        return Frame(kept, (across, down))
    if mode == "square":
        edge = min(across, down)
        left, top = kept[0] + (across - edge) // 2, kept[1] + (down - edge) // 2
        return Frame((left, top, left + edge, top + edge), (side, side))
    return Frame(kept, _fitted(across, down, side, mode))


def in_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A relative box in pixels of an upright image: left, top, right, bottom; at least one pixel each way."""
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)


def _fitted(width: int, height: int, side: int, mode: str) -> tuple[int, int]:
    measured = min(width, height) if mode == "shorter" else max(width, height)
    if measured <= side:
        return width, height
    return max(1, round(width * side / measured)), max(1, round(height * side / measured))
