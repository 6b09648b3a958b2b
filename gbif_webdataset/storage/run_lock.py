"""Which runs use a dataset: each run has a file in .made/, so that a run that would disturb another one stops at once.

The files work on network file systems, too: they are created under names of their own and compared with the file
system's clock. A run writes its file first and reads those of other runs then, so of two that start together at least
one sees the other.
"""

import contextlib
import json
import os
import random
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.leftovers import delete_leftovers
from gbif_webdataset.storage.paths import create_output_folder
from gbif_webdataset.storage.runs import RUN_FILES, STALE_SECONDS, Run, RunKind, is_alive, list_runs
from gbif_webdataset.storage.target_record import RECORDS

HEARTBEAT_SECONDS = 60.0
CLAIM_ATTEMPTS = 20
MAX_CLAIM_PAUSE = 0.1
CLOCK_TICK = 0.02  # seconds after which a file system's time of modification has changed
_KILLED = "killed-"  # the prefix of the files of killed runs, until what they left is deleted


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
        self._path = self._folder / RUN_FILES.replace("*", name)
        self._made_folders: list[Path] = []
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._claim()
            with contextlib.suppress(OSError):  # such as files of another user
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
        raise make_busy_error(self._output, self._run, run, age)

    def _write(self, is_claiming: bool = False) -> None:
        values = asdict(replace(self._run, is_claiming=is_claiming))
        self._make_folder()
        with atomic_file(self._path) as temporary:  # it is locked, so another run does not delete it
            temporary.write_text(json.dumps(values), encoding="utf-8")

    def _make_folder(self) -> None:
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        try:
            create_output_folder(self._output, self._folder)
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
            error = BusyError.at(f"--output {self._output}", sentence, "wait until that one ends")
            print(f"ERROR: {error}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)

    def _delete_leftovers(self) -> None:
        """Delete temporary files that are older than this run's file, if no other run uses the dataset.

        A run that starts during this has written its own file later, and its temporary files after that.
        """
        status = self._path.stat()
        living = _mark_killed_runs(list_runs(self._folder, status.st_mtime))
        is_alone = [path for path, _, _ in living] == [self._path]
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
    """Raise BusyError if `run`, which is not started yet, would disturb a run that uses the dataset in `output`.

    The files of killed runs of this machine are marked, because other machines do not see that these have ended.
    """
    folder = output / RECORDS
    for _, other, age in _mark_killed_runs(list_runs(folder)):
        if not run.is_compatible(other):
            raise make_busy_error(output, run, other, age)


def _mark_killed_runs(runs: Iterable[tuple[Path, Run, float]]) -> list[tuple[Path, Run, float]]:
    """Rename the files of runs that ended without deleting them; return the runs that may be alive."""
    living = []
    for path, run, age in runs:
        if is_alive(run, age):
            living.append((path, run, age))
        else:
            with contextlib.suppress(OSError):  # another process has renamed it, or the folder is another user's
                path.rename(path.with_name(f"{_KILLED}{path.name}"))
    return living


def make_busy_error(output: Path, own: Run, run: Run, age: float) -> BusyError:
    """Return the error of the run `own`, which names the run that uses the dataset."""
    which = "another run"
    remedy = "wait until it ends, or stop it"
    if not run.is_on_this_machine():
        free = time.strftime("%H:%M:%S", time.localtime(time.time() + STALE_SECONDS - age + 1))
        remedy += f" there; if it was killed, this command works from {free}"
    elif RunKind.ALONE in (own.kind, run.kind):
        pass
    elif own.has_same_scheduler(run):
        which += f" with other parameters of {' and '.join(own.find_differences(run))}"
        remedy += ", or give both commands the same parameters"
    elif run.scheduler:
        remedy += ", or give both commands the same SCHEDULER"
    return BusyError.at(f"--output {output}", f"{which} is using it ({run.describe()})", remedy)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", text)[:60]
