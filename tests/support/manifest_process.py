"""A manifest built in a process of its own, which tells its peak of memory, or dies in the midst of it.

python -m tests.support.manifest_process ARCHIVE FOLDER MEMORY [KEYS | --die-once-spilled]
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.read import read_archive
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.select_media import Selection

ROOT = Path(__file__).parents[2]
CHUNKS = 16
DIE = "--die-once-spilled"


@dataclass(frozen=True)
class Built:
    """The images of each chunk, the rejected lines, the process's peak of memory in MiB, the most files spilled to.

    And whether pandas was imported.
    """

    images: list[int]
    rejected: dict[str, dict[str, int]]
    peak: float
    spilled: int
    with_pandas: bool


def run(archive: Path, folder: Path, memory: int, *more: str) -> "subprocess.CompletedProcess[str]":
    """Build `folder`/manifest in another process, which spills to `folder`/scratch."""
    command = [sys.executable, "-m", "tests.support.manifest_process", str(archive), str(folder), str(memory), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def built(archive: Path, folder: Path, memory: int, *more: str) -> Built:
    """Build it in another process, which has to end well."""
    ended = run(archive, folder, memory, *more)
    assert ended.returncode == 0, ended.stderr
    return Built(**json.loads(ended.stdout))


def main(archive: Path, folder: Path, memory: int, how: str = "") -> None:
    """The process."""
    keys = read_archive.read_keys(Path(how)) if how and how != DIE else None
    spilled = 0

    def progress(done: int, total: int) -> None:
        nonlocal spilled
        spilled = max(spilled, len(list((folder / "scratch").rglob("*.arrow"))))
        if spilled and how == DIE:
            os.kill(os.getpid(), signal.SIGKILL)

    selection = Selection("acceptedTaxonKey", keys)
    counts = read_archive.build(
        archive, folder / "manifest", CHUNKS, selection, Resources(memory, folder / "scratch"), progress
    )
    # getrusage would tell the peak of the parent, whose memory a child that is spawned shares until it executes.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    peak = int(line.split()[1]) / 1024
    print(json.dumps(vars(Built(counts.images, counts.rejected, peak, spilled, "pandas" in sys.modules))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
