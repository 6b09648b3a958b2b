"""How far a dataset's jobs are: each stage's elements, and the last words of those that failed.

Slurm forgets a job minutes after its end where it keeps no accounts, so an element that failed is one whose target is
missing, that is not queued, and whose log doesn't end as `sbatch/element.sh` ends it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES, Queued

ENDED = "ended with status "  # what element.sh writes last, with a number
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT")
WORDS_BYTES = 4096  # of a log's end
_LOG = re.compile(r"([a-z]+)-(\d+)(?:_(\d+))?\.log")


@dataclass(frozen=True)
class Log:
    """The log of a job or of an element of an array."""

    path: Path
    stage: str
    job: int
    element: int


@dataclass(frozen=True)
class Stage:
    """Elements of a stage, or its one job, by their state; why some wait, as Slurm says it; last words of failures."""

    name: str
    done: int
    running: int
    waiting: int
    failed: int
    reasons: Mapping[str, int]
    words: Mapping[int, str]

    @property
    def total(self) -> int:
        """All of them, those that nobody has submitted yet among them."""
        return self.done + self.running + self.waiting + self.failed


def logs_in(folder: Path) -> list[Log]:
    """The logs of a folder, from one listing."""
    if not folder.is_dir():
        return []
    found = ((path, _LOG.fullmatch(path.name)) for path in folder.iterdir())
    return [Log(path, match[1], int(match[2]), int(match[3] or 0)) for path, match in found if match]


def states(
    missing: Mapping[str, Sequence[int]], elements: int, present: Iterable[Queued], logs: Iterable[Log]
) -> Iterator[Stage]:
    """The state of each stage, where `missing` are its elements whose target isn't fresh."""
    queue = {(one.stage, one.element): one for one in present}
    newest = {(log.stage, log.element): log for log in sorted(logs, key=lambda log: log.job)}
    for name in STAGES:
        here = {element: one for (stage, element), one in queue.items() if stage == name}
        waiting = [one for one in here.values() if one.state not in RUNNING]
        left = {element: newest[name, element] for element in missing[name] if (name, element) in newest}
        words = {element: last_words(log.path) for element, log in left.items() if element not in here}
        failed = {element: text for element, text in words.items() if text}
        yield Stage(
            name,
            done=(elements if name in ARRAYS else 1) - len({*missing[name], *here}),
            running=len(here) - len(waiting),
            waiting=len(waiting),
            failed=len(failed),
            reasons=Counter(one.reason for one in waiting),
            words=failed,
        )


def last_lines(log: Path) -> list[str]:
    """The last lines of a log that aren't empty; at least one."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - WORDS_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines or ["it wrote nothing"]


def last_words(log: Path) -> str:
    """The last line that a failed element wrote; empty where it ended well."""
    *before, last = last_lines(log)
    if not last.startswith(ENDED):
        return last
    return "" if last == f"{ENDED}0" else (before or [last])[-1]


def table(stages: Sequence[Stage], elements: int) -> str:
    """The stages for people: a line each, then the failures, the same words told once."""
    head = f"{'stage':<8}{'done':>7}{'running':>9}{'waiting':>9}{'failed':>8}{'to do':>7}"
    lines = [head]
    for stage in stages:
        to_do = (elements if stage.name in ARRAYS else 1) - stage.total
        numbers = f"{stage.done:>7,}{stage.running:>9,}{stage.waiting:>9,}{stage.failed:>8,}{to_do:>7,}"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stage.reasons.items() if reason != "None")
        lines.append(f"{stage.name:<8}{numbers}  {reasons}".rstrip())
    for stage in stages:
        alike: dict[str, list[int]] = {}
        for element, text in sorted(stage.words.items()):
            alike.setdefault(text, []).append(element)
        for text, found in alike.items():
            which = (
                f" {', '.join(map(str, found[:5]))}{' ...' if len(found) > 5 else ''}" if stage.name in ARRAYS else ""
            )
            lines.append(f"{stage.name}{which}: {text}")
    return "\n".join(lines)
