"""Luigi's central scheduler, on a free port of this machine."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATEST = 20.0


@contextmanager
def start_scheduler(folder: Path) -> Iterator[int]:
    """The port of a scheduler with task history, whose files are in `folder`; it ends with the block."""
    port = find_free_port()
    config = folder / "luigi.cfg"
    config.write_text(f"[task_history]\ndb_connection = sqlite:///{folder}/history.db\n")
    code = "from luigi.cmdline import luigid; luigid()"
    options = ["--address", "127.0.0.1", "--port", str(port), "--state-path", str(folder / "state.pickle")]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *options],
            cwd=ROOT,
            env={**os.environ, "LUIGI_CONFIG_PATH": str(config)},
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + LATEST
            while process.poll() is None and not _answers(port) and time.monotonic() < end:
                time.sleep(0.05)
            log.seek(0)
            assert _answers(port), log.read()
            yield port
        finally:
            process.terminate()
            process.wait(10)


def find_free_port() -> int:
    """The number of a port that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/graph", timeout=2):
            return True
    except OSError:
        return False
