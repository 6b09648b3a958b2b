"""Which Slurm jobs a dataset needs, in which order, and the commands that submit them.

The name of a job contains a digest of the dataset's folder: no value of the user is part of it, and one `squeue` finds
all jobs of the dataset. The stages `fetch`, `verify` and `shards` are job arrays. Element I of an array of N elements
processes those of its chunks that are I, I + N, I + 2 N, ...: one chunk each, unless a limit of the cluster allows
fewer elements than there are chunks. Then N is part of the job's name.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

STAGES = ("read", "fetch", "verify", "tables", "shards", "report")
ARRAYS = ("fetch", "verify", "shards")
NEVER_STARTS = "DependencyNeverSatisfied"  # Slurm's reason for a job that waits for one that failed
SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%a|%q|%P|%j")
QUEUE_COLUMNS = 7  # number, state, reason, account, QOS, partition, name
LOGS = "logs"  # folder below the output folder
_DIGITS = 10
_NAME = re.compile(r"(gbif-[0-9a-f]{10})-([a-z]+)(?:-(\d+))?")


@dataclass(frozen=True)
class QueuedJob:
    """A queued or running job, or element of an array. `job` is 123 or 123_4, `state` is PENDING, RUNNING, ...

    `elements` is the size of its array; 0: one element for each chunk. `given` are the chunks that its array was
    submitted for; empty: they are not recorded.
    """

    job: str
    stage: str
    element: int
    state: str
    reason: str
    elements: int = 0
    given: frozenset[int] = frozenset()

    @property
    def array(self) -> str:
        """The number of the whole array, or of the job."""
        return self.job.partition("_")[0]

    def list_chunks(self, chunks: int) -> Sequence[int]:
        """Return the chunks that the job was given or, if unknown, may process; 0 for a stage without elements."""
        if self.stage not in ARRAYS:
            return range(1)
        every = range(self.element, chunks, self.elements or chunks)
        return [chunk for chunk in every if chunk in self.given] if self.given else every


@dataclass(frozen=True)
class Job:
    """A job to submit. `after` are its dependencies: a type, and the key of another Job or a queued job's number.

    The job processes `chunks` in an array of `elements`; 0: one element for each chunk.
    """

    key: str
    stage: str
    chunks: tuple[int, ...] = ()
    after: tuple[tuple[str, str], ...] = ()
    elements: int = 0

    @property
    def indices(self) -> list[int]:
        """The numbers of the elements, in ascending order; none for a job that is no array."""
        return sorted(set(map(self.find_element, self.chunks)))

    @property
    def size(self) -> int:
        """The number of jobs that Slurm counts: one for each element."""
        return len(self.indices) or 1

    @property
    def max_chunks(self) -> int:
        """The number of chunks of the element that has most of them; 1 for a job that is no array."""
        return max(Counter(map(self.find_element, self.chunks)).values(), default=1)

    def find_element(self, chunk: int) -> int:
        """Return the number of the element that processes a chunk."""
        return chunk % self.elements if self.elements else chunk


@dataclass(frozen=True)
class Submission:
    """The queued jobs to cancel because they would never start, and the jobs to submit, in this order."""

    cancel: tuple[str, ...]
    jobs: tuple[Job, ...]

    @property
    def size(self) -> int:
        """The number of jobs that Slurm counts."""
        return sum(job.size for job in self.jobs)


@dataclass(frozen=True)
class Site:
    """What a cluster requires: options of sbatch for all jobs and by stage, and how many elements run at a time.

    `max_jobs` is how many jobs of the dataset the user wants at most; 0: no limit but those of the cluster. `stage_in`
    is the value of `--slurm-stage-in` for elements that write shards; empty: the option is not given.
    """

    options: tuple[str, ...] = ()
    of_stage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    concurrent: int = 16
    max_jobs: int = 0
    stage_in: str = ""


@dataclass(frozen=True)
class JobCommand:
    """What all jobs of a submission run.

    `scripts` is the folder of the job scripts, `python` the interpreter, `folder` the working directory with luigi.cfg,
    `options` those of the task.
    """

    scripts: Path
    python: str
    folder: Path
    output: Path
    chunks: int
    options: tuple[str, ...]


def name_dataset(output: Path) -> str:
    """Return the beginning of the names of a dataset's jobs."""
    return f"gbif-{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:_DIGITS]}"


