"""Which runs use a dataset: each run has a file in .made/, so that a run that would disturb another one stops at once.

The files work on network file systems, too: they are created under names of their own and compared with the file
system's clock. A run writes its file first and reads those of other runs then, so of two that start together at least
one sees the other.
"""

import contextlib
import functools
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from gbif_webdataset.errors import BusyError, ParameterError
from gbif_webdataset.storage.atomic import TEMPORARY
from gbif_webdataset.storage.leftovers import delete_leftovers
from gbif_webdataset.storage.target_record import RECORDS

HEARTBEAT_SECONDS = 60.0
STALE_SECONDS = 300.0
"""A run whose file is older than this has ended without deleting it."""
CLAIM_ATTEMPTS = 20
MAX_CLAIM_PAUSE = 0.1
CLOCK_TICK = 0.02  # seconds after which a file system's time of modification has changed
_NAME = "run-{}.lock"
_KILLED = "killed-"  # the prefix of the files of killed runs, until what they left is deleted


class RunKind(StrEnum):
    """How a run works: by itself, as the driver of Slurm allocations, or as an element of a Slurm job."""

    LOCAL = "local"
    DRIVER = "slurm"
    ELEMENT = "element"


@dataclass(frozen=True)
class Run:
    """A run that uses a dataset.

    `scheduler` is its central scheduler, or empty. `host`, `pid` and `started` (seconds since 1970) are for people;
    `machine` and `process_start` identify the process, because names of hosts and ids of processes occur twice. A run
    `is_claiming` the dataset until it knows that it disturbs no other run.
    """

    task: str
    kind: str
    scheduler: str
    host: str
    pid: int
    machine: str
    process_start: str
    started: float
    is_claiming: bool = False

    @classmethod
    def of_this_process(cls, task: str, kind: RunKind, scheduler: str = "") -> Self:
        """Return the run of this process, which starts now."""
        start = _find_process_start(os.getpid()) or ""
        host, machine = socket.gethostname(), _identify_machine()
        return cls(task, kind, scheduler, host, os.getpid(), machine, start, time.time())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the run that a file describes. One that cannot be read is of an unknown run, which may be alive."""
        try:
            values: dict[str, Any] = json.loads(text)
            texts: dict[str, Any] = {field.name: str(values[field.name]) for field in fields(cls)}
            numbers = {"pid": int(values["pid"]), "started": float(values["started"])}
            return cls(**{**texts, **numbers, "is_claiming": values["is_claiming"] is True})
        except (ValueError, TypeError, KeyError):
            return cls("unknown task", "", "", "unknown", 0, "", "", 0.0)

    def is_compatible(self, other: "Run") -> bool:
        """Whether both may use the dataset at the same time."""
        if self.scheduler and self.scheduler == other.scheduler:
            return True
        kinds = {self.kind, other.kind}
        return RunKind.ELEMENT in kinds and kinds <= {RunKind.ELEMENT, RunKind.DRIVER}

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


class RunLock:
    """The file of this run in `output`/.made/, from entering the context to leaving it.

    The first run after a killed one deletes what that one left, if no other run uses the dataset.

    Raises:
        BusyError: another run uses the dataset, and this one would disturb it.
        ParameterError: `output` cannot become a folder.
        OSError: the file cannot be written.
    """

    def __init__(self, output: Path, run: Run) -> None:
        self._output, self._run = output, run
        self._folder = output / RECORDS
        name = f"{_file_name(run.host)}-{run.pid}-{uuid.uuid4().hex[:8]}"
        self._path = self._folder / _NAME.format(name)
        self._made_folders: list[Path] = []
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._claim()
            self._delete_leftovers()
        except BaseException:
            self._delete_file()
            raise
        self._thread = threading.Thread(target=self._beat, name="run lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if kind is None:
                time.sleep(CLOCK_TICK)
                with contextlib.suppress(OSError):  # the next run does it
                    os.utime(self._path)
                    self._delete_leftovers()
        finally:
            self._delete_file()

    def _claim(self) -> None:
        """Write the file unless another run may be disturbed. Of runs that start together the first by name goes on."""
        for _ in range(CLAIM_ATTEMPTS):
            self._write(is_claiming=True)
            rivals = sorted(self._find_rivals(), key=lambda rival: rival[1].is_claiming)
            if not rivals:
                self._write()
                return
            path, run, age = rivals[0]
            if not run.is_claiming:
                break
            if path.name < self._path.name:
                self._path.unlink()
            time.sleep(random.uniform(MAX_CLAIM_PAUSE / 5, MAX_CLAIM_PAUSE))
        raise make_busy_error(self._output, run, age)

    def _write(self, is_claiming: bool = False) -> None:
        temporary = self._folder / f"{TEMPORARY}{self._path.name}"
        values = asdict(replace(self._run, is_claiming=is_claiming))
        self._make_folder()
        try:
            temporary.write_text(json.dumps(values), encoding="utf-8")
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _make_folder(self) -> None:
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise ParameterError(f"--output {self._output}: cannot become a folder; choose another path") from error
        finally:
            self._made_folders = self._made_folders or missing

    def _find_rivals(self) -> Iterator[tuple[Path, Run, float]]:
        for path, run, age in list_runs(self._folder, self._path.stat().st_mtime):
            if path != self._path and is_alive(run, age) and not self._run.is_compatible(run):
                yield path, run, age

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                with contextlib.suppress(OSError):
                    self._write_again()
            except OSError:
                continue  # the file system may come back

    def _write_again(self) -> None:
        """Write the deleted file again, or end the run if another one has started while this one was suspended."""
        self._write()
        for _, run, _ in self._find_rivals():
            self._delete_file()
            sentence = f"this run was suspended, and another run has continued its work ({run.describe()})"
            print(f"ERROR: --output {self._output}: {sentence}; wait until that one ends", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)

    def _delete_leftovers(self) -> None:
        """Delete temporary files that are older than this run's file, if no other run uses the dataset.

        A run that starts during this has written its own file later, and its temporary files after that.
        """
        status = self._path.stat()
        is_alone = True
        for path, run, age in list_runs(self._folder, status.st_mtime):
            if path == self._path:
                continue
            if is_alive(run, age):
                is_alone = False
            else:
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(f"{_KILLED}{path.name}"))
        killed = list(self._folder.glob(f"{_KILLED}*"))
        if is_alone and delete_leftovers(self._output, status.st_mtime_ns, has_killed_runs=bool(killed)):
            for path in killed:
                path.unlink(missing_ok=True)

    def _delete_file(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        for folder in self._made_folders:
            with contextlib.suppress(OSError):  # the run has written into it
                folder.rmdir()


def check_output_is_free(output: Path, run: Run) -> None:
    """Raise BusyError if `run`, which is not started yet, would disturb a run that uses the dataset in `output`."""
    folder = output / RECORDS
    if not any(folder.glob(_NAME.format("*"))):
        return
    probe = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    for _, other, age in list_runs(folder, now):
        if is_alive(other, age) and not run.is_compatible(other):
            raise make_busy_error(output, other, age)


def list_runs(folder: Path, now: float) -> Iterator[tuple[Path, Run, float]]:
    """Yield the file of each run in a folder, the run, and the seconds since its last heartbeat.

    `now` is the time of a file that was written on the same file system: clocks of machines differ.
    """
    for path in sorted(folder.glob(_NAME.format("*"))):
        with contextlib.suppress(FileNotFoundError):
            modified = path.stat().st_mtime
            yield path, Run.from_json(path.read_text(encoding="utf-8", errors="replace")), now - modified


def is_alive(run: Run, age: float) -> bool:
    """Whether a run with a heartbeat of this age may still use the dataset."""
    return age <= STALE_SECONDS and not run.is_gone()


def make_busy_error(output: Path, run: Run, age: float) -> BusyError:
    """Return the error that names a run which uses the dataset."""
    remedy = "wait until it ends, or stop it"
    if not run.is_on_this_machine():
        free = time.strftime("%H:%M:%S", time.localtime(time.time() + STALE_SECONDS - age + 1))
        remedy += f" there; if it was killed, this command works from {free}"
    elif run.scheduler:
        remedy += ", or give both commands the same SCHEDULER"
    return BusyError.at(f"--output {output}", f"another run is using it ({run.describe()})", remedy)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", text)[:60]


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
