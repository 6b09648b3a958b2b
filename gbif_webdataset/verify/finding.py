"""The result of checking one image file."""

from dataclasses import dataclass


@dataclass(slots=True)
class Finding:
    """The result of checking one image file.

    `error` is a Defect, or a DecoderWarning if warnings count as errors; empty for an image that can be used. `warning`
    is a DecoderWarning or empty. `width` and `height` are in pixels as viewers show the image, `stored_width` and
    `stored_height` in pixels before EXIF turns it. `perceptual_hash` has 64 bits in hexadecimal. A `flat` image has one
    shade all over. Fields that could not be determined are None.
    """

    error: str = ""
    warning: str = ""
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    stored_width: int | None = None
    stored_height: int | None = None
    flat: bool | None = None
    perceptual_hash: str | None = None
    file_size: int | None = None
    sha256: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the image can be used."""
        return not self.error
