"""Progress for people: one bar a stage on a terminal, plain lines elsewhere, and the same on Luigi's page.

The chunks of a stage may run in several processes of one machine, and those of two stages side by side. The processes
of a run share a board, a small file of numbers; whoever holds its lock draws what is on it, so nothing interleaves.
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
from pathlib import Path
from typing import Any, Self

import luigi
from tqdm import tqdm

TICK = 0.5
DRAWN_EVERY = 0.1
PLAIN_EVERY = 30.0
PAGE_EVERY = 2.0
QUIET = 0.3  # seconds that the bars leave to an error's sentence


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
        self._shares, self._before = shares, before
        self._board = _Board(scratch)
        self._done, self._total, self._note = 0, shares[chunk], ""
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._begun = self._paged = time.monotonic()
        self._tell_board()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._show_on_page()
        self._tell_board(ended=kind is None, failed=kind is not None)

    def update(self, done: int, total: int, note: str = "") -> None:
        """So many of the task's images are done; `note` counts what else is worth knowing, such as '3 failed'."""
        self._done, self._total, self._note = done, total, note

    def remark(self, sentence: str) -> None:
        """Print a sentence that is worth saying once a run, whichever of its processes says it first."""
        with contextlib.suppress(OSError, ValueError), self._board.held() as stages:
            stages.remark(sentence)

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            self._tell_board()
            now = time.monotonic()
            if now - self._paged > PAGE_EVERY:
                self._paged = now
                self._show_on_page()

    def _show_on_page(self) -> None:
        """Tell Luigi's scheduler; its callbacks are there only while a worker runs the task."""
        task: Any = self._task
        if task.set_status_message:
            speed = self._done / max(1e-9, time.monotonic() - self._begun)
            task.set_status_message(_text(self._done, self._total, self._unit, [self._note], speed))
        if task.set_progress_percentage:
            task.set_progress_percentage(100 * self._done // max(1, self._total))

    def _tell_board(self, ended: bool = False, failed: bool = False) -> None:
        share = self._shares[self._chunk]
        done = share if ended else 0 if failed else self._done * share // max(1, self._total)
        # A disk that is full, or an output that went away, is for the task to tell: its bar just stops.
        with contextlib.suppress(OSError, ValueError), self._board.held() as stages:
            if self._stage not in stages.all:
                stages.all[self._stage] = stages.new(self._unit, self._shares, self._before())
            stages.all[self._stage]["chunks"][str(self._chunk)] = [done, self._note]
            if failed:
                stages.make_way()
            elif sys.stderr.isatty():
                stages.draw()
            else:
                stages.say()


class _Stages:
    """What is on the board: each stage's numbers, and how many lines its bars take on the terminal now."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.all: dict[str, dict[str, Any]] = state.get("stages", {})
        self.lines: int = state.get("lines", 0)
        self.not_before: float = state.get("not_before", 0.0)
        self.remarks: list[str] = state.get("remarks", [])

    def state(self) -> dict[str, Any]:
        """What is kept between two looks at the board."""
        return {"stages": self.all, "lines": self.lines, "not_before": self.not_before, "remarks": self.remarks}

    def new(self, unit: str, shares: Sequence[int], before: Sequence[int]) -> dict[str, Any]:
        """A stage that begins now, some of its chunks done by an earlier run."""
        chunks = {str(chunk): [done, ""] for chunk, done in enumerate(before) if done}
        now = time.time()
        return {"unit": unit, "total": sum(shares), "before": sum(before), "begun": now, "said": now, "chunks": chunks}

    def draw(self) -> None:
        """Draw the bars over those that are there; a finished one at the top stays where it is for good."""
        now = time.time()
        if now < self.not_before and not any(map(_is_finished, self.all.values())):
            return
        self.not_before = now + DRAWN_EVERY
        width = _width()
        bars = [_bar(name, stage, width) for name, stage in self.all.items() if not stage.get("drawn")]
        sys.stderr.write("\x1b[A" * self.lines + "".join(f"\r{bar:<{width}}\n" for bar in bars))
        sys.stderr.flush()
        self.lines = len(bars)
        for stage in self.all.values():
            if not stage.get("drawn"):
                if not _is_finished(stage):
                    break
                stage["drawn"] = True
                self.lines -= 1

    def make_way(self) -> None:
        """Wipe the bars, and leave their place for a while to the sentence of an error."""
        if sys.stderr.isatty():
            blank = f"\r{'':{_width()}}\n" * self.lines
            sys.stderr.write("\x1b[A" * self.lines + blank + "\x1b[A" * self.lines)
            sys.stderr.flush()
        self.lines, self.not_before = 0, time.time() + QUIET

    def remark(self, sentence: str) -> None:
        """Print a sentence above the bars, unless the run has said it."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)
            self.make_way()
            print(sentence, file=sys.stderr, flush=True)

    def say(self) -> None:
        """Print a line for each stage that has been silent for long, or is finished."""
        now = time.time()
        for name, stage in self.all.items():
            finished = _is_finished(stage)
            if not stage.get("drawn") and (finished or now - stage["said"] > PLAIN_EVERY):
                stage["said"], stage["drawn"] = now, finished
                print(f"{name}: {_account(stage)}", file=sys.stderr, flush=True)


class _Board:
    """The run's board, `progress-<host>-<process id of the run>`: the disk may be that of many machines."""

    def __init__(self, scratch: Path) -> None:
        parent = multiprocessing.parent_process()
        run = parent.pid if parent else os.getpid()
        self._path = scratch / f"progress-{platform.node()}-{run}"

    @contextlib.contextmanager
    def held(self) -> Iterator[_Stages]:
        """What is on the board, which no other process sees until the block ends."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            if not content:
                self._clear_away_others()
            stages = _Stages(json.loads(content or b"{}"))
            yield stages
            file.truncate(0)
            file.write(json.dumps(stages.state()).encode())

    def _clear_away_others(self) -> None:
        for other in self._path.parent.glob(f"progress-{platform.node()}-*"):
            run = other.name.rpartition("-")[2]
            if other != self._path and not Path(f"/proc/{run}").exists():
                other.unlink(missing_ok=True)


def _is_finished(stage: dict[str, Any]) -> bool:
    return _done(stage) >= int(stage["total"])


def _done(stage: dict[str, Any]) -> int:
    return sum(done for done, _ in stage["chunks"].values())


def _bar(name: str, stage: dict[str, Any], width: int) -> str:
    done, total = _done(stage), stage["total"]
    layout = f"{name:<7}{{percentage:3.0f}}% {{bar}} {_account(stage)}"
    return str(tqdm.format_meter(done or not total, total or 1, 0, ncols=width, bar_format=layout))[:width]


def _account(stage: dict[str, Any]) -> str:
    """A stage's numbers in words, with the time that it took or may take yet."""
    done, seconds = _done(stage), time.time() - stage["begun"]
    notes = [note for _, note in stage["chunks"].values()]
    if _is_finished(stage):
        return f"{_text(done, done, stage['unit'], notes)} in {tqdm.format_interval(seconds)}"
    speed = (done - stage["before"]) / max(1e-9, seconds)
    left = f", {tqdm.format_interval((stage['total'] - done) / speed)} left" if speed else ""
    return f"{_text(done, stage['total'], stage['unit'], notes, speed)}{left}"


def _text(done: int, total: int, unit: str, notes: Sequence[str], speed: float = 0.0) -> str:
    """Such as '3,120 of 4,000 images, 12 failed, 45/s'; the notes of several chunks are added up."""
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
    """Columns to draw in; the last one stays free, for some terminals wrap there."""
    return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
