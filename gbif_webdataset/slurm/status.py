"""The state of a dataset's Slurm jobs: the chunks of each stage, and the last line of those that failed.

A cluster without accounting forgets a job minutes after its end. So a chunk counts as failed if its target is missing,
no queued job processes it, and the log of its element does not end as `sbatch/element.sh` ends it after success.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES, QueuedJob
from gbif_webdataset.slurm.logs import Log, find_error

RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT")


@dataclass(frozen=True)
class StageStatus:
    """How many chunks of a stage are in each state; a stage without elements counts as one.

    `reasons` counts why chunks wait, in Slurm's words. `errors` are the last log lines of failed chunks.
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
        """Chunks that are done or that have been submitted."""
        return self.done + self.running + self.waiting + self.failed


def count_states(
    missing: Mapping[str, Sequence[int]], chunks: int, queue: Sequence[QueuedJob], logs: Iterable[Log]
) -> Iterator[StageStatus]:
    """Yield the status of each stage; `missing` are the chunks of each stage whose target is missing.

    Of two logs that may be of one chunk, the later one counts.
    """
    newest = {(log.stage, chunk): log for log in logs for chunk in log.list_chunks(chunks)}
    for name in STAGES:
        jobs = [one for one in queue if one.stage == name]
        found = {chunk: one for one in jobs for chunk in one.list_chunks(chunks)}
        # A job with several chunks of which some are built may have been submitted for the others only.
        queued = {chunk: one for chunk, one in found.items() if not one.elements or chunk in missing[name]}
        present = list(queued.values())
        waiting = [one for one in present if one.state not in RUNNING]
        ended = [chunk for chunk in missing[name] if chunk not in queued and (name, chunk) in newest]
        errors = {chunk: find_error(newest[name, chunk].path) for chunk in ended}
        errors = {chunk: text for chunk, text in errors.items() if text}
        yield StageStatus(
            name,
            done=(chunks if name in ARRAYS else 1) - len({*missing[name], *queued}),
            running=len(present) - len(waiting),
            waiting=len(waiting),
            failed=len(errors),
            reasons=Counter(one.reason for one in waiting),
            errors=errors,
        )


def describe_retriable(images: int) -> str:
    """How many images of a finished stage had temporary failures."""
    return f"{images:,} {'image' if images == 1 else 'images'} may succeed in another run"


def format_table(stages: Sequence[StageStatus], chunks: int, retriable_images: int = 0) -> str:
    """Return a table with a line for each stage, then the errors; equal errors share a line."""
    lines = [f"{'stage':<8}{'done':>7}{'running':>9}{'waiting':>9}{'failed':>8}{'to do':>7}"]
    for stage in stages:
        to_do = (chunks if stage.name in ARRAYS else 1) - stage.submitted
        numbers = f"{stage.done:>7,}{stage.running:>9,}{stage.waiting:>9,}{stage.failed:>8,}{to_do:>7,}"
        notes = [f"{reason} {count:,}" for reason, count in stage.reasons.items() if reason != "None"]
        if stage.name == "fetch" and retriable_images:
            notes.append(describe_retriable(retriable_images))
        lines.append(f"{stage.name:<8}{numbers}  {', '.join(notes)}".rstrip())
    for stage in stages:
        by_text: dict[str, list[int]] = {}
        for chunk, text in sorted(stage.errors.items()):
            by_text.setdefault(text, []).append(chunk)
        for text, found in by_text.items():
            which = f" {', '.join(map(str, found[:5]))}{' ...' if len(found) > 5 else ''}"
            lines.append(f"{stage.name}{which if stage.name in ARRAYS else ''}: {text}")
    return "\n".join(lines)
