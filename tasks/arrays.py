"""Run a dataset as Slurm job arrays: submit jobs for the stages and chunks that are missing, or show their status.

gbif-webdataset slurm submit --dwca archive.zip [--output DIR] [--chunks N] [--fetch jobs|here|no] [--dry-run] [--retry]
    [LUIGI_OPTION ...]
gbif-webdataset slurm status --dwca archive.zip [--output DIR]
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser
from luigi.interface import core

from gbif_webdataset.errors import DatasetError, ParameterError, explain, option_text
from gbif_webdataset.formatting import format_count
from gbif_webdataset.obtain.sources import name_folder
from gbif_webdataset.shards.shard_files import find_unwritten_groups
from gbif_webdataset.slurm import fit, jobs, limits, logs, status
from gbif_webdataset.slurm.job_record import JobRecord, remove_credentials
from gbif_webdataset.storage.image_store import KEEP, choose_kind
from gbif_webdataset.storage.removed_images import find_removal
from gbif_webdataset.storage.run_lock import check_output_is_free
from gbif_webdataset.storage.runs import Run, RunKind
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import ELEMENT
from tasks.framework.messages import print_note, print_text
from tasks.framework.rebuild_reasons import check_access, print_reasons, update_remote_inputs
from tasks.framework.run_locking import describe_parameters
from tasks.framework.slurm_commands import Queue, check_jobs, plan_jobs, read_limits, read_queue, run_slurm, submit_jobs
from tasks.framework.slurm_runner import STOP_SECONDS, end_with_parent, shared_options, slurm, task_options
from tasks.plan import describe_files_of_chunks
from tasks.read import ReadArchive
from tasks.report import ReportDataset
from tasks.shards import PlanShards
from tasks.verify import VerifyChunk

NO_RETRIES = "--FetchChunk-retry-failed=none"
FETCH_CHOICES = IN_JOBS, HERE, NO = ("jobs", "here", "no")
"""Where images are downloaded: in Slurm jobs, in the process that submits them, or nowhere."""
SCRIPTS_VERSION = "# Version 2 of the job scripts"
FETCHED_SECONDS = 15.0
"""How often the chunks that this process has downloaded are submitted."""


@dataclass(frozen=True)
class Submitter:
    """What a submission needs: the last task, what all jobs run, what downloads here, and what the user chose."""

    report: ReportDataset
    command: jobs.JobCommand
    download: Sequence[str]
    site: jobs.Site
    fetch: str
    dry_run: bool

    def read_queue(self) -> Queue:
        """Return the jobs that are queued or running now."""
        return read_queue(self.report.paths)


def find_job_scripts() -> Path:
    """Return the folder of the job scripts: the user's, or the package's, which is a link to `sbatch` in a checkout.

    Raises ParameterError if the user's scripts are those of an older version.
    """
    own = (Path(__file__).parent / "sbatch").resolve()
    if not slurm().scripts:
        return own
    scripts = Path(slurm().scripts).resolve()
    if SCRIPTS_VERSION not in (scripts / "element.sh").read_text(encoding="utf-8", errors="replace"):
        problem = f"these job scripts are not of this version (element.sh has no line '{SCRIPTS_VERSION}')"
        remedy = f"copy {own} again, and add the lines of your cluster to element.sh"
        raise ParameterError.at(option_text("--slurm-scripts", scripts), problem, remedy)
    return scripts


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
    shards, unwritten = report.paths.shards, every
    if plan is not None:
        groups = find_unwritten_groups(shards, plan.groups, bool(planning.dataset.to))
        unwritten = [group % report.chunks for group in groups]
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


def submit(report: ReportDataset, fetch: str, dry_run: bool) -> None:
    """Submit jobs for the missing stages and chunks that are not queued, and print their numbers; or the commands."""
    if "\\" in str(report.paths.logs.absolute()):
        problem = "Slurm accepts no backslash in the path of a log"
        raise ParameterError.at(option_text("--output", report.paths.output), problem, "choose another folder")
    if not dry_run:
        check_output_is_free(report.paths.output, Run.of_this_process("make slurm", RunKind.ELEMENT))
        update_remote_inputs(report)
    check_access(print_reasons(report), with_writing=not dry_run)
    submitter, missing = _make_submitter(report, fetch, dry_run), find_missing(report)
    queue = submitter.read_queue()
    _check_parameters(report, queue.own)
    if missing["fetch"] and fetch != NO:
        for line in describe_files_of_chunks(report, missing["fetch"]):
            print_note(line)
    if fetch == NO and report.store != KEEP and choose_kind(report.paths.images, KEEP) != report.store:
        print_note(f"--store {report.store}: FETCH=no copies no images; `make fetch` with this option does.")
    if fetch == NO and missing["fetch"]:
        raise _make_error_of_unfetched(report, missing["fetch"])
    if fetch == HERE and missing["fetch"]:
        here = {**missing, "read": [], "fetch": []}
        planned = plan_jobs(here, queue, report.chunks, submitter.site).jobs
        if dry_run:
            print_text(shlex.join(submitter.download))
            missing = here
        else:
            check_jobs(planned, submitter.command, submitter.site)
            elements = next((job.elements for job in planned if job.stage == "verify"), 0) or report.chunks
            _save_record(submitter, {})
            _download_here(submitter, missing, elements)
            missing, queue = find_missing(report), submitter.read_queue()
    _submit_missing(submitter, missing, queue)


def show_status(report: ReportDataset) -> None:
    """Print the status of each stage."""
    queue = read_queue(report.paths).own
    stages = status.count_states(find_missing(report), report.chunks, queue, logs.find_logs(report.paths.logs))
    print_text(status.format_table(list(stages), report.chunks, count_retriable_images(report)))
    if removal := find_removal(report.paths):
        print_text(f"{removal} {removal.state} after the report (--ReportDataset-keep-images false)")


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
    parser.add_argument(
        "--fetch",
        help="where images are downloaded. jobs: in Slurm jobs. here: in this process, while Slurm jobs verify the "
        "chunks that are complete. no: nowhere; all images have been downloaded with `make fetch` [default: jobs]",
    )
    arguments, options = parser.parse_known_args(command_line)
    try:
        record = _find_record(options) if arguments.action == "status" else None
        fetch = arguments.fetch or (record.fetch if record else IN_JOBS)
        with CmdlineParser.global_instance(_list_words(fetch, arguments.retry, record, options)) as command:
            report = command.get_task_obj()
            if arguments.action == "status":
                show_status(report)
            else:
                submit(report, fetch, arguments.dry_run)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.exit(f"ERROR: {sentence}")


def _list_words(fetch: str, retry: bool, record: JobRecord | None, options: Sequence[str]) -> list[str]:
    """Return the words of a command line of Luigi. Of an option that occurs twice, the last one counts.

    A chunk that is built is done, unless a retry is requested. Without fetching, a ledger is complete in the eyes of an
    element: no element that needs it downloads anything.
    """
    if fetch not in FETCH_CHOICES:
        raise ParameterError.at(
            option_text("--fetch", fetch), "not a valid value", f"give one of {', '.join(FETCH_CHOICES)}"
        )
    if fetch == NO and retry:
        raise ParameterError.at("--retry", "--fetch no downloads nothing", "leave out one of the two (RETRY, FETCH)")
    retries = "--FetchChunk-retry-after=0" if retry else NO_RETRIES
    recorded = (f"--dwca={record.dwca}", f"--chunks={record.chunks}", *record.options) if record else ()
    return ["ReportDataset", retries, *recorded, *options, *(["--runner", ELEMENT] if fetch == NO else [])]


def _find_record(options: Sequence[str]) -> JobRecord | None:
    """Return the record of the dataset that options name; None if there is none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dwca", default="")
    parser.add_argument("--output", default="")
    given, _ = parser.parse_known_args(options)
    output = Path(given.output).expanduser() if given.output else Path("data") / name_folder(given.dwca)
    return JobRecord.load(output / jobs.LOGS)


