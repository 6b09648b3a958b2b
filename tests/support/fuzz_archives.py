"""Reads mutated archives, each in a process of its own with limits of memory and time, and counts how they end.

python -m tests.support.fuzz_archives [FIRST [COUNT]]        (20,000 mutants from 0, if nothing else is given)
python -m tests.support.fuzz_archives --read ARCHIVE FOLDER  (one archive; the manifest goes into FOLDER)
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.read_archive import read_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.terms.downloads import NO_STATEMENT
from tests.support.mutants import write_hostile_mutant

ROOT = Path(__file__).parents[2]
MAX_PEAK_BYTES = 1 << 30
MAX_SECONDS = 20
MAX_ADDRESS_BYTES = 8 << 30  # protects the machine; only resident memory counts
MEMORY = 64 << 20
MANIFEST, SENTENCE, DEFECT = 0, 3, 4
IN_MEMORY = (
    "/dev/shm" if Path("/dev/shm").is_dir() else None
)  # files are synced, which takes most of the time on a disk


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (negative for a signal), what it wrote, its peak memory, its duration."""

    status: int
    text: str
    peak_bytes: int
    seconds: float


@dataclass
class Summary:
    """How the mutants ended; `failures` are those that broke a limit or raised an error that is no sentence."""

    manifests: int = 0
    sentences: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def read_limited(archive: Path, folder: Path) -> Ended:
    """Read an archive in another process with limits; the manifest goes into `folder`."""
    return Ended(**_run("--read", str(archive), str(folder)))


def fuzz(first: int, count: int) -> Summary:
    """Read so many mutants, from the seed `first`, in processes with limits."""
    return Summary(**_run("--json", str(first), str(count)))


def _run(*arguments: str) -> dict[str, Any]:
    """What this module prints as a command: processes are only forked from one without threads."""
    command = [sys.executable, "-m", "tests.support.fuzz_archives", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    return dict(json.loads(ended.stdout))


def _read_in_fork(archive: Path, folder: Path) -> Ended:
    output, started = folder / "text", time.monotonic()
    process = os.fork()
    if not process:
        os._exit(_read(archive, folder, output))
    _, status, usage = os.wait4(process, 0)
    text = output.read_text() if output.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), text, usage.ru_maxrss << 10, time.monotonic() - started)


def _read_mutants(seeds: Iterable[int]) -> Summary:
    summary = Summary()
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=IN_MEMORY))
        ended = _read_in_fork(write_hostile_mutant(folder, seed), folder)
        shutil.rmtree(folder)
        summary.peak_bytes, summary.seconds = (
            max(summary.peak_bytes, ended.peak_bytes),
            max(summary.seconds, ended.seconds),
        )
        if ended.status not in (MANIFEST, SENTENCE) or ended.peak_bytes > MAX_PEAK_BYTES or ended.seconds > MAX_SECONDS:
            summary.failures.append(f"mutant {seed}: {ended}")
        summary.manifests += ended.status == MANIFEST
        summary.sentences += ended.status == SENTENCE
    return summary


def _read(archive: Path, folder: Path, output: Path) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MAX_SECONDS)
    writer, resources = ManifestWriter(folder / "manifest", 2), Resources(MEMORY, folder / "scratch")
    options = SelectionOptions("acceptedTaxonKey")
    try:
        read_archives({archive: NO_STATEMENT}, writer, options, resources, lambda done, total: None)
    except DatasetError as error:
        output.write_text(str(error))
        is_sentence = str(error).isprintable() and "bug" not in str(error).replace(str(archive), "")
        return SENTENCE if is_sentence else DEFECT
    except BaseException:
        output.write_text(traceback.format_exc())
        return DEFECT
    return MANIFEST


def main(first: int = 0, count: int = 20_000) -> int:
    """Print how the mutants ended."""
    summary = _read_mutants(range(first, first + count))
    print(f"{summary.manifests:,} manifests, {summary.sentences:,} sentences, {len(summary.failures):,} failures")
    print(f"peak {summary.peak_bytes >> 20:,} MiB, longest {summary.seconds:.1f} s")
    print("\n".join(summary.failures))
    return bool(summary.failures)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--read", archive_path, folder_path]:
            print(json.dumps(asdict(_read_in_fork(Path(archive_path), Path(folder_path)))))
        case ["--json", seed, number]:
            print(json.dumps(asdict(_read_mutants(range(int(seed), int(seed) + int(number))))))
        case numbers:
            sys.exit(main(*map(int, numbers)))
