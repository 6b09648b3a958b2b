"""Run a dataset as Slurm job arrays: submit jobs for the stages and chunks that are missing, or show their status.

gbif-webdataset slurm submit --dwca archive.zip [--output DIR] [--chunks N] [--dry-run] [--retry] [LUIGI_OPTION ...]
gbif-webdataset slurm status --dwca archive.zip [--output DIR] [--chunks N] [LUIGI_OPTION ...]
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from gbif_webdataset.errors import DatasetError, ParameterError, explain, option_text
from gbif_webdataset.formatting import format_count
from gbif_webdataset.shards.shard_files import find_unwritten_groups
from gbif_webdataset.slurm import jobs, status
from gbif_webdataset.storage.file_counts import JobSize, describe_allowance, describe_files
from gbif_webdataset.storage.file_limits import find_file_allowance
from gbif_webdataset.storage.image_store import KEEP, choose_kind
from gbif_webdataset.storage.removed_images import find_removal
from gbif_webdataset.storage.run_lock import check_output_is_free
from gbif_webdataset.storage.runs import Run, RunKind
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import MAX_CHUNKS
from tasks.framework.messages import print_note, print_text
from tasks.framework.rebuild_reasons import check_images, print_reasons
from tasks.framework.slurm_runner import slurm, task_options
from tasks.read import ReadArchive
from tasks.report import ReportDataset
from tasks.shards import CreateWebDataset, PlanShards
from tasks.verify import VerifyChunk

NO_RETRIES = "--FetchChunk-retry-failed=none"


def find_job_scripts() -> Path:
    """Return the folder of the job scripts: the user's, or the package's, which is a link to `sbatch` in a checkout."""
    return (Path(slurm().scripts) if slurm().scripts else Path(__file__).parent / "sbatch").resolve()


def find_missing(report: ReportDataset) -> dict[str, list[int]]:
    """Return the chunks of each stage whose target is missing or outdated; 0 for a stage that is one job."""
    every = list(range(report.chunks))
    if report.complete():
        return {stage: [] for stage in jobs.STAGES}
    planning = report.clone(PlanShards)
    if planning.dataset.complete():
        return {stage: [0] if stage == "report" else [] for stage in jobs.STAGES}
    read = not report.clone(ReadArchive).complete()
    fetch = every if read else [chunk for chunk in every if not report.clone(FetchChunk, chunk=chunk).complete()]
    fetched = sorted(set(every) - set(fetch))
    verify = sorted({*fetch, *(chunk for chunk in fetched if not report.clone(VerifyChunk, chunk=chunk).complete())})
    plan = planning.load_plan() if not verify and planning.complete() else None
    shards = report.paths.shards
    unwritten = every if plan is None else [g % report.chunks for g in find_unwritten_groups(shards, plan.groups)]
    return {
        "read": [0] if read else [],
        "fetch": fetch,
        "verify": verify,
        "tables": [0] if plan is None else [],
        "shards": sorted(set(unwritten)),
        "report": [0],
    }


def count_retriable_images(report: ReportDataset) -> int:
    """Return the number of images of built chunks that may succeed in another run."""
    chunks = (report.clone(FetchChunk, chunk=chunk) for chunk in range(report.chunks))
    return sum(chunk.count_retriable_images() for chunk in chunks if chunk.record())


def submit(report: ReportDataset, options: Sequence[str], dry_run: bool) -> None:
    """Submit jobs for the missing stages and chunks that are not queued, and print their numbers; or the commands."""
    if "\\" in str(report.paths.logs.absolute()):
        problem = "Slurm accepts no backslash in the path of a log"
        raise ParameterError.at(option_text("--output", report.paths.output), problem, "choose another folder")
    if not dry_run:
        check_output_is_free(report.paths.output, Run.of_this_process("make slurm", RunKind.ELEMENT))
    check_images(print_reasons(report))
    elements, queue, missing = _array_size(report), _read_queue(report), find_missing(report)
    submission = jobs.plan_submission(_by_element(missing, elements), queue)
    if submission.cancel:
        print_text(f"cancelled, because a job that they depend on failed: {' '.join(submission.cancel)}")
        if not dry_run:
            run_slurm("scancel", *submission.cancel)
    if not submission.jobs:
        left = [one for one in queue if one.job not in submission.cancel]
        busy = f"nothing to submit: this dataset has {format_count(len(left), 'job')} queued or running"
        print_text(busy if left else "nothing to do: everything is up to date")
        if not left and (images := count_retriable_images(report)):
            print_note(f"{status.describe_retriable(images)}: add RETRY=1 (--retry) to submit it")
    elif not dry_run:
        report.paths.logs.mkdir(parents=True, exist_ok=True)
    if any(job.stage == "fetch" for job in submission.jobs):
        for line in describe_job_files(report, missing["fetch"]):
            print_note(line)
    which = [f"--dwca={report.dwca}", f"--output={report.paths.output}", f"--chunks={report.chunks}"]
    which += [f"--store={report.store}"] if report.store != KEEP else []
    command = jobs.JobCommand(
        scripts=find_job_scripts(),
        python=sys.executable,
        folder=Path.cwd(),
        output=report.paths.output.absolute(),
        chunks=report.chunks,
        elements=elements,
        options=(*which, *options),
    )
    _submit_jobs(submission.jobs, command, dry_run)


def describe_job_files(report: ReportDataset, chunks: Sequence[int]) -> Iterator[str]:
    """Lines about the files that fetching these chunks and all later stages create, and the files that are allowed."""
    allowance = find_file_allowance(report.paths.output)
    read = report.clone(ReadArchive)
    if not read.complete():
        yield f"files  one for each image with --store files; {describe_allowance(allowance)}. PlanFetch counts them"
        return
    images = read.images_per_chunk()
    shard_bytes = report.clone(CreateWebDataset).max_shard_size
    job = JobSize(sum(images[chunk] for chunk in chunks), None, report.chunks, shard_bytes)
    yield from describe_files(job, choose_kind(report.paths.images, report.store), allowance)


def show_status(report: ReportDataset) -> None:
    """Print the status of each stage."""
    elements, queue = _array_size(report), _read_queue(report)
    missing = _by_element(find_missing(report), elements)
    stages = list(status.count_states(missing, elements, queue, status.find_logs(report.paths.logs)))
    print_text(status.format_table(stages, elements, count_retriable_images(report)))
    if removal := find_removal(report.paths):
        print_text(f"{removal} removed after the report (--ReportDataset-keep-images false)")


def run_slurm(*command: str) -> str:
    """Return the output of one of Slurm's commands. Raises DatasetError if it fails or is not installed."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise DatasetError.at(
            command[0], "there is no such command", "run this on a machine from which Slurm jobs are submitted"
        ) from None
    if ended.returncode:
        reason = " ".join(ended.stderr.split()) or f"it ended with status {ended.returncode}"
        raise DatasetError.at(command[0], reason, "check that Slurm answers on this machine")
    return ended.stdout


