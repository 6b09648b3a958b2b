"""A limit on the time that one image takes to be decoded. It stops a chunk whose decoder hangs; it drops no image."""

import threading
import time
from pathlib import Path

from gbif_webdataset.errors import DatasetError, option_text

MAX_DECODING_SECONDS = 600.0
"""Seconds after which a decoder hangs. Counts of pixels, scans and tiles keep sound files far below it."""


class HungDecoderError(DatasetError):
    """A decoder does not come to an end."""


class DecodingWatch:
    """The images that are being decoded, one in each thread, and since when."""

    def __init__(self) -> None:
        self._images: dict[int, tuple[Path, str, float]] = {}

    def start(self, path: Path, url: str) -> None:
        """Note that this thread starts with an image."""
        self._images[threading.get_ident()] = path, url, time.monotonic()

    def restart(self) -> None:
        """Note that this thread has waited for its turn to decode a large image, and starts now."""
        path, url, _ = self._images[threading.get_ident()]
        self.start(path, url)

    def stop(self) -> None:
        """Note that this thread has finished its image."""
        del self._images[threading.get_ident()]

    def check(self) -> None:
        """Return if no image takes too long.

        Raises:
            HungDecoderError: an image has taken more than MAX_DECODING_SECONDS.
        """
        for path, url, started in list(self._images.values()):
            if time.monotonic() - started > MAX_DECODING_SECONDS:
                where = "identifier <> '{}'".format(url.replace("'", "''"))
                raise HungDecoderError.at(
                    str(path),
                    f"this image has been decoded for more than {MAX_DECODING_SECONDS / 60:g} minutes, so its decoder "
                    "hangs",
                    "run the same command again; if the image hangs again, leave it out with "
                    f"{option_text('--ReadArchive-media-where', where)}",
                )