def _make_submitter(report: ReportDataset, fetch: str, dry_run: bool) -> Submitter:
    which = [f"--dwca={report.dwca}", f"--output={report.paths.output}", f"--chunks={report.chunks}"]
    which += shared_options(report)
    command = jobs.JobCommand(
        scripts=find_job_scripts(),
        python=sys.executable,
        folder=Path.cwd(),
        output=report.paths.output.absolute(),
        chunks=report.chunks,
        options=(*which, *(option for option in task_options() if option != NO_RETRIES)),
    )
    workers = str(core().workers)  # type: ignore[no-untyped-call]
    run = ["--runner", ELEMENT, "--workers", workers, "--local-scheduler", "true", "--no-lock"]
    download = [sys.executable, "-P", "-m", "tasks", "FetchImages", *which, *task_options(), *run]
    return Submitter(report, command, download, slurm().site(), fetch, dry_run)


def _make_error_of_unfetched(report: ReportDataset, chunks: Sequence[int]) -> DatasetError:
    which = f"chunks {jobs.format_ranges(chunks)}" if len(chunks) > 1 else f"chunk {chunks[0]}"
    return DatasetError.at(
        f"--fetch no: {report.paths.output}",
        f"{len(chunks):,} of {format_count(report.chunks, 'chunk')} are not downloaded ({which})",
        "run `make fetch` with the same options on a machine with internet access, such as a login node, or use "
        "FETCH=here there",
    )


