"""Slurm's commands: what a cluster allows, and submitting jobs, all of them or none."""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.slurm import limits
from gbif_webdataset.slurm.job_record import JobRecord
from gbif_webdataset.slurm.jobs import (
    SQUEUE,
    STAGES,
    Job,
    JobCommand,
    QueuedJob,
    Site,
    Submission,
    build_command,
    build_test,
    name_dataset,
    parse_queue,
    plan_submission,
)
from gbif_webdataset.storage.paths import DatasetPaths
from tasks.framework.messages import print_note

OF_JOBS = ("SLURM_", "SBATCH_", "SALLOC_", "SRUN_")
CHOSEN_BY_USERS = (
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    *(f"{command}_{name}" for command in ("SBATCH", "SALLOC") for name in ("ACCOUNT", "PARTITION", "QOS")),
)
PASSING = ("down, drained or reserved", "nodes are busy", "partition not available")
"""Words of sbatch about the present state of the cluster: the job would wait in the queue."""


class SlurmError(DatasetError):
    """A command of Slurm failed. `reason` is what it printed."""

    def __init__(self, command: str, reason: str, remedy: str) -> None:
        super().__init__(f"{command}: {reason}; {remedy}")
        self.reason = reason


def make_environment() -> dict[str, str]:
    """Return the environment for Slurm's commands: that of this process, without variables of the job it runs in.

    The commands take such variables for options: SLURM_MEM_PER_CPU of an interactive job, for example, contradicts
    --mem of the job to start. TMPDIR is often a folder of that job. The account, the partition and the QOS that the
    user chose are kept.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return dict(os.environ)
    return {
        name: value
        for name, value in os.environ.items()
        if name in CHOSEN_BY_USERS or not (name.startswith(OF_JOBS) or name == "TMPDIR")
    }


def run_slurm(*command: str) -> str:
    """Return the output of one of Slurm's commands. Raises SlurmError if it fails or is not installed."""
    try:
        ended = subprocess.run(command, env=make_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        remedy = "run this on a machine from which Slurm jobs are submitted"
        raise SlurmError(command[0], "there is no such command", remedy) from None
    if ended.returncode:
        reason = " ".join(ended.stderr.split()) or f"it ended with status {ended.returncode}"
        raise SlurmError(command[0], reason, "check that Slurm answers on this machine")
    return ended.stdout


@dataclass(frozen=True)
class Queue:
    """All jobs of the user, as squeue lists them, and those of the dataset."""

    listing: str
    own: Sequence[QueuedJob]


def read_queue(paths: DatasetPaths) -> Queue:
    """Return the jobs that are queued or running now."""
    listing, record = run_slurm(*SQUEUE), JobRecord.load(paths.logs)
    return Queue(listing, parse_queue(listing, name_dataset(paths.output), record.given if record else {}))


def plan_jobs(missing: Mapping[str, Sequence[int]], queue: Queue, chunks: int, site: Site) -> Submission:
    """Return the jobs to submit, in as few elements as the limits of the cluster require.

    Raises DatasetError if the limits allow too few jobs.
    """
    cluster = read_limits(queue, site)
    if cluster.unknown:
        print_note(
            f"Limits of the number of jobs are unknown ({cluster.unknown}). If Slurm refuses a job, those submitted "
            "before it are cancelled. --slurm-max-jobs sets a limit."
        )
    elements = min(chunks, cluster.max_elements)
    submission = plan_submission(missing, queue.own, chunks, elements)
    excess = limits.find_excess(cluster.limits, submission, queue.own)
    if excess is None:
        return submission
    combined = limits.combine_chunks(missing, queue.own, chunks, elements, cluster.limits)
    left = limits.find_excess(cluster.limits, combined, queue.own)
    limit = left[0] if left else excess[0]
    problem = limits.describe_excess(limit, limits.count_further(limit, submission, queue.own))
    needed = limits.count_further(limit, combined, queue.own)
    if left:
        problem = f"{problem}. Even with one element in each array, {needed:,} jobs are needed"
        remedy = limits.describe_remedy(limit, needed)
        raise DatasetError.at("make slurm", problem, f"{remedy}. Nothing was submitted")
    print_note(f"{problem}. Chunks are combined, so that {needed:,} jobs are enough.")
    return combined


def read_limits(queue: Queue, site: Site) -> limits.ClusterLimits:
    """Return what the cluster and the user allow for jobs with the options of `site`, which may differ by stage.

    Limits that cannot be read are unknown. Raises SlurmError if Slurm does not answer.
    """
    configuration = run_slurm(*limits.CONFIGURATION)
    max_elements, unknown = limits.parse_array_size(configuration), ""
    found = [limits.Limit("--slurm-max-jobs", site.max_jobs, len(queue.own))] if site.max_jobs else []
    if limits.has_limits(configuration):
        try:
            found += _ask_limits(configuration, queue, site)
        except SlurmError as error:
            unknown = f"sacctmgr: {error.reason}"
        except LookupError as error:
            unknown = str(error.args[0])
        except ValueError:
            unknown = "sacctmgr answers in a form that is not known"
    return limits.ClusterLimits(max_elements, limits.join_limits(found), unknown)


def _ask_limits(configuration: str, queue: Queue, site: Site) -> list[limits.Limit]:
    """Return the limits for each stage. Raises LookupError if the user has no association."""
    user, cluster = pwd.getpwuid(os.geteuid()).pw_name, limits.parse_setting(configuration, "ClusterName")
    associations = limits.parse_associations(run_slurm(*limits.associations_command(user, cluster)))
    partitions, qualities = run_slurm(*limits.PARTITIONS), run_slurm(*limits.QUALITIES)
    found: list[limits.Limit] = []
    for stage in STAGES:
        request = limits.parse_request((*site.options, *site.of_stage.get(stage, ())), os.environ)
        association = limits.find_association(associations, request)
        if association is None:
            raise LookupError(f"sacctmgr lists no default account of user {user}")
        partition = limits.find_partition(partitions, request.partition)
        listed = limits.list_limits(association, partition, request.qos, qualities, queue.listing)
        found += [replace(limit, stages=(stage,)) for limit in listed]
    return found


def check_jobs(jobs: Sequence[Job], command: JobCommand, site: Site) -> None:
    """Ask Slurm whether it would accept each job. Raises DatasetError if it would refuse one."""
    for job in jobs:
        try:
            run_slurm(*build_test(job, command, site))
        except SlurmError as error:
            if not any(words in error.reason for words in PASSING):
                place = f"sbatch would refuse the jobs of {job.stage}"
                remedy = f"correct the options of sbatch, under [slurm] in luigi.cfg or in {job.stage}.sbatch"
                raise DatasetError.at(place, error.reason, f"{remedy}. Nothing was submitted") from None


def submit_jobs(jobs: Sequence[Job], command: JobCommand, site: Site) -> dict[str, str]:
    """Submit all jobs and return Slurm's numbers by key.

    Raises DatasetError if one is refused; those submitted before it are cancelled.
    """
    numbers: dict[str, str] = {}
    try:
        for job in jobs:
            numbers[job.key] = run_slurm(*build_command(job, command, site, numbers)).strip().partition(";")[0]
    except BaseException as error:
        if numbers:
            run_slurm("scancel", *numbers.values())
        if isinstance(error, SlurmError):
            stage = jobs[len(numbers)].stage
            cancelled = (
                f"{format_count(len(numbers), 'job')} submitted before it {'was' if len(numbers) == 1 else 'were'}"
            )
            remedy = f"correct the cause, and run the command again. {cancelled} cancelled"
            raise DatasetError.at(f"sbatch refused the jobs of {stage}", error.reason, remedy) from None
        raise
    return numbers
