"""Fetches chunks one after another in its own process, and prints the memory and the file descriptors that it needs.

python -m tests.support.memory_probe OUTPUT CHUNK...
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fetch_run import FetchRun, limits

ROOT = Path(__file__).parents[2]
SAMPLED_IMAGES = 500  # images from one count of file descriptors to the next
LONG_TIMEOUTS = limits(request_timeout=60, max_seconds=60)  # so that no image is retried on a busy machine


@dataclass
class MemoryProbe:
    """The outcomes of each chunk, MiB of memory and open descriptors after each chunk, and the peaks of both."""

    counts: list[dict[str, int]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    max_descriptors: int = 0
    max_memory: float = 0.0


def probe_fetching(output: Path, *chunks: int) -> MemoryProbe:
    """Fetch `chunks` of the manifest in `output` in another process, which must succeed."""
    command = [sys.executable, "-m", "tests.support.memory_probe", str(output), *map(str, chunks)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return MemoryProbe(**json.loads(ended.stdout))


def main(output: Path, chunks: list[int]) -> None:
    """Run the process."""
    probe = MemoryProbe()

    def sample(counts: Counter[str]) -> None:
        if counts.total() % SAMPLED_IMAGES == 0:
            probe.max_descriptors = max(probe.max_descriptors, _descriptors())

    for chunk in chunks:
        probe.counts.append(FetchRun(output).fetch(chunk=chunk, progress=sample, limits=LONG_TIMEOUTS))
        probe.memory.append(_mebibytes("VmRSS"))
        probe.descriptors.append(_descriptors())
    # getrusage would give the parent's peak: a spawned child shares the parent's memory until it executes.
    probe.max_memory = _mebibytes("VmHWM")
    print(json.dumps(vars(probe)))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _mebibytes(name: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(chunk) for chunk in sys.argv[2:]])
