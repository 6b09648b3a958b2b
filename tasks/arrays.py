"""The dataset as Slurm job arrays: submit the missing jobs, or print their status.

python -m tasks.arrays submit --dwca archive.zip [--output DIR] [--chunks N] [--dry-run] [LUIGI_OPTION ...]
python -m tasks.arrays status --dwca archive.zip [--output DIR] [--chunks N] [LUIGI_OPTION ...]
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from gbif_webdataset.errors import DatasetError, ParameterError, explain
from gbif_webdataset.shards import create_webdataset
from gbif_webdataset.slurm import jobs
from gbif_webdataset.slurm import status as slurm_status
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import MAX_CHUNKS, DatasetTask
from tasks.framework.rebuild_reasons import print_reasons
from tasks.framework.slurm_runner import slurm as settings
from tasks.framework.slurm_runner import task_options
from tasks.read import ReadArchive
from tasks.report import ReportDataset
from tasks.shards import PlanShards
from tasks.verify import VerifyChunk


def find_missing(report: ReportDataset) -> dict[str, list[int]]:
    """Return by stage the chunks whose target is missing or outdated; 0 stands for a stage of a single job."""
    every = list(range(report.chunks))
    if report.complete():
        return {stage: [] for stage in jobs.STAGES}
    planning = report.clone(PlanShards)
    if planning.dataset.complete():
        return {stage: [0] if stage == "report" else [] for stage in jobs.STAGES}
    read = not report.clone(ReadArchive).complete()
    fetch = every if read else [chunk for chunk in every if not report.clone(FetchChunk, chunk=chunk).complete()]
    left = sorted(set(every) - set(fetch))
    verify = sorted({*fetch, *(chunk for chunk in left if not report.clone(VerifyChunk, chunk=chunk).complete())})
    plan = planning.load_plan() if not verify and planning.complete() else None
    unwritten = (
        every if plan is None else [g % report.chunks for g in create_webdataset.unwritten(report.paths.shards, plan)]
    )
    return {
        "read": [0] if read else [],
        "fetch": fetch,
        "verify": verify,
        "tables": [0] if plan is None else [],
        "shards": sorted(set(unwritten)),
        "report": [0],
    }


def submit(report: ReportDataset, options: Sequence[str], dry_run: bool) -> None:
    """Submit and print the missing jobs that are not queued; with `dry_run` only print their commands."""
    print_reasons(report)
    elements = _elements(report)
    present = jobs.queued(run_slurm(*jobs.SQUEUE), jobs.dataset_of(report.paths.output))
    plan = jobs.plan(_by_element(find_missing(report), elements), present)
    paths, site = report.paths, settings().site()
    if "\\" in str(paths.logs.absolute()):
        raise ParameterError(f"--output {paths.output}: Slurm takes no backslash in the path of a log; choose another")
    which = (f"--dwca={report.dwca}", f"--output={paths.output}", f"--chunks={report.chunks}")
    order = jobs.Order(Path.cwd(), paths.output.absolute(), report.chunks, elements, (*which, *options))
    if plan.cancel:
        print(f"cancelled, since what they wait for won't come: {' '.join(plan.cancel)}")
        if not dry_run:
            run_slurm("scancel", *plan.cancel)
    if not plan.jobs:
        left = [one for one in present if one.job not in plan.cancel]
        print(f"nothing to submit: {len(left):,} of its jobs are queued or running" if left else "nothing to do")
    elif not dry_run:
        paths.logs.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, str] = {}
    for job in plan.jobs:
        if dry_run:
            numbers[job.key] = job.key.upper()
            print(shlex.join(jobs.sbatch(job, order, site, numbers)))
        else:
            numbers[job.key] = run_slurm(*jobs.sbatch(job, order, site, numbers)).strip().partition(";")[0]
            print(f"{job.stage:<8}{_count(job):<14}job {numbers[job.key]}", flush=True)


def status(report: ReportDataset) -> None:
    """Print the status of each stage."""
    elements = _elements(report)
    present = jobs.queued(run_slurm(*jobs.SQUEUE), jobs.dataset_of(report.paths.output))
    missing = _by_element(find_missing(report), elements)
    stages = list(slurm_status.states(missing, elements, present, slurm_status.logs_in(report.paths.logs)))
    print(slurm_status.table(stages, elements))


def _count(job: jobs.Job) -> str:
    if not job.elements:
        return ""
    return f"{len(job.elements):,} {'element' if len(job.elements) == 1 else 'elements'}"


def _elements(report: DatasetTask) -> int:
    """Return the elements of an array: one per chunk, or fewer if the cluster's MaxArraySize is smaller."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run_slurm("scontrol", "show", "config"), re.MULTILINE)
    return min(report.chunks, int(found[1]) if found else MAX_CHUNKS)


def _by_element(chunks: Mapping[str, Sequence[int]], elements: int) -> dict[str, list[int]]:
    return {stage: jobs.elements_of(found, elements) for stage, found in chunks.items()}


def run_slurm(*command: str) -> str:
    """Return the output of a Slurm command. Raises DatasetError if it fails or does not exist."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise DatasetError(
            f"there is no {command[0]} here: run this on a machine from which jobs are submitted"
        ) from None
    if ended.returncode:
        raise DatasetError(f"{command[0]} failed: {' '.join(ended.stderr.split()) or ended.returncode}")
    return ended.stdout


def main(words: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.arrays",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=["submit", "status"])
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and submit nothing")
    arguments, options = parser.parse_known_args(words)
    try:
        with CmdlineParser.global_instance(["ReportDataset", *options]) as command:
            report = command.get_task_obj()
            if arguments.action == "status":
                status(report)
            else:
                submit(report, task_options(), arguments.dry_run)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.exit(f"ERROR: {sentence}")


if __name__ == "__main__":
    main(sys.argv[1:])
