"""What the jobs of each stage should request, from the costs of the dataset's previous run (report/costs.csv)."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES, Job
from gbif_webdataset.storage.tables import open_csv

MARGIN = 2.0
"""The requested time is so many times as long as that of the slowest part."""
MEMORY_MARGIN = 1.5
MIN_SECONDS = 900
MIN_BYTES = 1 << 30
STEP_BYTES = 256 << 20
SHORT_SECONDS = 600
"""A part that took less time than this gets fewer processors, down to one."""
STAGE_OF_TASK = {
    "ReadArchive": "read",
    "FetchChunk": "fetch",
    "VerifyChunk": "verify",
    **dict.fromkeys(("VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset", "PlanShards"), "tables"),
    "ShardChunk": "shards",
    "CreateWebDataset": "report",
    "ReportDataset": "report",
}
_CPUS = re.compile(r"^#SBATCH --cpus-per-task=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class StageNeeds:
    """The seconds of the slowest part of a stage, the largest memory of a part in bytes, and the number of parts."""

    seconds: float
    peak_bytes: int
    parts: int


def read_needs(path: Path) -> dict[str, StageNeeds]:
    """Return the needs of each stage of Slurm jobs from costs.csv; none if the file does not exist.

    Times are those of Slurm's accounting if it has the stage, and otherwise those of the tasks. Several tasks of one
    job run one after the other; a part that several jobs processed counts with the slowest one.
    """
    if not path.is_file():
        return {}
    by_task: dict[str, dict[str, float]] = defaultdict(dict)
    by_slurm: dict[str, dict[str, float]] = defaultdict(dict)
    peaks: Counter[str] = Counter()
    with open_csv(path) as lines:
        for line in lines:
            name, part, seconds = line["stage"], line["part"], float(line["seconds"])
            stage = STAGE_OF_TASK.get(name, name)
            peaks[stage] = max(peaks[stage], int(line["peak_bytes"]))
            if name in STAGES:
                by_slurm[stage][part] = max(by_slurm[stage].get(part, 0.0), seconds)
            else:
                by_task[stage][part] = by_task[stage].get(part, 0.0) + seconds
    parts = {**by_task, **by_slurm}
    return {stage: StageNeeds(max(parts[stage].values()), peaks[stage], len(parts[stage])) for stage in parts}


def fit_requests(
    needs: Mapping[str, StageNeeds], jobs: Iterable[Job], chunks: int, scripts: Path
) -> dict[str, tuple[str, ...]]:
    """Return options of sbatch for each stage of `jobs` whose needs are given: processors, memory and time.

    An element with several chunks takes as long as these together; of all arrays of a stage, the element with most
    chunks counts. With fewer processors than its script requests, a job takes longer in proportion.
    """
    fitted: dict[str, tuple[str, ...]] = {}
    max_chunks: dict[str, int] = {}
    for job in jobs:
        max_chunks[job.stage] = max(job.max_chunks, max_chunks.get(job.stage, 0))
    for stage in (stage for stage in max_chunks if stage in needs):
        need = needs[stage]
        share = max_chunks[stage] * need.parts / chunks if stage in ARRAYS else 1.0
        usual = _read_processors(scripts / f"{stage}.sbatch")
        processors = max(1, min(usual, math.ceil(usual * share * need.seconds / SHORT_SECONDS)))
        seconds = max(MIN_SECONDS, MARGIN * share * need.seconds * usual / processors)
        steps = math.ceil(max(MIN_BYTES, MEMORY_MARGIN * need.peak_bytes) / STEP_BYTES)
        memory, minutes = steps * STEP_BYTES >> 20, math.ceil(seconds / 60)
        fitted[stage] = (f"--cpus-per-task={processors}", f"--mem={memory}M", f"--time={minutes}")
    return fitted


def _read_processors(script: Path) -> int:
    """Return the number of processors that a job script requests."""
    found = _CPUS.search(script.read_text(encoding="utf-8", errors="replace"))
    return int(found[1]) if found else 1
