"""Reads archives in a process of its own, which reports its peak memory, or kills itself while it reads.

python -m tests.support.manifest_process ARCHIVE[,ARCHIVE...] FOLDER MEMORY [SUBSET_LIST | --kill-once-spilled]
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.read_archive import read_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import read_subset_list
from gbif_webdataset.terms.downloads import NO_STATEMENT

ROOT = Path(__file__).parents[2]
CHUNKS = 16
KILL = "--kill-once-spilled"


@dataclass(frozen=True)
class ProcessReport:
    """What the process reports.

    Attributes:
        images: images of each chunk.
        rejected: rejected lines by kind and reason.
        peak: peak memory in MiB.
        spilled: the largest number of partition files at one time.
        imports_pandas: whether pandas was imported.
    """

    images: list[int]
    rejected: dict[str, dict[str, int]]
    peak: float
    spilled: int
    imports_pandas: bool


def start_reading(
    archive: Path | str, folder: Path, memory: int, option: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Write `folder`/manifest in another process, with temporary files in `folder`/scratch."""
    options = [option] if option else []
    command = [sys.executable, "-m", "tests.support.manifest_process", str(archive), str(folder), str(memory), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def read_in_process(archive: Path | str, folder: Path, memory: int, option: str = "") -> ProcessReport:
    """The report of such a process, which must succeed."""
    ended = start_reading(archive, folder, memory, option)
    assert ended.returncode == 0, ended.stderr
    return ProcessReport(**json.loads(ended.stdout))


def main(archives: list[Path], folder: Path, memory: int, option: str = "") -> None:
    """Read the archives and print the report."""
    subset = read_subset_list(Path(option)) if option and option != KILL else None
    spilled = 0

    def progress(done: int, total: int) -> None:
        nonlocal spilled
        spilled = max(spilled, len(list((folder / "scratch").rglob("*.arrow"))))
        if spilled and option == KILL:
            os.kill(os.getpid(), signal.SIGKILL)

    writer, resources = ManifestWriter(folder / "manifest", CHUNKS), Resources(memory, folder / "scratch")
    options, paths = SelectionOptions("acceptedTaxonKey", subset), dict.fromkeys(archives, NO_STATEMENT)
    counts = read_archives(paths, writer, options, resources, progress)
    # getrusage would report the peak of the parent, whose memory a spawned child shares until it executes.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    peak = int(line.split()[1]) / 1024
    report = ProcessReport(counts.images, counts.rejected, peak, spilled, "pandas" in sys.modules)
    print(json.dumps(vars(report)))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1].split(","))), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
