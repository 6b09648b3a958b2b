"""What the tests of verifying share."""

import hashlib
from collections.abc import Iterator

import pytest
from PIL import Image, ImageFile

from gbif_webdataset.verify import check_image as check_module
from gbif_webdataset.verify.check_image import check_image
from gbif_webdataset.verify.finding import Finding
from tests.support.verify_run import Checker


@pytest.fixture
def check() -> Checker:
    """A function that checks bytes which are the same as at their download."""

    def check_bytes(data: bytes, strict: bool = False) -> Finding:
        return check_image(data, hashlib.sha256(data).hexdigest(), 100_000_000, strict)

    return check_bytes


class OddError(Exception):
    """An error that only one decoder raises."""


class OddImage(ImageFile.ImageFile):
    """A made-up format whose decoder fails with an error of its own."""

    format = "ODD"

    def _open(self) -> None:
        self._size, self._mode = (61, 43), "RGB"

    def load(self) -> None:
        raise OddError("no such luck")


@pytest.fixture
def odd_format() -> Iterator[bytes]:
    """A file of the made-up format, which Pillow can open."""
    Image.register_open("ODD", OddImage, lambda prefix: prefix.startswith(b"ODDITY"))
    yield b"ODDITY" * 20
    del Image.OPEN["ODD"]
    Image.ID.remove("ODD")


@pytest.fixture
def listed_odd_format(odd_format: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file of the made-up format, which is one of those that are decoded."""
    monkeypatch.setattr(check_module, "FORMATS", (*check_module.FORMATS, "ODD"))
    return odd_format