def _check_parameters(report: ReportDataset, queue: Collection[jobs.QueuedJob]) -> None:
    """Compare the parameters with those of the last submission. Raises ParameterError if its jobs are queued."""
    record = JobRecord.load(report.paths.logs)
    stages = record.find_differences(describe_parameters(report)) if record else []
    if stages and queue:
        raise ParameterError.at(
            option_text("--output", report.paths.output),
            f"{format_count(len(queue), 'job')} with other parameters of {' and '.join(stages)} are queued or running",
            "give the same parameters, or cancel these jobs with scancel, or wait until they end",
        )
    if stages:
        print_note(f"The parameters of {' and '.join(stages)} are not those of the last submission. These count now.")


def _submit_missing(submitter: Submitter, missing: Mapping[str, Sequence[int]], queue: Queue) -> None:
    """Submit all jobs or none, or print their commands."""
    report = submitter.report
    submission = plan_jobs(missing, queue, report.chunks, submitter.site)
    submitter = _fit_site(submitter, submission.jobs)
    if not submitter.dry_run:
        report.paths.logs.mkdir(parents=True, exist_ok=True)
        check_jobs(submission.jobs, submitter.command, submitter.site)
    if submission.cancel:
        print_text(f"cancelled, because a job that they depend on failed: {' '.join(submission.cancel)}")
        if not submitter.dry_run:
            run_slurm("scancel", *submission.cancel)
    if not submission.jobs:
        left = len(queue.own) - len(submission.cancel)
        busy = f"nothing to submit: this dataset has {format_count(left, 'job')} queued or running"
        print_text(busy if left else "nothing to do: everything is up to date")
    elif submitter.dry_run:
        numbers = {job.key: job.key.upper() for job in submission.jobs}
        for job in submission.jobs:
            print_text(shlex.join(jobs.build_command(job, submitter.command, submitter.site, numbers)))
    else:
        _submit_jobs(submitter, submission.jobs)
    if submitter.fetch == NO or not (submission.jobs or queue.own):
        _note_retriable(report, submitter.fetch)


def _submit_jobs(submitter: Submitter, planned: Sequence[jobs.Job]) -> None:
    """Submit jobs, record their numbers, and print them."""
    numbers = submit_jobs(planned, submitter.command, submitter.site)
    _save_record(submitter, {numbers[job.key]: job for job in planned})
    for job in planned:
        elements = format_count(len(job.indices), "element") if job.chunks else ""
        print_text(f"{job.stage:<8}{elements:<14}job {numbers[job.key]}")


def _note_retriable(report: ReportDataset, fetch: str) -> None:
    if images := count_retriable_images(report):
        remedy = (
            "run `make fetch RETRY=1` where there is internet access"
            if fetch == NO
            else "add RETRY=1 (--retry) to submit it"
        )
        print_note(f"{status.describe_retriable(images)}: {remedy}")


