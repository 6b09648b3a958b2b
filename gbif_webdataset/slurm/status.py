"""The state of a dataset's Slurm jobs: the elements of each stage, and the last line of those that failed.

A cluster without accounting forgets a job minutes after its end. So an element counts as failed if its target is
missing, it is not queued, and its log does not end as `sbatch/element.sh` ends it after success.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES, QueuedJob

ENDED = "ended with status "  # what element.sh writes last, followed by the status
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT")
MAX_TAIL_BYTES = 4096
_LOG = re.compile(r"([a-z]+)-(\d+)(?:_(\d+))?\.log")


@dataclass(frozen=True)
class Log:
    """The log of a job, or of an element of an array."""

    path: Path
    stage: str
    job: int
    element: int


@dataclass(frozen=True)
class StageStatus:
    """How many elements of a stage are in each state.

    `reasons` counts why elements wait, in Slurm's words. `errors` are the last log lines of failed elements.
    """

    name: str
    done: int
    running: int
    waiting: int
    failed: int
    reasons: Mapping[str, int]
    errors: Mapping[int, str]

    @property
    def submitted(self) -> int:
        """Elements that are done or that have been submitted."""
        return self.done + self.running + self.waiting + self.failed


def find_logs(folder: Path) -> list[Log]:
    """Return the logs in a folder, which is listed once."""
    if not folder.is_dir():
        return []
    found = ((path, _LOG.fullmatch(path.name)) for path in folder.iterdir())
    return [Log(path, match[1], int(match[2]), int(match[3] or 0)) for path, match in found if match]


def count_states(
    missing: Mapping[str, Sequence[int]], elements: int, queue: Iterable[QueuedJob], logs: Iterable[Log]
) -> Iterator[StageStatus]:
    """Yield the status of each stage; `missing` are the elements of each stage whose target is missing."""
    by_element = {(one.stage, one.element): one for one in queue}
    newest = {(log.stage, log.element): log for log in sorted(logs, key=lambda log: log.job)}
    for name in STAGES:
        queued = {element: one for (stage, element), one in by_element.items() if stage == name}
        waiting = [one for one in queued.values() if one.state not in RUNNING]
        ended = [element for element in missing[name] if (name, element) in newest and element not in queued]
        errors = {element: find_error(newest[name, element].path) for element in ended}
        errors = {element: text for element, text in errors.items() if text}
        yield StageStatus(
            name,
            done=(elements if name in ARRAYS else 1) - len({*missing[name], *queued}),
            running=len(queued) - len(waiting),
            waiting=len(waiting),
            failed=len(errors),
            reasons=Counter(one.reason for one in waiting),
            errors=errors,
        )


def read_last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that are not empty; at least one line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MAX_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines or ["the log is empty"]


def find_error(log: Path) -> str:
    """Return the last line that a failed element wrote; an empty text if it succeeded."""
    *before, last = read_last_lines(log)
    if not last.startswith(ENDED):
        return last
    return "" if last == f"{ENDED}0" else (before or [last])[-1]


def describe_retriable(images: int) -> str:
    """How many images of a finished stage had temporary failures."""
    return f"{images:,} {'image' if images == 1 else 'images'} may succeed in another run"


def format_table(stages: Sequence[StageStatus], elements: int, retriable_images: int = 0) -> str:
    """Return a table with a line for each stage, then the errors; equal errors share a line."""
    lines = [f"{'stage':<8}{'done':>7}{'running':>9}{'waiting':>9}{'failed':>8}{'to do':>7}"]
    for stage in stages:
        to_do = (elements if stage.name in ARRAYS else 1) - stage.submitted
        numbers = f"{stage.done:>7,}{stage.running:>9,}{stage.waiting:>9,}{stage.failed:>8,}{to_do:>7,}"
        notes = [f"{reason} {count:,}" for reason, count in stage.reasons.items() if reason != "None"]
        if stage.name == "fetch" and retriable_images:
            notes.append(describe_retriable(retriable_images))
        lines.append(f"{stage.name:<8}{numbers}  {', '.join(notes)}".rstrip())
    for stage in stages:
        by_text: dict[str, list[int]] = {}
        for element, text in sorted(stage.errors.items()):
            by_text.setdefault(text, []).append(element)
        for text, found in by_text.items():
            which = f" {', '.join(map(str, found[:5]))}{' ...' if len(found) > 5 else ''}"
            lines.append(f"{stage.name}{which if stage.name in ARRAYS else ''}: {text}")
    return "\n".join(lines)
