"""Run a chunk's task in a Slurm allocation of its own, and wait for it."""

import ctypes
import functools
import importlib
import logging
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

from gbif_webdataset.account import costs
from gbif_webdataset.errors import DatasetError
from gbif_webdataset.slurm.job_record import JobRecord
from gbif_webdataset.slurm.jobs import STAGES, Site, name_dataset
from gbif_webdataset.slurm.logs import begin_attempt, find_allocation_error
from gbif_webdataset.storage.image_store import KEEP
from tasks.framework.parameters import Choice, Count, InputFolder, Text
from tasks.framework.slurm_commands import make_environment

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent is gone
STOP_SECONDS = 60  # for an element to end
NO = "no"
STAGE_OF = {"FetchChunk": "fetch", "VerifyChunk": "verify", "ShardChunk": "shards"}


class slurm(luigi.Config):  # the name of the section in luigi.cfg
    """The settings of the cluster."""

    partition: str = Text(default="", description="Partition of all jobs. Empty: the cluster's default.")
    account: str = Text(default="", description="Account that all jobs are charged to. Empty: your default account.")
    options: str = Text(
        default="", description="Further options of sbatch for all jobs, without dashes, such as 'qos=long'."
    )
    scripts: str = InputFolder(
        default="",
        description="Folder with your copy of the job scripts. Its element.sh can have commands that the cluster needs "
        "before Python starts. Empty: the scripts of the package.",
    )
    concurrent: int = Count(
        default=16, minimum=1, description="Maximum number of elements of an array that run at the same time."
    )
    max_jobs: int = Count(
        default=0,
        description="Maximum number of jobs and elements of arrays that `make slurm` has in the queue. Chunks are "
        "combined to meet it. 0: as many as the limits that sacctmgr shows allow.",
    )
    stage_in: str = Choice(
        default=NO,
        choices=(NO, "auto"),
        description="auto: an element that writes shards first copies the packs (--store packed) of which it reads at "
        "least a quarter to $SLURM_TMPDIR, as far as they fit there. no: it reads all packs where they are.",
    )
    fit: str = Choice(
        default=NO,
        choices=(NO, "yes"),
        description="yes: request processors, memory and time by stage according to the costs of the dataset's last "
        "report, with a margin. no: those in the job scripts.",
    )
    read: str = Text(
        default="",
        description="Options of sbatch for ReadArchive, such as 'time=2:00:00 mem=16G'. Empty: those in read.sbatch.",
    )
    fetch: str = Text(default="", description="Options of sbatch for FetchChunk. Empty: those in fetch.sbatch.")
    verify: str = Text(
        default="",
        description="Options of sbatch for VerifyChunk, such as 'cpus-per-task=8'. Empty: those in verify.sbatch.",
    )
    tables: str = Text(
        default="",
        description="Options of sbatch for the tasks from VerifyImages to PlanShards. Empty: those in tables.sbatch.",
    )
    shards: str = Text(default="", description="Options of sbatch for ShardChunk. Empty: those in shards.sbatch.")
    report: str = Text(default="", description="Options of sbatch for ReportDataset. Empty: those in report.sbatch.")

    def site(self) -> Site:
        """Return the settings for `gbif_webdataset.slurm`."""
        common = [f"--{name}={value}" for name in ("partition", "account") if (value := getattr(self, name))]
        by_stage = {stage: _dashed(getattr(self, stage)) for stage in STAGES}
        return Site((*common, *_dashed(self.options)), by_stage, self.concurrent, self.max_jobs, self.stage_in)


def _dashed(options: str) -> tuple[str, ...]:
    """Add dashes to options: on luigi's command line a value that starts with a dash is taken for an option."""
    return tuple(word if word.startswith("-") else f"--{word}" for word in shlex.split(options))


def task_options() -> list[str]:
    """Return the options of the command line that a job needs too: all parameters that belong to one task.

    Each option is one word, because a value that starts with a dash would be taken for an option.
    """
    command = CmdlineParser.get_instance()  # type: ignore[no-untyped-call]
    values = vars(command.known_args)
    words: list[str] = []
    for family, _, name, _ in Register.get_all_params():  # type: ignore[no-untyped-call]
        task: type = Register.get_task_cls(family)  # type: ignore[no-untyped-call]
        if not task.__module__.startswith("tasks.") or issubclass(task, luigi.Config):
            continue
        value = values.get(f"{family}_{name}")
        if value is None and family == command.known_args.root_task and name not in SHARED:
            value = values.get(name)
        if value is not None:
            words.append(f"--{family}-{name.replace('_', '-')}={value}")
    return words


