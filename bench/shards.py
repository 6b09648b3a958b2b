"""CreateWebDataset compared with the old way: time, memory, and how near each comes to the best resized picture.

python -m bench.shards make FOLDER WORKERS [TO] write the shards of FOLDER's images and splits (this is timed)
python -m bench.shards photos FOLDER WIDTH      write these images and splits
python -m bench.shards fidelity TARS IMAGES     compare the pictures in TARS with the best ones
python -m bench.shards hashing FOLDER           seconds to hash all images and shards
"""

import argparse
import csv
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bench import publish, real_photos, runs
from bench.runs import Run
from gbif_webdataset.remote.address_claim import CLAIM

SIDE = 450  # pixels of the shorter side
SIZES = {2048: 600, 1024: 1200, 500: 6000}  # photos of each width
SHARD_BYTES = 4 << 20  # small, so that there are enough shards for two workers
MIN_DIRECT_SHARE = 0.85  # of the speed of local shards, when they are written to a server of S3
COMPARED = 80  # outputs whose fidelity is measured


def bench(rounds: int, old: str) -> None:
    """Measure photos of each size, which are resized to SIDE if they are larger: time, memory and fidelity.

    Work that needs memory is done in other processes, because a process starts with the peak memory of its parent.
    """
    for width, count in SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            origin = _run_part("photos", str(folder), str(width))
            print(
                f"shards: {count:,} images {width} pixels wide, {origin}, medians of {rounds}, {runs.describe_load()}"
            )
            _compare(folder, count, rounds, old)
            if width * 3 // 4 > SIDE:
                for way, tars in (("ours", folder / "shards" / "train"), ("old way", folder / "old")):
                    print(f"  {way:12} {_run_part('fidelity', str(tars), str(folder / 'images' / 'photos'))}")
            else:
                print(f"  {'copying':12} {_copying(folder):8.2f} s: reading, writing and syncing the bytes alone")


