"""The files of the sample's photos: drawn once by several processes, then kept in a zip in `.cache`."""

import fcntl
import hashlib
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from PIL import features

from gbif_webdataset.process_pool import run_in_processes
from gbif_webdataset.storage.atomic import atomic_file
from sample.plan import Photo

FOLDER = Path(__file__).parents[1] / ".cache"
FILE_NAME = "sample-photos-{}.zip"
MAX_PROCESSES = 4  # each keeps 250 MB of painted wings and backgrounds


def load_photos(photos: Sequence[Photo], folder: Path = FOLDER) -> dict[str, bytes]:
    """The file of each photo, by its path at the server. If `folder` does not have them, they are drawn first."""
    path = folder / FILE_NAME.format(drawing_version())
    folder.mkdir(exist_ok=True)
    with (folder / "sample-photos.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits for the photos instead of drawing them again
        try:
            return _read(path)
        except (FileNotFoundError, BadZipFile):
            _write(path, draw_photos(photos))
            return _read(path)


def drawing_version() -> str:
    """A digest of everything that decides the bytes of a photo: this package's code, the libraries, the processor."""
    digest = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    codecs = [features.version(name) for name in ("libjpeg_turbo", "jpg", "zlib")]
    digest.update(repr((version("Pillow"), codecs, version("numpy"), platform.machine())).encode())
    return digest.hexdigest()[:16]


def draw_photos(photos: Sequence[Photo]) -> dict[str, bytes]:
    """The file of each photo, by its path at the server. Says on stderr what it does and how long that took."""
    start = time.monotonic()
    print(f"Drawing the {len(photos)} photos of the sample (once) ...", file=sys.stderr, flush=True)
    by_species: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_species[photo.species].append(photo)
    tasks = sorted(by_species.values(), key=len, reverse=True)  # one process paints all wings of a species
    processes = min(MAX_PROCESSES, len(os.sched_getaffinity(0)))
    files: dict[str, bytes] = {}
    for drawn in run_in_processes(_encode_all, tasks, processes, lambda count: None):
        files.update(drawn)
    print(f"Drew the photos in {time.monotonic() - start:.1f} s.", file=sys.stderr, flush=True)
    return files


def _encode_all(photos: Sequence[Photo], progress: Callable[[int], None]) -> dict[str, bytes]:
    from sample.photos import encode  # NumPy, which a server of photos that are drawn already does not need

    return {photo.path: encode(photo) for photo in photos}


def _read(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, files: dict[str, bytes]) -> None:
    """Write the zip, complete or not at all, and remove those of other versions of the drawing."""
    with atomic_file(path) as temporary, ZipFile(temporary, "w") as archive:
        for name, file in sorted(files.items()):
            archive.writestr(name, file)
    for other in path.parent.glob(FILE_NAME.format("*")):
        if other != path:
            other.unlink()
