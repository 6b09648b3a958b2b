"""Progress on the terminal (a bar per stage), in log files (plain lines) and on Luigi's page.

The chunks of a stage may run in several processes of one machine, and chunks of two stages may run at the same time.
The processes of a run share a board, a small file of numbers. The process that holds its lock draws all stages, so
that lines of different processes never mix.
"""

import contextlib
import fcntl
import json
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import luigi
from tqdm import tqdm

from gbif_webdataset.errors import escape_text
from gbif_webdataset.storage.atomic import TEMPORARY

# Seconds between updates: of the board, of the bars, of the plain lines, of Luigi's page.
BOARD_INTERVAL = 0.5
DRAW_INTERVAL = 0.1
LINE_INTERVAL = 30.0
PAGE_INTERVAL = 2.0
ERROR_PAUSE = 0.3  # seconds without bars after an error, so that its sentence is not overwritten


@dataclass(frozen=True)
class Stage:
    """The stage of a task: its name, the unit of its numbers, and the size of each of its chunks.

    `count_done` returns how much of each chunk was done by earlier runs. `chunk` is the chunk of the task.
    """

    name: str
    unit: str
    sizes: Sequence[int]
    count_done: Callable[[], Sequence[int]] = lambda: [0]
    chunk: int = 0


class Progress:
    """Shows the progress of a task while the context is open. Without a terminal the run first prints `hint`, once."""

    def __init__(self, task: luigi.Task, stage: Stage, scratch: Path, hint: str) -> None:
        self._task, self._stage, self._board, self._hint = task, stage, _Board(scratch), hint
        self._done, self._total, self._note = 0, stage.sizes[stage.chunk], ""
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._started = self._page_updated = time.monotonic()
        if not sys.stderr.isatty():
            self.print_once(self._hint)
        self._update_board()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._update_page()
        self._update_board(is_ended=kind is None, is_failed=kind is not None)

    def update(self, done: int, total: int, note: str = "") -> None:
        """Set how many of the task's images are done; `note` is a further count, such as '3 failed'."""
        self._done, self._total, self._note = done, total, note

    def print_once(self, sentence: str) -> None:
        """Print a sentence, unless a process of this run has printed it."""
        with contextlib.suppress(OSError, ValueError), self._board.locked() as stages:
            stages.print_once(sentence)

    def _run(self) -> None:
        while not self._ended.wait(BOARD_INTERVAL):
            self._update_board()
            now = time.monotonic()
            if now - self._page_updated > PAGE_INTERVAL:
                self._page_updated = now
                self._update_page()

    def _update_page(self) -> None:
        task: Any = self._task  # Luigi sets these callbacks only while a worker runs the task
        if task.set_status_message:
            speed = self._done / max(1e-9, time.monotonic() - self._started)
            task.set_status_message(_text(self._done, self._total, self._stage.unit, [self._note], speed))
        if task.set_progress_percentage:
            task.set_progress_percentage(100 * self._done // max(1, self._total))

    def _update_board(self, is_ended: bool = False, is_failed: bool = False) -> None:
        stage = self._stage
        size = stage.sizes[stage.chunk]
        done = size if is_ended else 0 if is_failed else self._done * size // max(1, self._total)
        # The task reports a full disk or a deleted output folder. Its bar just stops.
        with contextlib.suppress(OSError, ValueError), self._board.locked() as stages:
            if stage.name not in stages.all:
                stages.add(stage)
            stages.all[stage.name]["chunks"][str(stage.chunk)] = [done, self._note]
            if is_failed:
                stages.clear_bars()
            elif sys.stderr.isatty():
                stages.draw_bars()
            else:
                stages.print_lines()


class _Stages:
    """The content of the board: the numbers of each stage, and how many lines the bars take on the terminal."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.all: dict[str, dict[str, Any]] = state.get("stages", {})
        self.lines: int = state.get("lines", 0)
        self.not_before: float = state.get("not_before", 0.0)
        self.printed: list[str] = state.get("printed", [])

    def state(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        return {"stages": self.all, "lines": self.lines, "not_before": self.not_before, "printed": self.printed}

    def add(self, stage: Stage) -> None:
        """Add a stage that starts now; earlier runs may have done some of its chunks."""
        done = stage.count_done()
        now = time.time()
        self.all[stage.name] = {
            "unit": stage.unit,
            "total": sum(stage.sizes),
            "done_before": sum(done),
            "started": now,
            "printed": now,
            "chunks": {str(chunk): [count, ""] for chunk, count in enumerate(done) if count},
        }

    def draw_bars(self) -> None:
        """Draw the bars over the present ones. A finished bar at the top stays where it is and is not drawn again."""
        now = time.time()
        if now < self.not_before and not any(map(_is_finished, self.all.values())):
            return
        self.not_before = now + DRAW_INTERVAL
        width = _width()
        lines = [_format_stage(name, stage, width) for name, stage in self.all.items() if not stage.get("drawn")]
        sys.stderr.write("\x1b[A" * self.lines + "".join(f"\r{line:<{width}}\n" for line in lines))
        sys.stderr.flush()
        self.lines = len(lines)
        for stage in self.all.values():
            if not stage.get("drawn"):
                if not _is_finished(stage):
                    break
                stage["drawn"] = True
                self.lines -= 1

    def clear_bars(self) -> None:
        """Clear the bars, and leave their lines to the sentence of an error for a while."""
        if sys.stderr.isatty():
            blank = f"\r{'':{_width()}}\n" * self.lines
            sys.stderr.write("\x1b[A" * self.lines + blank + "\x1b[A" * self.lines)
            sys.stderr.flush()
        self.lines, self.not_before = 0, time.time() + ERROR_PAUSE

    def print_once(self, sentence: str) -> None:
        """Print a sentence above the bars, unless the run has printed it."""
        if sentence not in self.printed:
            self.printed.append(sentence)
            self.clear_bars()
            print(escape_text(sentence), file=sys.stderr, flush=True)

    def print_lines(self) -> None:
        """Print a line for each stage that is finished, or whose last line is old."""
        now = time.time()
        for name, stage in self.all.items():
            finished = _is_finished(stage)
            if not stage.get("drawn") and (finished or now - stage["printed"] > LINE_INTERVAL):
                stage["printed"], stage["drawn"] = now, finished
                print(f"{name}: {_describe(stage)}", file=sys.stderr, flush=True)


class _Board:
    """The board of a run: .tmp-progress-<host>-<process id of the run>. Several machines may share the folder."""

    def __init__(self, scratch: Path) -> None:
        parent = multiprocessing.parent_process()
        run = parent.pid if parent else os.getpid()
        self._prefix = f"{TEMPORARY}progress-{platform.node()}-"
        self._path = scratch / f"{self._prefix}{run}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[_Stages]:
        """Lock the board and return its content; the content is written when the block ends."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            if not content:
                self._delete_old_boards()
            stages = _Stages(_parse_board(content))
            yield stages
            file.truncate(0)
            file.write(json.dumps(stages.state()).encode())

    def delete(self) -> None:
        """Delete the board of a run that has ended."""
        self._path.unlink(missing_ok=True)

    def _delete_old_boards(self) -> None:
        for other in self._path.parent.glob(f"{self._prefix}*"):
            run = other.name.rpartition("-")[2]
            if other != self._path and not Path(f"/proc/{run}").exists():
                other.unlink(missing_ok=True)


def delete_board(scratch: Path) -> None:
    """Delete the board of this process's run, which has ended."""
    _Board(scratch).delete()


def _parse_board(content: bytes) -> dict[str, Any]:
    """Return the content of a board; a damaged board is empty."""
    with contextlib.suppress(ValueError, RecursionError):
        state = json.loads(content)
        if isinstance(state, dict):
            return state
    return {}


def _is_finished(stage: dict[str, Any]) -> bool:
    return _done(stage) >= int(stage["total"])


def _done(stage: dict[str, Any]) -> int:
    return sum(done for done, _ in stage["chunks"].values())


def _format_stage(name: str, stage: dict[str, Any], width: int) -> str:
    done, total = _done(stage), stage["total"]
    layout = f"{name:<7}{{percentage:3.0f}}% {{bar}} {_describe(stage)}"
    return str(tqdm.format_meter(done or not total, total or 1, 0, ncols=width, bar_format=layout))[:width]


def _describe(stage: dict[str, Any]) -> str:
    """Return a stage's numbers in words, with the time that it took or the time that is left."""
    done, seconds = _done(stage), time.time() - stage["started"]
    notes = [note for _, note in stage["chunks"].values()]
    if _is_finished(stage):
        return f"{_text(done, done, stage['unit'], notes)} in {tqdm.format_interval(seconds)}"
    speed = (done - stage["done_before"]) / max(1e-9, seconds)
    left = f", {tqdm.format_interval((stage['total'] - done) / speed)} left" if speed else ""
    return f"{_text(done, stage['total'], stage['unit'], notes, speed)}{left}"


def _text(done: int, total: int, unit: str, notes: Sequence[str], speed: float = 0.0) -> str:
    """Return text such as '3,120 of 4,000 images, 12 failed, 45/s'; the notes of all chunks are added up."""
    noted: Counter[str] = Counter()
    for note in filter(None, notes):
        number, what = note.split(" ", 1)
        noted[what] += int(number.replace(",", ""))
    parts = [f"{_amount(done, unit)} of {_amount(total, unit)}" if done < total else _amount(total, unit)]
    parts[0] += "" if unit == "bytes" else f" {unit}"
    parts += [f"{number:,} {what}" for what, number in noted.items()]
    if speed:
        parts.append(f"{_amount(speed, unit)}/s")
    return ", ".join(parts)


def _amount(number: float, unit: str) -> str:
    if unit != "bytes":
        return f"{number:,.1f}" if 0 < number < 9.95 and number != int(number) else f"{number:,.0f}"
    name = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, name = number / 1000, larger
    return f"{number:.3g} {name}"


def _width() -> int:
    """Return the columns for a bar; the last column stays free because some terminals wrap there."""
    return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