def parse_name(name: str, dataset: str) -> tuple[str, int] | None:
    """Return the stage and the `elements` of a job with this name; None if it is no job of the dataset."""
    found = _NAME.fullmatch(name)
    return (found[2], int(found[3] or 0)) if found and found[1] == dataset and found[2] in STAGES else None


def parse_queue(listing: str, dataset: str, given: Mapping[str, str]) -> list[QueuedJob]:
    """Return the dataset's jobs from the output of SQUEUE. `given` are the chunks, as ranges, of arrays by number."""
    found = []
    for line in listing.splitlines():
        job, state, reason, *_, name = line.split("|", QUEUE_COLUMNS - 1)
        if parsed := parse_name(name, dataset):
            stage, elements = parsed
            array, _, element = job.partition("_")
            chunks = frozenset(parse_ranges(given.get(array, "")))
            found.append(QueuedJob(job, stage, int(element) if element else 0, state, reason, elements, chunks))
    return found


def plan_submission(
    missing: Mapping[str, Sequence[int]], queue: Sequence[QueuedJob], chunks: int, elements: int
) -> Submission:
    """Return the jobs for the chunks that are missing and not queued, in arrays of at most `elements`.

    `missing` are the chunks of each stage whose target is missing; 0 for a stage without elements. A job that is
    queued or running is not submitted again, unless it waits for a job that failed: then it is cancelled first.
    """
    live = {(one.stage, chunk): one for one in queue if one.reason != NEVER_STARTS for chunk in one.list_chunks(chunks)}
    cancel = [one.job for one in queue if one.reason == NEVER_STARTS]
    elements = elements if elements < chunks else 0
    jobs: list[Job] = []

    def select_chunks(stage: str, renewed: Sequence[int]) -> tuple[int, ...]:
        """Return the chunks to submit. A queued job whose input is `renewed` waits for an older job: cancel it."""
        found = (live.get((stage, chunk)) for chunk in renewed)
        outdated = dict.fromkeys(one.job for one in found if one and one.state == "PENDING")
        cancel.extend(outdated)
        for place in [place for place, one in live.items() if one.job in outdated]:
            del live[place]
        return tuple(chunk for chunk in missing[stage] if (stage, chunk) not in live)

    def depend_on(stage: str) -> list[tuple[str, str]]:
        new = [("afterok", job.key) for job in jobs if job.stage == stage]
        return new + [("afterok", job) for job in dict.fromkeys(one.job for one in live.values() if one.stage == stage)]

    if select_chunks("read", ()):
        jobs.append(Job("read", "read"))
    if fetch := select_chunks("fetch", missing["fetch"] if jobs else ()):
        # The elements of one array share a host's limits. So the next array begins when an older one has ended.
        older = sorted({one.array for (stage, _), one in live.items() if stage == "fetch"})
        after = (*depend_on("read"), *(("afterany", array) for array in older))
        jobs.append(Job("fetch", "fetch", fetch, after, elements))
    verify = _plan_verify_jobs(select_chunks("verify", fetch), set(fetch), live, elements)
    jobs += [_wait_for_same_elements(job, live.values()) for job in verify]
    before = depend_on("verify")
    for stage in ("tables", "shards", "report"):
        if found := select_chunks(stage, missing[stage] if jobs else ()):
            is_array = stage in ARRAYS
            job = Job(stage, stage, found if is_array else (), tuple(before), elements if is_array else 0)
            jobs.append(_wait_for_same_elements(job, live.values()))
        before = depend_on(stage) or before
    return Submission(tuple(cancel), tuple(jobs))


