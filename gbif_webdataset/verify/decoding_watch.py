"""A limit on the time that one image takes to be decoded. It stops a chunk whose decoder hangs; it drops no image."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gbif_webdataset.errors import DatasetError, option_text
from gbif_webdataset.images.large_images import decode_alone, end_turn

MAX_DECODING_SECONDS = 600.0
"""Seconds after which a decoder hangs. Counts of pixels, scans and tiles keep sound files far below it."""


class HungDecoderError(DatasetError):
    """A decoder does not come to an end."""


class DecodingWatch:
    """The images that are being decoded, one in each thread, and since when."""

    def __init__(self) -> None:
        self._images: dict[int, tuple[str, str, float]] = {}

    def start(self, path: str, url: str) -> None:
        """Note that this thread starts with an image."""
        self._images[threading.get_ident()] = path, url, time.monotonic()

    @contextmanager
    def decode_alone(self, is_large: bool) -> Iterator[None]:
        """Wait for the turn of a large image. The time until then does not count, as other images may take it."""
        thread = threading.get_ident()
        path, url, _ = self._images[thread]
        self._images[thread] = path, url, math.inf
        with decode_alone(is_large):
            self.start(path, url)
            yield

    def stop(self) -> None:
        """Note that this thread has finished its image."""
        del self._images[threading.get_ident()]

    def check(self) -> None:
        """Return if no image takes too long. Otherwise further large images are decoded without waiting for it.

        Raises:
            HungDecoderError: an image has taken more than MAX_DECODING_SECONDS.
        """
        for thread, (path, url, started) in list(self._images.items()):
            if time.monotonic() - started > MAX_DECODING_SECONDS:
                end_turn(thread)
                where = "identifier <> '{}'".format(url.replace("'", "''"))
                raise HungDecoderError.at(
                    f"images/{path}",
                    f"this image has been decoded for more than {MAX_DECODING_SECONDS / 60:g} minutes, so its decoder "
                    "hangs",
                    "run the same command again; if the image hangs again, leave it out with "
                    f"{option_text('--ReadArchive-media-where', where)}",
                )