def read_costs(paths: Any) -> list[costs.Cost]:
    """Return the costs of the dataset's jobs from Slurm's accounting; none if the cluster has no accounting."""
    record = JobRecord.load(paths.logs)
    if record is None or not record.jobs or not shutil.which("sacct"):
        return []
    command = [*costs.SACCT, "--jobs", ",".join(record.jobs)]
    ended = subprocess.run(command, env=make_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    return [] if ended.returncode else costs.parse_slurm_costs(ended.stdout, name_dataset(paths.output))


SHARED = ("dwca", "output", "chunks", "chunk", "scratch", "store", "same_taxonomy", "runner", "plan")
"""Parameters of all tasks; they are options without the name of a task."""


def shared_options(task: Any) -> list[str]:
    """Return the options of all tasks that a job of the same dataset needs, beside those that name the dataset."""
    scratch = [f"--scratch={task.scratch}"] if task.scratch else []
    store = [f"--store={task.store}"] if task.store != KEEP else []
    return [*scratch, *store, *(["--same-taxonomy=true"] if task.same_taxonomy else [])]


def run_chunk(task: Any) -> None:
    """Run a chunk's task in a Slurm allocation. Raises DatasetError if it fails."""
    site, stage = slurm().site(), STAGE_OF[task.task_family]
    log = task.paths.logs / f"{task.label}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    which = [f"--dwca={task.dwca}", f"--output={task.paths.output}", f"--chunks={task.chunks}"]
    element = [
        *which,
        *shared_options(task),
        "--chunk",
        str(task.chunk),
        "--runner",
        "element",
        "--local-scheduler",
        "true",
        "--no-lock",
    ]
    command = [sys.executable, "-P", "-m", "tasks", task.task_family, *element, *task_options()]
    words = ["--job-name", task.label, *site.options, *site.of_stage[stage], "srun", "--ntasks=1"]
    begin_attempt(log, task.label)
    with log.open("ab") as file:
        _allocation(words, file).ex(shlex.join([*command, *task.slurm_options()]))


def _allocation(words: list[str], log: IO[bytes]) -> Any:
    """Return sciluigi's helpers with our quoted options for salloc, and with a shell that ends with this process."""
    sciluigi = _sciluigi()

    class Info(sciluigi.SlurmInfo):  # type: ignore[misc, name-defined]
        def get_argstr_hpc(self) -> str:
            return shlex.join(words)

    class Allocation(sciluigi.SlurmHelpers):  # type: ignore[misc, name-defined]
        slurminfo = Info(sciluigi.RUNMODE_HPC, None, None, None, None, None, None)

        def ex_local(self, command: str) -> tuple[int, str, str]:
            status = _run_shell(f"exec {command}", log)
            if status:
                problem = f"the Slurm job ended with status {status} ({_describe_error(Path(log.name))})"
                raise DatasetError.at(log.name, problem, "correct the cause, and run the command again")
            return status, "", ""

        def log_slurm_info(self, stderr: str) -> None:
            """Do nothing: the records have time and memory, and many clusters have no accounting."""

    return Allocation()


def _run_shell(command: str, log: IO[bytes]) -> int:
    """Run a shell command and return its status. If this process is interrupted or killed, the command gets SIGTERM."""
    process = subprocess.Popen(  # noqa: S602  # quoted by shlex.join
        command,
        shell=True,
        env=make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)


def end_with_parent() -> None:
    """Let this process, a child that is about to run a program, get SIGTERM when its parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _describe_error(log: Path) -> str:
    return find_allocation_error(log).removeprefix("ERROR: ").removeprefix(f"{log.stem}: ")


@functools.cache
def _sciluigi() -> Any:
    """Import sciluigi's helpers without its `interface`, which would write logs into the working directory."""
    names = ("run", "run_local", "LOGFMT_STREAM", "LOGFMT_LUIGI", "LOGFMT_SCILUIGI", "DATEFMT")
    interface = ModuleType("sciluigi.interface")
    vars(interface).update(dict.fromkeys(names))
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # about storage that is not used
    try:
        sys.modules[interface.__name__] = interface
        return importlib.import_module("sciluigi.slurm")
    finally:
        logging.disable(before)
