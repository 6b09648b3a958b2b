"""Running a chunk's task through Slurm, in an allocation of its own that the driver waits for."""

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
from gbif_webdataset.slurm import status as slurm_status
from gbif_webdataset.slurm.jobs import STAGES, Site, dataset_of
from tasks.framework.parameters import Count, Text

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent is gone
GRACE = 60  # seconds that an element has to end in
STAGE_OF = {"FetchChunk": "fetch", "VerifyChunk": "verify", "ShardChunk": "shards"}


class slurm(luigi.Config):  # what the section of luigi.cfg is called
    """What the cluster asks for."""

    partition: str = Text(default="", description="partition of all jobs, the cluster's default without")
    account: str = Text(default="", description="account that all jobs are charged to, the user's default without")
    options: str = Text(default="", description="further options of sbatch for all jobs, such as 'qos=long'")
    concurrent: int = Count(default=16, least=1, description="elements of an array that run at the same time")
    read: str = Text(default="", description="options of sbatch for reading, such as 'time=2:00:00 mem=16G'")
    fetch: str = Text(default="", description="options of sbatch for elements that fetch")
    verify: str = Text(default="", description="options of sbatch for elements that verify, such as 'cpus-per-task=8'")
    tables: str = Text(default="", description="options of sbatch for the stages from verified to planned shards")
    shards: str = Text(default="", description="options of sbatch for elements that write shards")
    report: str = Text(default="", description="options of sbatch for the report")

    def site(self) -> Site:
        """The same for core/slurm."""
        named = [f"--{name}={value}" for name in ("partition", "account") if (value := getattr(self, name))]
        of_stage = {stage: _dashed(getattr(self, stage)) for stage in STAGES}
        return Site((*named, *_dashed(self.options)), of_stage, self.concurrent)


def _dashed(options: str) -> tuple[str, ...]:
    """Options as sbatch takes them; on a command line a value that begins with a dash would be taken for an option."""
    return tuple(word if word.startswith("-") else f"--{word}" for word in shlex.split(options))


def given() -> list[str]:
    """The options of this command line that a job needs too: all parameters of tasks but those that all share.

    Each is one word: a value that begins with a dash would be taken for an option.
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


def accounted(paths: Any) -> list[costs.Cost]:
    """What Slurm's accounts tell of the dataset's jobs, whose logs are there; nothing where it keeps none."""
    jobs = sorted({log.job for log in slurm_status.logs_in(paths.logs)})
    if not jobs or not shutil.which("sacct"):
        return []
    command = [*costs.SACCT, "--jobs", ",".join(map(str, jobs))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return [] if ended.returncode else costs.parse_slurm_costs(ended.stdout, dataset_of(paths.output))


SHARED = ("dwca", "output", "chunks", "chunk", "scratch", "runner")


def run(task: Any) -> None:
    """Run a chunk's task as an element, in an allocation by sciluigi's helpers; raises DatasetError where it fails."""
    site, stage = slurm().site(), STAGE_OF[task.task_family]
    log = task.paths.logs / f"{task.label}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    which = [f"--dwca={task.dwca}", f"--output={task.paths.output}", f"--chunks={task.chunks}"]
    element = [*which, "--chunk", str(task.chunk), "--runner", "element", "--local-scheduler", "true", "--no-lock"]
    command = [sys.executable, "-m", "luigi", "--module", "tasks", task.task_family, *element, *given()]
    words = ["--job-name", task.label, *site.options, *site.of_stage[stage], "srun", "--ntasks=1"]
    with log.open("wb") as file:
        _allocation(words, file).ex(shlex.join([*command, *task.for_slurm()]))


def _allocation(words: list[str], log: IO[bytes]) -> Any:
    """sciluigi's helpers, with our words for salloc, quoted, and a shell that goes when this process goes."""
    sciluigi = _sciluigi()

    class Info(sciluigi.SlurmInfo):  # type: ignore[misc, name-defined]
        def get_argstr_hpc(self) -> str:
            return shlex.join(words)

    class Allocation(sciluigi.SlurmHelpers):  # type: ignore[misc, name-defined]
        slurminfo = Info(sciluigi.RUNMODE_HPC, None, None, None, None, None, None)

        def ex_local(self, command: str) -> tuple[int, str, str]:
            status = _waited_for(f"exec {command}", log)
            if status:
                raise DatasetError(f"its element ended with status {status}: {_last_words(Path(log.name))}")
            return status, "", ""

        def log_slurm_info(self, stderr: str) -> None:
            """The elements keep their own account of time and memory; many clusters keep none."""

    return Allocation()


def _waited_for(command: str, log: IO[bytes]) -> int:
    """Run a command of the shell; where this process is interrupted or killed, it gets SIGTERM and ends first."""
    process = subprocess.Popen(  # noqa: S602  # quoted by shlex.join
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(GRACE)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_words(log: Path) -> str:
    told = slurm_status.last_lines(log)
    words = next((line for line in reversed(told) if not line.startswith(("srun: ", "salloc: "))), told[-1])
    return words.removeprefix("ERROR: ").removeprefix(f"{log.stem}: ")


@functools.cache
def _sciluigi() -> Any:
    """sciluigi's helpers. Its `interface`, which nothing here needs, would write logs into the working directory."""
    names = ("run", "run_local", "LOGFMT_STREAM", "LOGFMT_LUIGI", "LOGFMT_SCILUIGI", "DATEFMT")
    interface = ModuleType("sciluigi.interface")
    vars(interface).update(dict.fromkeys(names))
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of storage that nobody asked for
    try:
        sys.modules[interface.__name__] = interface
        return importlib.import_module("sciluigi.slurm")
    finally:
        logging.disable(before)
