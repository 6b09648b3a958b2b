"""Which Slurm jobs a dataset needs, in which order, and the commands that submit them.

The name of a job contains a digest of the dataset's folder: no value of the user is part of it, and one `squeue` finds
all jobs of the dataset. The stages `fetch`, `verify` and `shards` are job arrays. Element I of an array processes the
chunks I, I + elements, I + 2 elements, ...: one chunk each, unless the cluster's MaxArraySize is less than the chunks.
"""

import hashlib
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

STAGES = ("read", "fetch", "verify", "tables", "shards", "report")
ARRAYS = ("fetch", "verify", "shards")
NEVER_STARTS = "DependencyNeverSatisfied"  # Slurm's reason for a job that waits for one that failed
SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i %j %T %r")
LOGS = "logs"  # folder below the output folder
_DIGITS = 10


@dataclass(frozen=True)
class QueuedJob:
    """A queued or running job, or element of an array. `job` is 123 or 123_4, `state` is PENDING, RUNNING, ..."""

    job: str
    stage: str
    element: int
    state: str
    reason: str

    @property
    def array(self) -> str:
        """The number of the whole array, or of the job."""
        return self.job.partition("_")[0]


@dataclass(frozen=True)
class Job:
    """A job to submit. `after` are its dependencies: a type, and the key of another Job or a queued job's number."""

    key: str
    stage: str
    elements: tuple[int, ...] = ()
    after: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Submission:
    """The queued jobs to cancel because they would never start, and the jobs to submit, in this order."""

    cancel: tuple[str, ...]
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Site:
    """What a cluster requires: options of sbatch for all jobs and by stage, and how many elements run at a time."""

    options: tuple[str, ...] = ()
    of_stage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    concurrent: int = 16


@dataclass(frozen=True)
class JobCommand:
    """What all jobs of a submission run.

    `scripts` is the folder of the job scripts, `python` the interpreter, `folder` the working directory with luigi.cfg,
    `elements` the size of an array, `options` those of the task.
    """

    scripts: Path
    python: str
    folder: Path
    output: Path
    chunks: int
    elements: int
    options: tuple[str, ...]


def name_dataset(output: Path) -> str:
    """Return the beginning of the names of a dataset's jobs."""
    return f"gbif-{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:_DIGITS]}"


def parse_queue(listing: str, dataset: str) -> list[QueuedJob]:
    """Return the dataset's jobs from the output of SQUEUE."""
    found = []
    for line in listing.splitlines():
        job, name, state, reason = line.split(" ", 3)
        owner, _, stage = name.rpartition("-")
        if owner == dataset and stage in STAGES:
            element = job.partition("_")[2]
            found.append(QueuedJob(job, stage, int(element) if element else 0, state, reason))
    return found


def plan_submission(missing: Mapping[str, Sequence[int]], queue: Sequence[QueuedJob]) -> Submission:
    """Return the jobs for the elements that are missing and not queued.

    `missing` are the elements of each stage whose target is missing; 0 for a stage without elements. A job that is
    queued or running is not submitted again, unless it waits for a job that failed: then it is cancelled first.
    """
    live = {(one.stage, one.element): one for one in queue if one.reason != NEVER_STARTS}
    cancel = [one.job for one in queue if one.reason == NEVER_STARTS]
    jobs: list[Job] = []

    def select_elements(stage: str, renewed: Container[int]) -> tuple[int, ...]:
        """Return the elements to submit. A queued one whose input is `renewed` waits for an older job: cancel it."""
        for element in [element for of, element in live if of == stage and element in renewed]:
            if live[stage, element].state == "PENDING":
                cancel.append(live.pop((stage, element)).job)
        return tuple(element for element in missing[stage] if (stage, element) not in live)

    def depend_on(stage: str) -> list[tuple[str, str]]:
        new = [("afterok", job.key) for job in jobs if job.stage == stage]
        return new + [("afterok", one.job) for (of, _), one in live.items() if of == stage]

    if read := select_elements("read", ()):
        jobs.append(Job("read", "read"))
    if fetch := select_elements("fetch", missing["fetch"] if read else ()):
        # The elements of one array share a host's limits. So the next array begins when an older one has ended.
        older = sorted({one.array for (stage, _), one in live.items() if stage == "fetch"})
        jobs.append(Job("fetch", "fetch", fetch, (*depend_on("read"), *(("afterany", array) for array in older))))
    jobs += _plan_verify_jobs(select_elements("verify", fetch), set(fetch), live)
    before = depend_on("verify")
    for stage in ("tables", "shards", "report"):
        if elements := select_elements(stage, missing[stage] if jobs else ()):
            jobs.append(Job(stage, stage, elements if stage in ARRAYS else (), tuple(before)))
        before = depend_on(stage) or before
    return Submission(tuple(cancel), tuple(jobs))


def _plan_verify_jobs(elements: Sequence[int], fetch: set[int], live: Mapping[tuple[str, int], QueuedJob]) -> list[Job]:
    """Return an array for each fetch array that verify elements wait for, and one for those that need not wait."""
    after: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for element in elements:
        fetching = live.get(("fetch", element))
        source = "fetch" if element in fetch else fetching.array if fetching else ""
        after[(("aftercorr", source),) if source else ()].append(element)
    return [
        Job(f"verify-{number}", "verify", tuple(chosen), dependencies)
        for number, (dependencies, chosen) in enumerate(after.items())
    ]


def build_command(job: Job, command: JobCommand, site: Site, numbers: Mapping[str, str]) -> list[str]:
    """Return the command that submits a job. `numbers` are Slurm's numbers of the jobs submitted before, by key.

    In the path of a log, Slurm replaces % codes; they are escaped here. It also interprets backslashes, which cannot be
    escaped: the caller refuses them.
    """
    is_array = job.stage in ARRAYS
    words = ["sbatch", "--parsable", f"--job-name={name_dataset(command.output)}-{job.stage}"]
    logs = command.output / LOGS
    words += [f"--chdir={logs}"]
    words += [f"--output={str(logs).replace('%', '%%')}/{job.stage}-{'%A_%a' if is_array else '%j'}.log"]
    if is_array:
        words.append(f"--array={format_ranges(job.elements)}%{site.concurrent}")
    if job.after:
        words.append("--dependency=" + ",".join(f"{kind}:{numbers.get(of, of)}" for kind, of in job.after))
    words += [*site.options, *site.of_stage.get(job.stage, ())]
    words += [str(command.scripts / f"{job.stage}.sbatch"), str(command.scripts), command.python, str(command.folder)]
    if is_array:
        words += [str(command.chunks), str(command.elements)]
    if job.stage == "fetch":
        words += ["--FetchChunk-concurrent-chunks", str(min(site.concurrent, len(job.elements)))]
    return [*words, *command.options]


def format_ranges(elements: Sequence[int]) -> str:
    """Return ascending numbers in Slurm's notation: 0-5,7."""
    starts = [at for at in range(len(elements)) if at == 0 or elements[at] != elements[at - 1] + 1]
    runs = [elements[first:last] for first, last in pairwise([*starts, len(elements)])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def find_elements(chunks: Sequence[int], elements: int) -> list[int]:
    """Return the elements of an array that process these chunks, in ascending order."""
    return sorted({chunk % elements for chunk in chunks})
