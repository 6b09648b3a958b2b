"""How many jobs the limits of a Slurm cluster allow, from the answers of scontrol and sacctmgr."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gbif_webdataset.slurm.jobs import QUEUE_COLUMNS as COLUMNS
from gbif_webdataset.slurm.jobs import STAGES, QueuedJob, Submission, plan_submission

CONFIGURATION = ("scontrol", "show", "config")
PARTITIONS = ("scontrol", "--oneliner", "show", "partition")
QUALITIES = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=Name,MaxSubmitPU,GrpSubmit")
ENFORCING = ("limits", "safe", "all")
DEFAULT_ARRAY_SIZE = 1001  # Slurm's own default
NO_QOS = ("", "N/A")


@dataclass(frozen=True)
class Limit:
    """A limit of the number of queued and running jobs, in Slurm's words, and how many of them there are.

    Jobs of `stages` count for it.
    """

    name: str
    maximum: int
    used: int
    stages: tuple[str, ...] = STAGES

    @property
    def free(self) -> int:
        """How many jobs more are allowed."""
        return self.maximum - self.used


@dataclass(frozen=True)
class Association:
    """A user's membership of an account. Its limits include those of parent accounts; 0: no limit."""

    account: str
    partition: str
    is_default: bool
    max_submit: int
    group_submit: int
    default_qos: str


@dataclass(frozen=True)
class Partition:
    """A partition and its QOS, which may be empty."""

    name: str
    qos: str


@dataclass(frozen=True)
class Request:
    """What a job asks for, as far as its options say; empty: the cluster's default."""

    account: str = ""
    partition: str = ""
    qos: str = ""


def parse_request(options: Iterable[str], environment: Mapping[str, str]) -> Request:
    """Return what options of sbatch ask for, or else its variables of the environment."""
    given = {name: environment.get(f"SBATCH_{name.upper()}", "") for name in ("account", "partition", "qos")}
    for option in options:
        name, _, value = option.removeprefix("--").partition("=")
        if name in given:
            given[name] = value
    return Request(**given)


def associations_command(user: str, cluster: str) -> tuple[str, ...]:
    """Return the command that lists a user's associations, for parse_associations."""
    columns = "DefaultAccount,Account,Partition,MaxSubmit,GrpSubmit,DefaultQOS"
    where = ("where", f"name={user}", f"cluster={cluster}")
    return ("sacctmgr", "--noheader", "--parsable2", "show", "user", "withassoc", *where, f"format={columns}")


def parse_associations(listing: str) -> list[Association]:
    """Return the associations in the output of `associations_command`."""
    found = []
    for line in listing.splitlines():
        default, account, partition, maximum, group, qos = line.split("|")
        found.append(
            Association(account, partition, account == default, _parse_number(maximum), _parse_number(group), qos)
        )
    return found


def parse_setting(configuration: str, name: str) -> str:
    """Return a value of `scontrol show config`; an empty text if it is not there."""
    found = re.search(rf"^{name}\s*=\s*(.*?)\s*$", configuration, re.MULTILINE)
    return found[1] if found else ""


def parse_array_size(configuration: str) -> int:
    """Return the maximum number of elements of an array."""
    return int(parse_setting(configuration, "MaxArraySize") or DEFAULT_ARRAY_SIZE)


def has_limits(configuration: str) -> bool:
    """Return whether the cluster enforces limits of associations and of QOS."""
    enforced = parse_setting(configuration, "AccountingStorageEnforce").lower().split(",")
    return bool(set(enforced) & set(ENFORCING))


def find_partition(partitions: str, name: str) -> Partition:
    """Return a partition of the output of PARTITIONS, the default one if `name` is empty."""
    for line in partitions.splitlines():
        values = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if values.get("PartitionName") == name or (not name and values.get("Default") == "YES"):
            qos = values.get("QoS", "")
            return Partition(values["PartitionName"], "" if qos in NO_QOS else qos)
    return Partition(name, "")


def find_association(associations: Sequence[Association], request: Request) -> Association | None:
    """Return the association of a job, that of its partition if there is one; None if there is none."""
    found = [one for one in associations if (one.account == request.account if request.account else one.is_default)]
    by_partition = {one.partition: one for one in found}
    return by_partition.get(request.partition) or by_partition.get("") or (found[0] if len(found) == 1 else None)


