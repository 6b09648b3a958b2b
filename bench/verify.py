"""Verifying photos on one core: ours, ours through luigi, and the old way in turn; tjbench for the limit.

python -m bench verify [--rounds 5] [--old SCRIPT] [--share 1.0]

Prints images per second of processor time, as others may be at work on the machine, and the peak of memory. What a
process takes to start is taken off ours and the old way's, not off luigi's.
"""

import hashlib
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sample.photos import draw
from sample.plan import make_plan
from tasks.core import verify

ROOT = Path(__file__).parent.parent
MAX_PIXELS = 100_000_000
# Where Debian's mate-backgrounds and lomiri-wallpapers keep photos under free licences.
FOLDERS = (("/usr/share/backgrounds/mate/nature", "*.jpg"), ("/usr/share/backgrounds", "*_by_*.jpg"))
SIZES = ((500, 375, 3000), (1024, 768, 1200), (2048, 1536, 400))  # pixels, and how many photos
BASELINE = ((75, "4:2:0"), (85, "4:2:0"), (90, "4:2:2"), (92, "4:4:4"))  # quality, subsampling
PROGRESSIVE = (85, "4:2:0")
KINDS = ("baseline", "progressive")
SHA256 = "sha256.txt"
TJBENCH_ON = 12  # photos of each kind
META = """<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files><location>occurrence.txt</location></files><id index="0"/>
    <field index="1" term="http://rs.gbif.org/terms/1.0/datasetKey"/>
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
             rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files><coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
  </extension>
</archive>
"""


@dataclass(frozen=True)
class Run:
    """A command's seconds of processor time, its children's included, and its largest process in MiB."""

    seconds: float
    peak: float


def timed(command: Sequence[str]) -> Run:
    """Run a command to its end, in the repository; ends the benchmark where it fails."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def sources() -> tuple[list[Image.Image], str]:
    """Photos to cut others from, and where they are from."""
    paths = [path for folder, pattern in FOLDERS for path in sorted(Path(folder).glob(pattern))]
    if paths:
        return [Image.open(path).convert("RGB") for path in paths], "Debian's mate-backgrounds and lomiri-wallpapers"
    plain = [photo for photo in make_plan().photos if photo.size == (1024, 768) and not photo.fault]
    return [draw(photo) for photo in plain], "the sample's drawings (Debian's mate-backgrounds has photos)"


def write(folder: Path, photos: Sequence[Image.Image], size: tuple[int, int], count: int) -> None:
    """Write `count` photos of a size, one in eight of them progressive, to a folder for each of KINDS."""
    dice, lines = random.Random(count), []
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        photo = photos[number % len(photos)]
        across = min(photo.width, photo.height * 4 // 3) * dice.uniform(0.6, 1)
        left, top = dice.uniform(0, photo.width - across), dice.uniform(0, photo.height - across * 3 / 4)
        box = (left, top, left + across, top + across * 3 / 4)
        cut = photo.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3)
        kind = KINDS[number % 8 == 7]
        quality, subsampling = PROGRESSIVE if kind == "progressive" else BASELINE[number % len(BASELINE)]
        path = folder / kind / f"{number}.jpg"
        cut.save(path, "JPEG", quality=quality, subsampling=subsampling, progressive=kind == "progressive")
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {kind}/{path.name}\n")
    (folder / SHA256).write_text("".join(lines))


def look(folder: Path, kind: str) -> None:
    """Look at every photo of a kind, one after another; ends the benchmark where one is found bad."""
    for line in (folder / SHA256).read_text().splitlines():
        sha256, name = line.split()
        if name.startswith(kind):
            found = verify.look(folder / name, sha256, MAX_PIXELS)
            if not found.valid:
                sys.exit(f"{name}: {found.error}")


def fetched(folder: Path) -> list[str]:
    """Make a dataset whose photos are fetched; the command that verifies them with one worker."""
    names = [line.split()[1] for line in (folder / SHA256).read_text().splitlines()]
    keys = [(kind, name.removesuffix(".jpg")) for kind, name in (path.split("/") for path in names)]
    archive, output = folder / "archive.zip", folder / "output"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("meta.xml", META)
        file.writestr("occurrence.txt", "id\tdataset\n" + "".join(f"{key}\t{kind}\n" for kind, key in keys))
        urls = "".join(f"{key}\thttp://127.0.0.1/{key}.jpg\n" for _, key in keys)
        file.writestr("multimedia.txt", f"id\turl\n{urls}")
    luigi = [sys.executable, "-m", "luigi", "--module", "tasks"]
    which = ["--dwca", str(archive), "--output", str(output), "--chunks", "1"]
    timed([*luigi, "FetchImages", *which, "--FetchChunk-cache-path", str(folder)])
    return [*luigi, "VerifyImages", *which, "--FetchChunk-cache-path", str(folder), "--VerifyChunk-num-workers", "1"]


def limit(folder: Path) -> str:
    """What libjpeg-turbo's own tjbench decodes to an eighth; its -grayscale would take the colours out beforehand."""
    if not shutil.which("tjbench"):
        return "tjbench is not installed"
    told = []
    for kind in KINDS:
        seconds = []
        for path in sorted((folder / kind).glob("*.jpg"))[:TJBENCH_ON]:
            command = ["tjbench", str(path), "-scale", "1/8", "-nowrite", "-benchtime", "0.2", "-warmup", "0.1"]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds.append(1 / float(re.findall(r"([0-9.]+) fps", printed)[-1]))
        told.append(f"{kind} {1 / statistics.mean(seconds):,.0f}")
    return f"the limit, by tjbench: {', '.join(told)} images/s"


