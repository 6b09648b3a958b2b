"""What can be found in a fetched image: the codes, and the record of one image."""

from dataclasses import dataclass

MISSING_FILE, CHANGED_FILE = "missing-file", "changed-file"
NOT_AN_IMAGE, UNSUPPORTED, TOO_MANY_PIXELS = "not-an-image", "unsupported-format", "too-many-pixels"
TRUNCATED, CORRUPT = "truncated", "corrupt-data"
ERRORS = (MISSING_FILE, CHANGED_FILE, NOT_AN_IMAGE, UNSUPPORTED, TOO_MANY_PIXELS, TRUNCATED, CORRUPT)

# What libjpeg warns of in files that every viewer shows well.
JFIF_REVISION, STRAY_BYTES, PADDING = "jfif-revision", "stray-bytes", "padding"
WARNINGS = (JFIF_REVISION, STRAY_BYTES, PADDING)


@dataclass(slots=True)
class Finding:
    """What a file is. `error` is one of ERRORS, of WARNINGS where those count too, or empty for a sound image.

    `warning` is one of WARNINGS, or empty; `width` and `height` are pixels as a viewer sees them, `stored_width` and
    `stored_height` before EXIF turns them; `perceptual_hash` is 64 bits in hexadecimal; a `flat` image is of one shade.
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
