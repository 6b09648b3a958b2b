"""Peak memory of verifying with 8 threads and of writing shards with 8 processes, for large images.

python -m bench.memory verify FOLDER    verify the images below FOLDER (this is measured)
python -m bench.memory shards FOLDER    write shards of them

The memory is that of all processes together; pages that they share count once.
"""

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from bench import runs
from gbif_webdataset.images.large_images import LARGE_PIXELS

WORKERS, COPIES = 8, 4
MAX_PIXELS = 100_000_000
SAMPLE_SECONDS = 0.02
COLOURS: dict[str, tuple[int, ...] | int] = {"RGB": (10, 20, 30), "RGBA": (10, 20, 30, 100), "P": 1}
HUGE, WIDE, BELOW_LARGE, BELOW_LARGE_JPEG = (9_990, 9_990), (16_383, 6_000), (4_600, 3_470), (7_900, 6_070)


def bench() -> None:
    """Measure both stages with images of 99 megapixels, and with images that are just not decoded one at a time."""
    assert BELOW_LARGE[0] * BELOW_LARGE[1] < LARGE_PIXELS
    for name, draw in {"99 megapixels": _draw_huge, "just below the limits": _draw_below_limits}.items():
        with tempfile.TemporaryDirectory() as folder:
            files = draw()
            for copy in range(COPIES):
                for file, data in files.items():
                    path = Path(folder, "images", "photos", f"{copy}-{file}")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            for stage in ("verify", "shards"):
                peak = measure_peak([sys.executable, "-m", "bench.memory", stage, folder])
                print(f"memory: {stage} with {WORKERS} workers, images of {name}: {peak:,.0f} MiB", flush=True)


def measure_peak(command: list[str]) -> float:
    """Run a command and return the peak memory of all its processes together, in MiB."""
    peak = 0
    with subprocess.Popen(command, cwd=runs.ROOT) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_read_memory, _list_processes(process.pid))))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise runs.BenchError(f"{' '.join(command)} failed")
    return peak / 1024


def _list_processes(parent: int) -> Iterator[int]:
    """A process and its descendants."""
    yield parent
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in _read_words(task):
            yield from _list_processes(int(child))


def _read_memory(process: int) -> int:
    """The proportional set size of a process, in KiB; 0 if it has ended."""
    words = _read_words(Path(f"/proc/{process}/smaps_rollup"))
    return int(words[words.index("Pss:") + 1]) if "Pss:" in words else 0


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _draw_huge() -> dict[str, bytes]:
    """Images of one colour: decoders need as much memory for them as for photos."""
    photo, translucent, palette = (Image.new(mode, HUGE, colour) for mode, colour in COLOURS.items())
    return {
        "1.png": _encode(translucent, "PNG", compress_level=1),
        "2.png": _encode(palette, "PNG", compress_level=1, transparency=1),
        "3.gif": _encode(palette, "GIF"),
        "4.webp": _encode(Image.new("RGBA", WIDE, COLOURS["RGBA"]), "WEBP", lossless=True, method=0),
        "5.jpg": _encode(photo, "JPEG", progressive=True),
        "6.jpg": _encode(photo, "JPEG", exif=_turned()),
    }


def _draw_below_limits() -> dict[str, bytes]:
    photo, translucent, palette = (Image.new(mode, BELOW_LARGE, colour) for mode, colour in COLOURS.items())
    return {
        "1.png": _encode(translucent, "PNG", compress_level=1),
        "2.gif": _encode(palette, "GIF"),
        "3.webp": _encode(translucent, "WEBP", lossless=True, method=0),
        "4.jpg": _encode(photo, "JPEG", progressive=True),
        "5.jpg": _encode(photo.resize(BELOW_LARGE_JPEG), "JPEG", exif=_turned()),
    }


def _turned() -> Image.Exif:
    """The EXIF data of a photo that viewers turn by 90 degrees, so that shards need all of its pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _verify(folder: Path) -> None:
    """Verify all images with WORKERS threads, as VerifyChunk does."""
    from concurrent.futures import ThreadPoolExecutor

    from gbif_webdataset.verify.check_image import check_image

    def check(path: Path) -> str:
        data = path.read_bytes()
        return check_image(data, hashlib.sha256(data).hexdigest(), MAX_PIXELS).error

    with ThreadPoolExecutor(WORKERS) as pool:
        errors = list(pool.map(check, sorted((folder / "images").rglob("*.*"))))
    if any(errors):
        sys.exit(f"not all images are valid: {errors}")


def _write_shards(folder: Path) -> None:
    """Write shards of all images with WORKERS processes; each shard has one image, so that all have work."""
    from gbif_webdataset.shards import shard_chunk
    from gbif_webdataset.shards.create_webdataset import create_shards
    from gbif_webdataset.shards.recipe import Recipe
    from gbif_webdataset.shards.shard_files import ShardFolders

    (folder / "splits").mkdir()
    names = ["coreid", "identifier", "image_path", "label", "format", "width", "height", "file_size"]
    for split in ("train", "val", "test"):
        with (folder / "splits" / f"{split}.csv").open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(names)
            for path in sorted((folder / "images").rglob("*.*")) if split == "train" else ():
                Image.MAX_IMAGE_PIXELS = None
                with Image.open(path) as image:
                    row = [path.stem, path.name, f"photos/{path.name}", "moth", image.format, *image.size]
                lines.writerow([*row, path.stat().st_size])
    shard_chunk.SAMPLES_PER_PROCESS = 1
    count = len(list((folder / "images").rglob("*.*")))
    recipe = Recipe("label", max_shard_size=1 << 30, shuffle=True, seed=42, min_shards=count)
    folders = ShardFolders(folder / "splits", folder / "images", folder / "shards", folder / "scratch")
    create_shards(folders, recipe, WORKERS, lambda done, total: None)


PARTS: dict[str, Callable[[Path], None]] = {"verify": _verify, "shards": _write_shards}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Path(sys.argv[2]))
