"""Chunks fetched one after another in a process of its own, which tells the memory and the descriptors that it takes.

python -m tests.support.memory_probe OUTPUT CHUNK...
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fetch_run import Fetching, limits

ROOT = Path(__file__).parents[2]
LOOK_EACH = 500
PATIENT = limits(request_timeout=60, max_seconds=60)  # each image is asked for once, however busy the machine


@dataclass
class Endured:
    """What a process took: its peak in MiB, and MiB and open descriptors after each chunk; and how the images ended."""

    counts: list[dict[str, int]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    most_descriptors: int = 0
    peak: float = 0.0


def endured(output: Path, *chunks: int) -> Endured:
    """Fetch `chunks` of the manifest in `output` in another process, which has to end well."""
    command = [sys.executable, "-m", "tests.support.memory_probe", str(output), *map(str, chunks)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return Endured(**json.loads(ended.stdout))


def main(output: Path, chunks: list[int]) -> None:
    """The process."""
    took = Endured()

    def look(counts: Counter[str]) -> None:
        if counts.total() % LOOK_EACH == 0:
            took.most_descriptors = max(took.most_descriptors, _descriptors())

    for chunk in chunks:
        took.counts.append(Fetching(output).fetch(chunk=chunk, progress=look, limits=PATIENT))
        took.memory.append(_mebibytes("VmRSS"))
        took.descriptors.append(_descriptors())
    # getrusage would tell the peak of the parent, whose memory a child that is spawned shares until it executes.
    took.peak = _mebibytes("VmHWM")
    print(json.dumps(vars(took)))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _mebibytes(name: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(chunk) for chunk in sys.argv[2:]])