def _run_part(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench.shards", *arguments]
    return subprocess.run(command, cwd=runs.ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _compare(folder: Path, count: int, rounds: int, old: str) -> None:
    def ours(workers: int) -> Run:
        _empty(folder / "shards")
        return runs.timed([sys.executable, "-m", "bench.shards", "make", str(folder), str(workers)])

    def theirs() -> Run:
        _empty(folder / "old")
        images, out = str(folder / "images" / "photos"), str(folder / "old")
        return runs.timed(runs.old_way(old, "shards", images, out, "--size", str(SIDE)))

    ways = {"1 worker": lambda: ours(1), "2 workers": lambda: ours(2), "old way": theirs}
    results = runs.in_turn(ways, rounds)
    runs.print_comparison({name: results[name] for name in ("1 worker", "old way")}, count)
    runs.print_comparison({name: results[name] for name in ("2 workers", "1 worker")}, count)
    hashing = float(_run_part("hashing", str(folder)))
    share = hashing / statistics.median(run.processor for run in results["1 worker"])
    print(f"  {'hashing':12} {hashing:8.2f} s: {share:.1%} of the processor time of 1 worker")
    for server in publish.SERVERS:
        _compare_direct(server, folder, count, rounds)


def _compare_direct(server: str, folder: Path, count: int, rounds: int) -> None:
    """Write shards to a server of S3 on this machine, and to the local disk."""
    os.environ.update(publish.KEYS)

    def make(*to: str) -> Run:
        _empty(folder / "shards")
        (folder / CLAIM).unlink(missing_ok=True)  # every server is a new one
        return runs.timed([sys.executable, "-m", "bench.shards", "make", str(folder), "2", *to])

    def make_in_bucket() -> Run:
        with publish.serve(server, folder / "server") as url:
            os.environ["AWS_ENDPOINT_URL"] = url
            return make(f"s3://{publish.BUCKET}/moths")

    results = runs.in_turn({server: make_in_bucket, "local": make}, rounds)
    runs.print_comparison(results, count)
    share = runs.median_seconds(results["local"]) / runs.median_seconds(results[server])
    print(f"  {share:.2f} of the speed of local shards (at least {MIN_DIRECT_SHARE})")


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _fidelity(tars: Path, images: Path) -> str:
    """The peak signal-to-noise ratio of outputs, compared with a full decode and Lanczos resampling."""
    ratios, lengths = [], []
    sources = {path.stem: path for path in images.rglob("*.jpg")}
    for key, data in _pictures(tars):
        with Image.open(io.BytesIO(data)) as image, Image.open(sources[Path(key).name]) as source:
            best = source.convert("RGB").resize(image.size, Image.Resampling.LANCZOS)
            off = np.square(np.asarray(image, np.float64) - np.asarray(best, np.float64)).mean()
        ratios.append(10 * np.log10(255**2 / off))
        lengths.append(len(data))
    size = f"{np.mean(lengths) / 1000:.0f} kB an image"
    return f"{np.mean(ratios):.2f} dB from a full decode with Lanczos (minimum {min(ratios):.2f}), {size}"


def _pictures(tars: Path) -> Iterator[tuple[str, bytes]]:
    """About COMPARED pictures, which do not depend on their order in the tars."""
    found = {}
    for path in sorted(tars.glob("*.tar")):
        with tarfile.open(path) as tar:
            found.update({Path(member.name).name: path for member in tar if member.name.endswith(".jpg")})
    for name in sorted(found)[:: max(1, len(found) // COMPARED)]:
        with tarfile.open(found[name]) as tar:
            member = next(member for member in tar if Path(member.name).name == name)
            file = tar.extractfile(member)
            assert file is not None
            yield name.removesuffix(".jpg"), file.read()


def _hashing(folder: Path) -> float:
    """Seconds of processor time that the SHA-256 of every image and every shard takes."""
    seconds = 0.0
    for path in (*(folder / "images").rglob("*.jpg"), *(folder / "shards").rglob("*.tar")):
        data, start = path.read_bytes(), time.process_time()
        hashlib.sha256(data).digest()
        seconds += time.process_time() - start
    return seconds


def _copying(folder: Path) -> float:
    """Seconds to write all images to one file and sync it: the limit of every writer of tars."""
    start = time.perf_counter()
    with (folder / "copy").open("wb") as file:
        for path in (folder / "images").rglob("*.jpg"):
            file.write(path.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def _make(folder: Path, workers: int, to: str = "") -> None:
    from gbif_webdataset.remote.store_address import StoreAddress
    from gbif_webdataset.shards.create_webdataset import create_shards
    from gbif_webdataset.shards.recipe import Recipe
    from gbif_webdataset.shards.shard_files import ShardFolders

    recipe = Recipe("label", max_shard_size=SHARD_BYTES, shuffle=True, seed=42, resize_min_size=SIDE, to=to)
    splits, images, shards, scratch = (folder / name for name in ("splits", "images", "shards", "scratch"))
    folders = ShardFolders(splits, images, shards, scratch, to=StoreAddress.parse(to) if to else None)
    create_shards(folders, recipe, workers, lambda done, total: None)


def _photos(folder: Path, width: int) -> str:
    real_photos.write(folder / "images" / "photos", real_photos.load_scenes(), (width, width * 3 // 4), SIZES[width])
    _write_splits(folder / "images", folder / "splits")
    return "from real photos" if real_photos.find_photos() else "drawn"


def _write_splits(images: Path, splits: Path) -> None:
    """Write the splits of all images below `images`: all are in train and have one of a few labels."""
    names = ["coreid", "identifier", "image_path", "label", "format", "width", "height", "file_size", "sha256"]
    splits.mkdir()
    for split in ("train", "val", "test"):
        with (splits / f"{split}.csv").open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(names)
            for number, path in enumerate(sorted(images.rglob("*.jpg")) if split == "train" else ()):
                with Image.open(path) as image:
                    size = image.size
                where, data = path.relative_to(images).as_posix(), path.read_bytes()
                measured = ["JPEG", *size, len(data), hashlib.sha256(data).hexdigest()]
                lines.writerow([path.stem, path.name, where, f"label {number % 7}", *measured])


def main() -> None:
    """The parts that run in other processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["make", "photos", "fidelity", "hashing"])
    parser.add_argument("arguments", nargs="+")
    part, given = vars(parser.parse_args()).values()
    if part == "make":
        _make(Path(given[0]), int(given[1]), *given[2:])
    elif part == "photos":
        print(_photos(Path(given[0]), int(given[1])))
    elif part == "hashing":
        print(_hashing(Path(given[0])))
    else:
        print(_fidelity(Path(given[0]), Path(given[1])))


if __name__ == "__main__":
    main()