def main(command_line: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="gbif-webdataset slurm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=["submit", "status"])
    parser.add_argument("--dry-run", action="store_true", help="print the commands and submit nothing")
    parser.add_argument("--retry", action="store_true", help="download images again that had temporary failures")
    arguments, options = parser.parse_known_args(command_line)
    # A chunk that is built is done, unless a retry is requested. An option of the user, further back, counts instead.
    retries = ["--FetchChunk-retry-after=0"] if arguments.retry else [NO_RETRIES]
    try:
        with CmdlineParser.global_instance(["ReportDataset", *retries, *options]) as command:
            report = command.get_task_obj()
            if arguments.action == "status":
                show_status(report)
            else:
                submit(report, [option for option in task_options() if option != NO_RETRIES], arguments.dry_run)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.exit(f"ERROR: {sentence}")


def _submit_jobs(planned: Sequence[jobs.Job], command: jobs.JobCommand, dry_run: bool) -> None:
    site = slurm().site()
    numbers: dict[str, str] = {}
    for job in planned:
        if dry_run:
            numbers[job.key] = job.key.upper()
            print_text(shlex.join(jobs.build_command(job, command, site, numbers)))
        else:
            printed = run_slurm(*jobs.build_command(job, command, site, numbers))
            numbers[job.key] = printed.strip().partition(";")[0]
            count = len(job.elements)
            elements = f"{count:,} {'element' if count == 1 else 'elements'}" if count else ""
            print_text(f"{job.stage:<8}{elements:<14}job {numbers[job.key]}")


def _read_queue(report: ReportDataset) -> list[jobs.QueuedJob]:
    return jobs.parse_queue(run_slurm(*jobs.SQUEUE), jobs.name_dataset(report.paths.output))


def _array_size(report: ReportDataset) -> int:
    """Return as many elements as there are chunks, or the largest number that the cluster accepts."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run_slurm("scontrol", "show", "config"), re.MULTILINE)
    return min(report.chunks, int(found[1]) if found else MAX_CHUNKS)


def _by_element(chunks: Mapping[str, Sequence[int]], elements: int) -> dict[str, list[int]]:
    return {stage: jobs.find_elements(found, elements) for stage, found in chunks.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