def show(name: str, count: int, runs: Mapping[str, Sequence[Run]]) -> None:
    """Print the medians of a group of photos, and how each way compares with the last."""
    seconds = {way: statistics.median(run.seconds for run in found) for way, found in runs.items()}
    peaks = {way: statistics.median(run.peak for run in found) for way, found in runs.items()}
    old = list(runs)[-1]
    for way in runs:
        ratio = "" if way == old else f", {seconds[old] / seconds[way]:.2f} times as fast"
        speed = f"{count / seconds[way]:8,.0f} images/s"
        print(f"  {name:11} {way:13} {seconds[way]:7.2f} s {speed} {peaks[way]:5,.0f} MiB{ratio}", flush=True)


def bench(rounds: int, old: str, share: float) -> None:
    """Measure each of SIZES."""
    photos, origin = sources()
    print(f"verify: photos of {origin}, one core, medians of {rounds}", flush=True)
    for width, height, most in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder, count = Path(name), max(16, round(most * share))
            write(folder, photos, (width, height), count)
            size = sum(path.stat().st_size for path in folder.glob("*/*.jpg"))
            print(f"{width} x {height}: {count:,} photos, {size / count / 1e3:,.0f} kB each", flush=True)
            _measure(folder, rounds, old, count)
            print(f"  {limit(folder)}", flush=True)


def _measure(folder: Path, rounds: int, old: str, count: int) -> None:
    """Time the ways in turn, and print what they took; the old way is done to all photos by kinds."""
    through_luigi = fetched(folder)
    ours: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    theirs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    by_luigi = []
    (folder / "none").mkdir()
    for _ in range(rounds):
        starts = [timed(command).seconds for command in _commands(folder, "none", old)]
        for kind in KINDS:
            for runs, command, start in zip((ours, theirs), _commands(folder, kind, old), starts, strict=True):
                run = timed(command)
                runs[kind].append(Run(run.seconds - start, run.peak))
        for record in (folder / "output" / ".made").glob("Verify*"):
            record.unlink()
        by_luigi.append(timed(through_luigi))
    for kind in KINDS:
        show(kind, len(list((folder / kind).iterdir())), {"ours": ours[kind], "old way": theirs[kind]})
    both = {"ours": _together(ours), "through luigi": by_luigi, "old way": _together(theirs)}
    show("both", count, both)


def _commands(folder: Path, kind: str, old: str) -> tuple[list[str], list[str]]:
    """What verifies the photos of a kind: ours, and the old way."""
    script = old.split() if old else ["-m", "bench.old_way"]
    theirs = [sys.executable, *script, "verify", str(folder / kind), "-j", "1"]
    return [sys.executable, "-m", "bench.verify", str(folder), kind], theirs


def _together(runs: Mapping[str, Sequence[Run]]) -> list[Run]:
    """The rounds of the two kinds as one."""
    pairs = zip(*runs.values(), strict=True)
    return [Run(sum(run.seconds for run in pair), max(run.peak for run in pair)) for pair in pairs]


if __name__ == "__main__":
    look(Path(sys.argv[1]), sys.argv[2])
