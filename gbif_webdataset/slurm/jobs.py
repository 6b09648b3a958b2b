"""Job arrays of a dataset on Slurm: which jobs to submit, in which order, and the commands that do.

A dataset's jobs are told by their names, which hold a digest of its folder: no value of the user's is in them, and one
`squeue` finds them all. The stages `fetch`, `verify` and `shards` are arrays, whose element I works at the chunks
I, I + elements, I + 2 elements ... (one chunk each, unless the cluster's MaxArraySize is smaller than their number).
"""

import hashlib
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

STAGES = ("read", "fetch", "verify", "tables", "shards", "report")
ARRAYS = ("fetch", "verify", "shards")
DOOMED = "DependencyNeverSatisfied"
SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i %j %T %r")
LOGS = "logs"  # under the output folder
_NAME_DIGITS = 10


@dataclass(frozen=True)
class Queued:
    """A job, or an element of an array, that Slurm has: `job` is 123 or 123_4, `state` PENDING, RUNNING, ..."""

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
    """A job to submit. `after` are dependencies, (type, the key of another Job or the number of a queued one)."""

    key: str
    stage: str
    elements: tuple[int, ...] = ()
    after: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Submission:
    """Queued jobs to cancel, since what they wait for will not come; then the jobs to submit, in this order."""

    cancel: tuple[str, ...]
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Site:
    """What a cluster asks for: words for every job, words for those of a stage, and elements at the same time."""

    options: tuple[str, ...] = ()
    of_stage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    concurrent: int = 16


@dataclass(frozen=True)
class Order:
    """What all jobs of a submission share: the folder that they run in, the dataset's, its chunks, elements an array,
    and the words for luigi."""

    root: Path
    output: Path
    chunks: int
    elements: int
    luigi: tuple[str, ...]


def dataset_of(output: Path) -> str:
    """What the names of a dataset's jobs begin with."""
    return f"gbif-{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:_NAME_DIGITS]}"


def queued(listing: str, dataset: str) -> list[Queued]:
    """The dataset's jobs in the output of SQUEUE, one line each."""
    found = []
    for line in listing.splitlines():
        job, name, state, reason = line.split(" ", 3)
        of, _, stage = name.rpartition("-")
        if of == dataset and stage in STAGES:
            element = job.partition("_")[2]
            found.append(Queued(job, stage, int(element) if element else 0, state, reason))
    return found


def plan(missing: Mapping[str, Sequence[int]], present: Sequence[Queued]) -> Submission:
    """The jobs that make what is `missing`, elements by stage (0 for one that is no array), beside those present.

    Nothing that is queued or running is submitted again, but for what waits for jobs that failed: that is cancelled.
    """
    live = {(one.stage, one.element): one for one in present if one.reason != DOOMED}
    cancel = [one.job for one in present if one.reason == DOOMED]
    jobs: list[Job] = []

    def wanted(stage: str, renewed: Container[int]) -> tuple[int, ...]:
        """The elements to submit; those whose input is `renewed` wait for older jobs, if they are queued."""
        for element in [element for of, element in live if of == stage and element in renewed]:
            if live[stage, element].state == "PENDING":
                cancel.append(live.pop((stage, element)).job)
        return tuple(element for element in missing[stage] if (stage, element) not in live)

    def waits_for(stage: str) -> list[tuple[str, str]]:
        new = [("afterok", job.key) for job in jobs if job.stage == stage]
        return new + [("afterok", one.job) for (of, _), one in live.items() if of == stage]

    if read := wanted("read", ()):
        jobs.append(Job("read", "read"))
    if fetch := wanted("fetch", missing["fetch"] if read else ()):
        # A host's limits are divided among the elements of one array: the next begins when an older one has ended.
        older = sorted({one.array for (stage, _), one in live.items() if stage == "fetch"})
        jobs.append(Job("fetch", "fetch", fetch, (*waits_for("read"), *(("afterany", array) for array in older))))
    jobs += _verifying(wanted("verify", fetch), set(fetch), live)
    before = waits_for("verify")
    for stage in ("tables", "shards", "report"):
        if elements := wanted(stage, missing[stage] if jobs else ()):
            jobs.append(Job(stage, stage, elements if stage in ARRAYS else (), tuple(before)))
        before = waits_for(stage) or before
    return Submission(tuple(cancel), tuple(jobs))


def _verifying(elements: Sequence[int], fetch: set[int], live: Mapping[tuple[str, int], Queued]) -> list[Job]:
    """An array for each array of fetching that elements wait for, each for its own, and one for those that needn't."""
    after: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for element in elements:
        fetching = live.get(("fetch", element))
        source = "fetch" if element in fetch else fetching.array if fetching else ""
        after[(("aftercorr", source),) if source else ()].append(element)
    return [
        Job(f"verify-{number}", "verify", tuple(chosen), dependencies)
        for number, (dependencies, chosen) in enumerate(after.items())
    ]


def sbatch(job: Job, order: Order, site: Site, numbers: Mapping[str, str]) -> list[str]:
    """The command that submits a job; `numbers` are those that Slurm gave to the jobs submitted before, by their keys.

    In the path of a log Slurm reads %, and anything behind a backslash otherwise, which is refused before.
    """
    is_array = job.stage in ARRAYS
    command = ["sbatch", "--parsable", f"--job-name={dataset_of(order.output)}-{job.stage}"]
    logs = order.output / LOGS
    command += [f"--chdir={logs}"]
    command += [f"--output={str(logs).replace('%', '%%')}/{job.stage}-{'%A_%a' if is_array else '%j'}.log"]
    if is_array:
        command.append(f"--array={ranges(job.elements)}%{site.concurrent}")
    if job.after:
        command.append("--dependency=" + ",".join(f"{kind}:{numbers.get(of, of)}" for kind, of in job.after))
    command += [*site.options, *site.of_stage.get(job.stage, ())]
    command += [str(order.root / "sbatch" / f"{job.stage}.sbatch"), str(order.root)]
    if is_array:
        command += [str(order.chunks), str(order.elements)]
    if job.stage == "fetch":
        command += ["--FetchChunk-concurrent-chunks", str(min(site.concurrent, len(job.elements)))]
    return [*command, *order.luigi]


def ranges(elements: Sequence[int]) -> str:
    """Ascending numbers as Slurm writes them: 0-5,7."""
    starts = [at for at in range(len(elements)) if at == 0 or elements[at] != elements[at - 1] + 1]
    runs = [elements[first:last] for first, last in pairwise([*starts, len(elements)])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def elements_of(chunks: Sequence[int], elements: int) -> list[int]:
    """The elements that work at some chunks, ascending."""
    return sorted({chunk % elements for chunk in chunks})