def _fit_site(submitter: Submitter, planned: Sequence[jobs.Job]) -> Submitter:
    """Return the submitter whose jobs request what the dataset's last run needed, if the user wants this."""
    report, site = submitter.report, submitter.site
    if slurm().fit == NO or not planned:
        return submitter
    needs = fit.read_needs(report.paths.costs)
    if not needs:
        print_note(
            f"--slurm-fit yes: {report.paths.costs} does not exist yet, so the requests of the job scripts count"
        )
    fitted = fit.fit_requests(needs, planned, report.chunks, submitter.command.scripts)
    of_stage = {stage: (*fitted.get(stage, ()), *site.of_stage.get(stage, ())) for stage in jobs.STAGES}
    return replace(submitter, site=replace(site, of_stage=of_stage))


def _save_record(submitter: Submitter, submitted: Mapping[str, jobs.Job]) -> None:
    """Write how the jobs were submitted, by number, for make slurm-status and for Slurm's accounting."""
    report = submitter.report
    earlier = JobRecord.load(report.paths.logs)
    is_path = os.path.exists(report.dwca)  # noqa: PTH110  # Path.exists raises for a text that is too long
    dwca = str(Path(report.dwca).absolute()) if is_path else report.dwca
    JobRecord(
        dwca=remove_credentials([dwca])[0],
        chunks=report.chunks,
        fetch=submitter.fetch,
        options=remove_credentials([*shared_options(report), *(one for one in task_options() if one != NO_RETRIES)]),
        parameters=describe_parameters(report),
        jobs=(*(earlier.jobs if earlier else ()), *submitted),
        given={
            **(earlier.given if earlier else {}),
            **{number: jobs.format_ranges(job.chunks) for number, job in submitted.items() if job.elements},
        },
    ).save(report.paths.logs)


def _download_here(submitter: Submitter, missing: Mapping[str, Sequence[int]], elements: int) -> None:
    """Download the missing chunks in a process of this machine, and submit jobs that verify those that are complete.

    A chunk is submitted together with all others of its element, one of `elements`. If this process is stopped, the
    download stops and the submitted jobs continue: the next submission finds what is missing.
    """
    waiting = set(missing["fetch"])
    ready = set(missing["verify"]) - waiting
    problem = ""
    with subprocess.Popen(submitter.download, preexec_fn=end_with_parent) as process:  # noqa: S603
        try:
            is_running = True
            while is_running:
                is_running = _is_running_after(process, FETCHED_SECONDS)
                complete = _find_fetched(submitter.report, waiting)
                waiting -= complete
                ready |= complete
                blocked = {chunk % elements for chunk in waiting}
                chosen = sorted(chunk for chunk in ready if chunk % elements not in blocked)
                if chosen and (is_running or process.returncode):
                    try:
                        ready -= _submit_verification(submitter, chosen, elements)
                    except DatasetError as error:  # to stop here would stop the download
                        if problem != (problem := str(error)):
                            print_note(f"{problem}. The download continues, and the jobs are submitted later.")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP_SECONDS)
    if process.returncode:
        print_note("The download did not end well. The same command continues from here.")
        sys.exit(process.returncode)


def _is_running_after(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _find_fetched(report: ReportDataset, chunks: Collection[int]) -> set[int]:
    """Return those of `chunks` that are downloaded."""
    fetching = (report.clone(FetchChunk, chunk=chunk) for chunk in chunks)
    return {task.chunk for task in fetching if report.paths.record(task.label).exists() and task.complete()}


def _submit_verification(submitter: Submitter, chunks: Sequence[int], elements: int) -> set[int]:
    """Submit jobs that verify chunks, as many as limits allow; return the chunks that are queued now."""
    report, queue = submitter.report, submitter.read_queue()
    found = read_limits(queue, submitter.site).limits
    planned = limits.plan_verification(chunks, queue.own, report.chunks, elements, found).jobs
    if planned:
        _submit_jobs(_fit_site(submitter, planned), planned)
    queued = {chunk for one in queue.own if one.stage == "verify" for chunk in one.list_chunks(report.chunks)}
    return queued | {chunk for job in planned for chunk in job.chunks}


if __name__ == "__main__":
    main(sys.argv[1:])
