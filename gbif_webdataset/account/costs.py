"""Seconds and memory of each part of a stage, from the tasks' own records or from Slurm's accounts."""

import contextlib
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.slurm.jobs import STAGES, parse_name
from gbif_webdataset.storage.target_record import TargetRecord

OWN, SLURM = "own record", "Slurm"
SACCT = ("sacct", "--noheader", "--parsable2", "--format=JobID,JobName,ElapsedRaw,MaxRSS")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Cost:
    """One part of a stage: a chunk of a task (source OWN) or an element of a job array (source SLURM)."""

    stage: str
    part: str
    seconds: float
    peak_bytes: int
    source: str


def measure_peak_bytes() -> int:
    """The largest memory so far, in bytes, of this process or of any child process that has ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(FileNotFoundError):  # Linux's getrusage reports the parent's peak if that was larger
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, children) * (1 if sys.platform == "darwin" else 1024)


def list_task_costs(records: Mapping[str, TargetRecord]) -> list[Cost]:
    """The costs in the tasks' records, in their order; `records` are by label, such as FetchChunk-00003."""
    costs = []
    for label, record in records.items():
        stage, _, part = label.partition("-")
        costs.append(Cost(stage, part, record.seconds, record.peak_bytes, OWN))
    return costs


def parse_slurm_costs(listing: str, dataset: str) -> list[Cost]:
    """The costs of a dataset's job arrays in the output of SACCT, stage by stage.

    A job has one line with its seconds, and further lines for its steps, which have its memory.
    """
    costs: dict[str, Cost] = {}
    for line in listing.splitlines():
        job, name, seconds, memory = line.split("|")
        job, _, step = job.partition(".")
        if not step and (parsed := parse_name(name, dataset)):
            costs[job] = Cost(parsed[0], job.partition("_")[2], float(seconds or 0), 0, SLURM)
        elif step and job in costs:
            cost = costs[job]
            peak = max(cost.peak_bytes, _parse_bytes(memory))
            costs[job] = Cost(cost.stage, cost.part, cost.seconds, peak, SLURM)
    return sorted(costs.values(), key=lambda cost: (STAGES.index(cost.stage), cost.part))


def _parse_bytes(memory: str) -> int:
    number = memory.rstrip("KMGT")
    return round(float(number or 0) * _UNITS[memory[len(number) :]])
