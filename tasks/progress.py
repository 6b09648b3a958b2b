"""Progress for people: one bar a stage on a terminal, plain lines elsewhere, and the same on Luigi's page.

The chunks of a stage may run in several processes of one machine. They share a small board, a file of numbers of
images by chunk, and whichever process holds the board's lock draws the stage's bar.
"""

import fcntl
import mmap
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Self

import luigi
import numpy as np
from tqdm import tqdm

TICK = 0.5
PLAIN_EVERY = 30.0
PAGE_EVERY = 2.0


class Progress:
    """Shows how far a task is. `shares` are the images of each chunk of its stage, `before` tells those done."""

    def __init__(
        self,
        task: luigi.Task,
        stage: str,
        unit: str,
        scratch: Path,
        shares: Sequence[int],
        before: Callable[[], Sequence[int]],
        chunk: int,
    ) -> None:
        self._task, self._stage, self._unit, self._chunk = task, stage, unit, chunk
        self._scratch, self._shares, self._before = scratch, shares, before
        self._done = self._total = 0
        self._note = ""
        self._ended = threading.Event()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        self._begun = self._told = self._paged = time.monotonic()
        self._total = self._shares[self._chunk]
        self._file, self._board = self._join_board()
        self._drawing = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None:
            self._board[self._chunk] = self._shares[self._chunk]
        self._show_on_page()
        if sys.stderr.isatty():
            self._draw(last=True)
        else:
            self._say()
        if self._board.sum() >= sum(self._shares):
            self._path.unlink(missing_ok=True)
        self._file.close()

    def update(self, done: int, total: int, note: str = "") -> None:
        """So many of the task's images are done; `note` says what else is worth knowing."""
        self._done, self._total, self._note = done, total, note

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            self._board[self._chunk] = self._done * self._shares[self._chunk] // max(1, self._total)
            now = time.monotonic()
            if now - self._paged > PAGE_EVERY:
                self._paged = now
                self._show_on_page()
            if sys.stderr.isatty():
                self._draw(last=False)
            elif now - self._told > PLAIN_EVERY:
                self._told = now
                self._say()

    def _show_on_page(self) -> None:
        """Tell Luigi's scheduler; its callbacks are there only while a worker runs the task."""
        task: Any = self._task
        if task.set_status_message:
            task.set_status_message(self._text())
        if task.set_progress_percentage:
            task.set_progress_percentage(100 * self._done // max(1, self._total))

    def _text(self) -> str:
        speed = self._done / max(1e-9, time.monotonic() - self._begun)
        note = f", {self._note}" if self._note else ""
        return f"{self._done:,} of {self._total:,} {self._unit}{note}, {speed:,.0f}/s"

    def _say(self) -> None:
        label = f"{self._stage} {self._chunk}" if len(self._shares) > 1 else self._stage
        print(f"{label}: {self._text()}", file=sys.stderr, flush=True)

    def _draw(self, last: bool) -> None:
        if not self._drawing:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | (0 if last else fcntl.LOCK_NB))
            except BlockingIOError:
                return
            self._drawing = True
            self._bar = tqdm(
                total=sum(self._shares),
                initial=int(self._board.sum()),
                desc=f"{self._stage:<7}",
                unit=f" {self._unit}",
                dynamic_ncols=True,
                leave=False,
            )
        if self._bar is not None:
            self._bar.n = int(self._board.sum())
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.refresh()
            if last:
                self._bar.leave = self._bar.n >= self._bar.total
                self._bar.close()

    def _join_board(self) -> "tuple[IO[bytes], np.ndarray[Any, np.dtype[np.int64]]]":
        """The stage's board; the first process of a run makes it, in place of an older run's."""
        run = os.getppid() if multiprocessing.parent_process() else os.getpid()
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._path = path = self._scratch / f"progress-{self._stage}-{run}"
        file = path.open("a+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        if not file.tell():
            for old in self._scratch.glob(f"progress-{self._stage}-*"):
                if old != path:
                    old.unlink(missing_ok=True)
            file.write(np.array(self._before(), np.int64).tobytes())
            file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)
        board = np.frombuffer(mmap.mmap(file.fileno(), 8 * len(self._shares)), np.int64)
        return file, board
