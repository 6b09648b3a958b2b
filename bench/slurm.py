"""The time to plan, submit and query a job of 1,000 chunks: the work on a login node."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luigi.cmdline_parser import CmdlineParser

from bench import archive, photos, runs
from gbif_webdataset.slurm import jobs as slurm
from gbif_webdataset.slurm import status
from tasks import arrays
from tasks.framework.slurm_commands import run_slurm
from tasks.report import ReportDataset

CHUNKS = 1000
IMAGES = 4000


def bench() -> None:
    """Measure with a dataset in which half of the chunks are fetched. If there is a cluster, submit held jobs to it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        which = _half_fetched(folder)
        with CmdlineParser.global_instance(["ReportDataset", *which]) as command:
            print(f"slurm: {CHUNKS:,} chunks, half of them fetched, {runs.describe_load()}")
            _measure(command.get_task_obj(), folder / "output", which)


def _half_fetched(folder: Path) -> list[str]:
    photos.write(folder / "photos", IMAGES)
    cache = folder / "cache" / "bench"
    cache.mkdir(parents=True)
    for number in range(IMAGES):
        (folder / "photos" / f"{number}.jpg").rename(cache / f"{archive.FIRST_ID + number}.jpg")
    archive.write_plain(folder / "archive.zip", (f"http://127.0.0.1/{number}.jpg" for number in range(IMAGES)))
    options = ["--chunks", str(CHUNKS), "--FetchChunk-cache-path", str(cache.parent)]
    runs.timed([*runs.luigi("FetchImages", folder / "archive.zip", folder / "output", *options), "--workers", "2"])
    for chunk in range(0, CHUNKS, 2):
        (folder / "output" / ".made" / f"FetchChunk-{chunk:05d}.json").unlink()
    return ["--dwca", str(folder / "archive.zip"), "--output", str(folder / "output"), *options]


def _measure(report: ReportDataset, output: Path, which: list[str]) -> None:
    missing = _told("looking at what is missing", lambda: arrays.find_missing(report))
    plan = _told("planning", lambda: slurm.plan_submission(missing, [], CHUNKS, CHUNKS))
    job_command = slurm.JobCommand(arrays.find_job_scripts(), sys.executable, Path.cwd(), output, CHUNKS, tuple(which))
    site, numbers = slurm.Site(("--hold",)), dict.fromkeys((job.key for job in plan.jobs), "1")
    _told("making the commands", lambda: [slurm.build_command(job, job_command, site, numbers) for job in plan.jobs])
    dataset = slurm.name_dataset(output)
    listing = "".join(f"7_{number}|PENDING|JobArrayTaskLimit|||main|{dataset}-fetch\n" for number in range(CHUNKS))
    present = _told("reading the queue", lambda: slurm.parse_queue(listing, dataset, {}))
    states = status.count_states(missing, CHUNKS, present, [])
    _told("telling the state", lambda: status.format_table(list(states), CHUNKS))
    command = [sys.executable, "-m", "tasks.arrays", "submit", *which, "--slurm-options", "hold"]
    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        print("  there is no cluster: submitting and querying are not measured")
        return
    try:
        _told("make slurm, all together", lambda: runs.timed(command))
        _told("make slurm again: nothing", lambda: runs.timed(command))
        _told("make slurm-status", lambda: runs.timed([*command[:3], "status", *which]))
    finally:
        jobs = [one.array for one in slurm.parse_queue(run_slurm(*slurm.SQUEUE), dataset, {})]
        subprocess.run(["scancel", *sorted(set(jobs))], check=False)


def _told(what: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = work()
    print(f"  {what:28} {time.perf_counter() - start:8.3f} s", flush=True)
    return found