def list_limits(association: Association, partition: Partition, qos: str, qualities: str, queue: str) -> list[Limit]:
    """Return the limits of a job of an association that asks for a partition and a QOS; empty: the default QOS.

    `qualities` is the output of QUALITIES, `queue` that of SQUEUE: all jobs of the user. Of other users' jobs, which
    count for the limits of groups, nothing is known.
    """
    rows = [line.split("|", COLUMNS - 1) for line in queue.splitlines()]
    of_account = sum(row[3] == association.account for row in rows)
    kinds = (("MaxSubmitJobs", association.max_submit), ("GrpSubmitJobs", association.group_submit))
    limits = [Limit(f"{kind} of account {association.account}", number, of_account) for kind, number in kinds if number]
    used = {partition.qos: sum(row[5] == partition.name for row in rows)}
    own = qos or association.default_qos
    used[own] = sum(row[4] == own for row in rows)
    for line in qualities.splitlines():
        name, per_user, group = line.split("|")
        if name and name in used:
            kinds = (("MaxSubmitJobsPerUser", _parse_number(per_user)), ("GrpSubmitJobs", _parse_number(group)))
            limits += [Limit(f"{kind} of QOS {name}", number, used[name]) for kind, number in kinds if number]
    return limits


def _parse_number(text: str) -> int:
    """Return a number; 0 if there is no limit."""
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True)
class ClusterLimits:
    """The maximum number of elements of an array, and the limits of the number of jobs.

    `unknown` says why there may be further limits; empty if all are known.
    """

    max_elements: int
    limits: tuple[Limit, ...] = ()
    unknown: str = ""


def join_limits(found: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return each limit once, with the stages of all of its occurrences."""
    joined: dict[tuple[str, int], Limit] = {}
    for limit in found:
        same = joined.setdefault((limit.name, limit.maximum), limit)
        stages = tuple(stage for stage in STAGES if stage in same.stages or stage in limit.stages)
        joined[limit.name, limit.maximum] = replace(same, used=max(same.used, limit.used), stages=stages)
    return tuple(joined.values())


def count_further(limit: Limit, submission: Submission, queue: Sequence[QueuedJob]) -> int:
    """Return how many jobs more count for a limit after a submission, which also cancels jobs of the queue."""
    added = sum(job.size for job in submission.jobs if job.stage in limit.stages)
    cancelled = [one for one in queue if one.job in submission.cancel and one.stage in limit.stages]
    return added - len(cancelled)


def find_excess(
    limits: Iterable[Limit], submission: Submission, queue: Sequence[QueuedJob]
) -> tuple[Limit, int] | None:
    """Return the limit that a submission exceeds most, and by how many jobs; None if it exceeds no limit.

    A submission that leaves no more jobs than there are now exceeds none.
    """
    found = []
    for limit in limits:
        further = count_further(limit, submission, queue)
        if further > max(limit.free, 0):
            found.append((limit, further - max(limit.free, 0)))
    return max(found, key=lambda excess: excess[1], default=None)


def combine_chunks(
    missing: Mapping[str, Sequence[int]],
    queue: Sequence[QueuedJob],
    chunks: int,
    max_elements: int,
    limits: Sequence[Limit],
) -> Submission:
    """Return the submission with the largest arrays, of at most `max_elements`, that exceeds no limit.

    Jobs that it cancels make way for others. If no submission is small enough, return the smallest one.
    """
    elements = min(chunks, max_elements)
    submission = plan_submission(missing, queue, chunks, elements)
    while (excess := find_excess(limits, submission, queue)) and elements > 1:
        allowed = max(excess[0].free, 0)
        elements = max(1, min(elements - 1, elements * allowed // (allowed + excess[1])))
        submission = plan_submission(missing, queue, chunks, elements)
    return submission


def plan_verification(
    chunks: Sequence[int], queue: Sequence[QueuedJob], count: int, elements: int, limits: Sequence[Limit]
) -> Submission:
    """Return jobs that verify those of `chunks` that are not queued, in as many elements as the limits allow.

    The dataset has `count` chunks. No job is cancelled.
    """
    while True:
        missing = {**dict.fromkeys(STAGES, ()), "verify": chunks}
        submission = Submission((), plan_submission(missing, queue, count, elements).jobs)
        excess = find_excess(limits, submission, queue)
        if excess is None:
            return submission
        every = [(job, index) for job in submission.jobs for index in job.indices]
        kept = every[: -excess[1]]
        chunks = [chunk for job in submission.jobs for chunk in job.chunks if (job, job.find_element(chunk)) in kept]


def describe_excess(limit: Limit, jobs: int) -> str:
    """Return by how much `jobs`, which are to be submitted, exceed a limit."""
    return (
        f"{jobs:,} jobs are {jobs - limit.free:,} too many: {limit.name} is {limit.maximum:,}, and {limit.used:,} of "
        "your jobs are queued or running"
    )


def describe_remedy(limit: Limit, needed: int) -> str:
    """Return what to do if a limit does not allow the `needed` jobs."""
    if needed > limit.maximum:
        return f"choose an account, a QOS or a partition that allows {needed:,} jobs, or use `--runner slurm`"
    return f"wait until {needed - limit.free:,} of your jobs have ended, or cancel them"
