"""What each task took: seconds, and the memory of its largest process; by its own account or by Slurm's."""

import contextlib
import csv
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path

from gbif_webdataset.slurm.jobs import STAGES
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.target_record import TargetRecord

OWN, SLURM = "own record", "Slurm"
SACCT = ("sacct", "--noheader", "--parsable2", "--format=JobID,JobName,ElapsedRaw,MaxRSS")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Cost:
    """A part of a stage: a chunk of a task by its own record, or an element of a job array by Slurm's account."""

    stage: str
    part: str
    seconds: float
    peak_bytes: int
    source: str


@dataclass(frozen=True)
class Total:
    """A stage's parts together: the sum and the largest of their seconds, the largest of their memory."""

    stage: str
    parts: int
    seconds: float
    longest: float
    peak_bytes: int


def peak_bytes() -> int:
    """The most memory that this process, or the largest of those that it waited for, has had so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(FileNotFoundError):  # Linux's getrusage tells the parent's peak where it was larger
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, children) * (1 if sys.platform == "darwin" else 1024)


def of_records(records: Mapping[str, TargetRecord]) -> list[Cost]:
    """What the records of tasks tell, in their order; `records` by the task's label, such as FetchChunk-00003."""
    found = []
    for label, record in records.items():
        stage, _, part = label.partition("-")
        found.append(Cost(stage, part, record.seconds, record.peak_bytes, OWN))
    return found


def of_slurm(listing: str, dataset: str) -> list[Cost]:
    """What SACCT prints of a dataset's jobs. A job is a line, whose steps, lines of their own, have its memory."""
    found: dict[str, Cost] = {}
    for line in listing.splitlines():
        job, name, seconds, memory = line.split("|")
        whole, _, step = job.partition(".")
        of, _, stage = name.rpartition("-")
        if not step and of == dataset and stage in STAGES:
            found[job] = Cost(stage, whole.partition("_")[2], float(seconds or 0), 0, SLURM)
        elif step and whole in found:
            before = found[whole]
            peak = max(before.peak_bytes, _bytes(memory))
            found[whole] = Cost(before.stage, before.part, before.seconds, peak, SLURM)
    return sorted(found.values(), key=lambda cost: (STAGES.index(cost.stage), cost.part))


def _bytes(memory: str) -> int:
    number = memory.rstrip("KMGT")
    return round(float(number or 0) * _UNITS[memory[len(number) :]])


def totals(costs: Iterable[Cost]) -> list[Total]:
    """The stages in the order of `costs`, which has each stage's parts together."""
    found = []
    for stage, group in groupby(costs, key=lambda cost: cost.stage):
        parts = list(group)
        seconds = [part.seconds for part in parts]
        found.append(Total(stage, len(parts), sum(seconds), max(seconds), max(part.peak_bytes for part in parts)))
    return found


def write(path: Path, costs: Sequence[Cost]) -> None:
    """Write the costs to a CSV with a column for each field of Cost."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([field.name for field in fields(Cost)])
        lines.writerows(map(astuple, costs))
