"""The logs of Slurm jobs: one for each element of a stage, with its last attempts."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES

ATTEMPT = "--- job "
"""How the first line of an attempt begins; `sbatch/element.sh` writes it, too."""
MAX_ATTEMPTS = 3
ENDED = "ended with status "
"""What element.sh writes last, followed by the status."""
MAX_TAIL_BYTES = 4096
_LOG = re.compile(rf"({'|'.join(STAGES)})(?:-(\d+))?(?:-of-(\d+))?\.log")
_LAUNCHERS = ("srun: ", "salloc: ")
_IMPLIED = re.compile(
    r"srun: error: .*: Exited with exit code \d+|srun: Terminating .*|.*Relinquishing job allocation.*"
)


@dataclass(frozen=True)
class Log:
    """The log of an element of a stage, or of a stage that is one job; `elements` as in QueuedJob."""

    path: Path
    stage: str
    element: int = 0
    elements: int = 0

    def list_chunks(self, chunks: int) -> range:
        """Return the chunks that the element may process; 0 for a stage without elements."""
        return range(self.element, chunks, self.elements or chunks) if self.stage in ARRAYS else range(1)


def find_logs(folder: Path) -> list[Log]:
    """Return the logs in a folder, which is listed once; the log of the latest attempt is the last."""
    if not folder.is_dir():
        return []
    found = ((path, _LOG.fullmatch(path.name)) for path in folder.iterdir())
    logs = [
        Log(path, match[1], int(match[2] or 0), int(match[3] or 0))
        for path, match in found
        if match and bool(match[2]) == (match[1] in ARRAYS)
    ]
    return sorted(logs, key=lambda log: log.path.stat().st_mtime_ns)


def begin_attempt(log: Path, job: str) -> None:
    """Append the first line of an attempt of `job` to a log, and delete all attempts before the last two."""
    text = log.read_bytes() if log.exists() else b""
    attempts = re.split(rb"^(?=" + ATTEMPT.encode() + rb")", text, flags=re.MULTILINE)
    kept = b"".join(attempts[1 - MAX_ATTEMPTS :])
    log.write_bytes(kept + f"{ATTEMPT}{job}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())


def read_last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that are not empty; at least one line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MAX_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines or ["the log is empty"]


def find_error(log: Path) -> str:
    """Return the last line that a failed element wrote; an empty text if it succeeded."""
    *before, last = read_last_lines(log)
    if last.startswith(ENDED):
        if last == f"{ENDED}0":
            return ""
        last = next((line for line in reversed(before) if not line.startswith(ATTEMPT)), last)
    return f"it ended without a message ({last.removeprefix('--- ')})" if last.startswith(ATTEMPT) else last


def find_allocation_error(log: Path) -> str:
    """Return the line that says why an allocation or the task in it failed.

    It is the last error of the task. If the task printed none, it is the last error of srun or salloc, because Slurm
    did not start the task or ended it.
    """
    lines = read_last_lines(log)
    starts = [number for number, line in enumerate(lines) if line.startswith(ATTEMPT)]
    lines = lines[starts[-1] + 1 :] if starts else lines
    task = [line for line in lines if not line.startswith(_LAUNCHERS)]
    errors = [line for line in task if line.startswith("ERROR: ")]
    launcher = [line for line in lines if line.startswith(_LAUNCHERS) and not _IMPLIED.fullmatch(line)]
    failures = [line for line in launcher if ": fatal: " in line or ": error: " in line]
    candidates = errors or failures or task or launcher or ["it ended without a message"]
    return candidates[-1]
