"""The runs that use a dataset: each has a file in .made/ that says which process it is."""

import contextlib
import functools
import json
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from gbif_webdataset.storage.atomic import TEMPORARY

STALE_SECONDS = 300.0
"""A run whose file is older than this has ended without deleting it."""
RUN_FILES = "run-*.lock"


class RunKind(StrEnum):
    """How a run works: by itself, as the driver of Slurm allocations, as an element of a Slurm job, or beside no other.

    A LOCAL run shares the work with runs of the same central scheduler; one that is ALONE has none to share.
    """

    LOCAL = "local"
    DRIVER = "slurm"
    ELEMENT = "element"
    ALONE = "alone"


@dataclass(frozen=True)
class Run:
    """A run that uses a dataset.

    `scheduler` is its central scheduler, or empty. `host`, `pid` and `started` (seconds since 1970) are for people;
    `machine` and `process_start` identify the process, because names of hosts and ids of processes occur twice.
    `parameters` has a digest for each stage of the run. A run `is_claiming` the dataset until it knows that it disturbs
    no other.
    """

    task: str
    kind: str
    scheduler: str
    host: str
    pid: int
    machine: str
    process_start: str
    started: float
    parameters: Mapping[str, str] = field(default_factory=dict)
    is_claiming: bool = False

    @classmethod
    def of_this_process(
        cls, task: str, kind: RunKind, scheduler: str = "", parameters: Mapping[str, str] | None = None
    ) -> Self:
        """Return the run of this process, which starts now."""
        start = _find_process_start(os.getpid()) or ""
        host, machine = socket.gethostname(), _identify_machine()
        return cls(task, kind, scheduler, host, os.getpid(), machine, start, time.time(), parameters or {})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the run that a file describes. One that cannot be read is of an unknown run, which may be alive."""
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(
                task=str(values["task"]),
                kind=str(values["kind"]),
                scheduler=str(values["scheduler"]),
                host=str(values["host"]),
                pid=int(values["pid"]),
                machine=str(values["machine"]),
                process_start=str(values["process_start"]),
                started=float(values["started"]),
                parameters={str(stage): str(digest) for stage, digest in dict(values["parameters"]).items()},
                is_claiming=values["is_claiming"] is True,
            )
        except (ValueError, TypeError, KeyError):
            return cls("unknown task", "", "", "unknown", 0, "", "", 0.0)

    def is_compatible(self, other: "Run") -> bool:
        """Whether both may use the dataset at the same time."""
        kinds = {self.kind, other.kind}
        if RunKind.ALONE in kinds:
            return False
        if self.has_same_scheduler(other):
            return not self.find_differences(other)
        return RunKind.ELEMENT in kinds and kinds <= {RunKind.ELEMENT, RunKind.DRIVER}

    def has_same_scheduler(self, other: "Run") -> bool:
        """Whether both runs have the same central scheduler."""
        return bool(self.scheduler) and self.scheduler == other.scheduler

    def find_differences(self, other: "Run") -> list[str]:
        """Return the stages of both runs whose parameters differ."""
        return [
            stage
            for stage in self.parameters
            if self.parameters[stage] != other.parameters.get(stage, self.parameters[stage])
        ]

    def is_on_this_machine(self) -> bool:
        """Whether this process can see whether the run's process exists."""
        return self.machine == _identify_machine()

    def is_gone(self) -> bool:
        """Whether the run's process is known to have ended."""
        if not self.is_on_this_machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # of another user
        start = _find_process_start(self.pid)
        return start is not None and start != self.process_start

    def describe(self) -> str:
        """Return the run in words."""
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"{self.task} on host {self.host}, process {self.pid}, started {started}"


def list_runs(folder: Path, now: float | None = None) -> Iterator[tuple[Path, Run, float]]:
    """Yield the file of each run in a folder, the run, and the seconds since its last heartbeat.

    `now` is the time of a file that was written on the same file system: clocks of machines differ. Without it a file
    is written for this, if there are runs.
    """
    files = sorted(folder.glob(RUN_FILES))
    if not files:
        return
    now = _read_clock(folder) if now is None else now
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            modified = path.stat().st_mtime
            yield path, Run.from_json(path.read_text(encoding="utf-8", errors="replace")), now - modified


def _read_clock(folder: Path) -> float:
    """Return the time of a folder's file system, in seconds since 1970."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)  # a run that starts may have deleted it


def is_alive(run: Run, age: float) -> bool:
    """Whether a run with a heartbeat of this age may still use the dataset."""
    return age <= STALE_SECONDS and not run.is_gone()


@functools.cache
def _identify_machine() -> str:
    """Return a name for this start of this machine, and the part of it whose process ids this process sees."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _find_process_start(pid: int) -> str | None:
    """Return when a process started, in the units of Linux; None if the system does not show it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] == "Z" else fields[19]