def _plan_verify_jobs(
    chunks: Sequence[int], fetch: set[int], live: Mapping[tuple[str, int], QueuedJob], elements: int
) -> list[Job]:
    """Return an array for each fetch array that verify elements wait for, and one for those that need not wait.

    With aftercorr an element waits for the element of the same number, so both arrays have the same `elements`. An
    element is in one array, because it has one log: all of its chunks wait for the last fetch array that has one.
    """

    def find_source(chunk: int) -> tuple[str, int]:
        fetching = live.get(("fetch", chunk))
        if chunk in fetch or not fetching:
            return ("fetch" if chunk in fetch else ""), elements
        return fetching.array, fetching.elements

    sources = {chunk: find_source(chunk) for chunk in chunks}
    last: dict[tuple[int, int], str] = {}
    for chunk, (source, size) in sources.items():
        place = size, chunk % size if size else chunk
        last[place] = max(last.get(place, ""), source, key=lambda one: (one == "fetch", len(one), one))
    after: dict[tuple[str, int], list[int]] = defaultdict(list)
    for chunk, (_, size) in sources.items():
        after[last[size, chunk % size if size else chunk], size].append(chunk)
    return [
        Job(f"verify-{number}", "verify", tuple(chosen), (("aftercorr", source),) if source else (), size)
        for number, ((source, size), chosen) in enumerate(after.items())
    ]


def _wait_for_same_elements(job: Job, live: Iterable[QueuedJob]) -> Job:
    """Return an array that begins after live ones whose elements have the same logs, but were given other chunks."""
    indices = set(job.indices)
    older = {
        one.array
        for one in live
        if job.elements and one.stage == job.stage and one.elements == job.elements and one.element in indices
    }
    return replace(job, after=(*job.after, *(("afterany", array) for array in sorted(older))))


def build_command(job: Job, command: JobCommand, site: Site, numbers: Mapping[str, str]) -> list[str]:
    """Return the command that submits a job. `numbers` are Slurm's numbers of the jobs submitted before, by key.

    In the path of a log, Slurm replaces % codes; they are escaped here. It also interprets backslashes, which cannot be
    escaped: the caller refuses them.
    """
    logs, indices = command.output / LOGS, job.indices
    name = f"{name_dataset(command.output)}-{job.stage}" + (f"-{job.elements}" if job.elements else "")
    log = name_log(job.stage, "%a" if indices else "", job.elements)
    words = ["sbatch", "--parsable", f"--job-name={name}", "--kill-on-invalid-dep=yes", f"--chdir={logs}"]
    words.append(f"--output={str(logs).replace('%', '%%')}/{log}")
    if indices:
        words.append(f"--array={format_ranges(indices)}%{site.concurrent}")
    if job.after:
        words.append("--dependency=" + ",".join(f"{kind}:{numbers.get(of, of)}" for kind, of in job.after))
    words += [*site.options, *site.of_stage.get(job.stage, ())]
    words += [str(command.scripts / f"{job.stage}.sbatch"), str(command.scripts), command.python, str(command.folder)]
    if indices:
        words += [format_ranges(job.chunks), str(job.elements or command.chunks)]
    if job.stage == "fetch":
        words += ["--FetchChunk-concurrent-chunks", str(min(site.concurrent, len(indices)))]
    if job.stage == "shards" and site.stage_in:
        words.append(f"--slurm-stage-in={site.stage_in}")
    return [*words, *command.options]


def build_test(job: Job, command: JobCommand, site: Site) -> list[str]:
    """Return the command that asks Slurm whether it would accept a job, without submitting it."""
    sbatch, *words = build_command(replace(job, after=()), command, site, {})
    return [sbatch, "--test-only", *words]


def name_log(stage: str, element: str, elements: int) -> str:
    """Return the name of an element's log, the same for each of its jobs; `element` is empty for a stage without."""
    return f"{stage}{f'-{element}' if element else ''}{f'-of-{elements}' if elements else ''}.log"


def format_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers in Slurm's notation: 0-5,7."""
    starts = [at for at in range(len(numbers)) if at == 0 or numbers[at] != numbers[at - 1] + 1]
    runs = [numbers[first:last] for first, last in pairwise([*starts, len(numbers)])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def parse_ranges(text: str) -> list[int]:
    """Return the numbers that `format_ranges` wrote; none for an empty text."""
    runs = [run.partition("-") for run in text.split(",") if run]
    return [number for first, _, last in runs for number in range(int(first), int(last or first) + 1)]
