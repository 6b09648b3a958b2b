"""Which hosts can be reached from this machine. The chunks that a machine fetches share what they find out."""

import errno
import json
import re
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from gbif_webdataset.errors import DatasetError, FetchError, RepeatedError
from gbif_webdataset.fetch.host_limits import format_host
from gbif_webdataset.fetch.host_queues import HostQueues
from gbif_webdataset.formatting import format_count
from gbif_webdataset.terms.outcomes import FetchFailure

MAX_OFFLINE_SECONDS = 15.0
"""After this time without a connection to any host, fetching stops. Requests that are being sent take 11 s more."""
MIN_TRIED_HOSTS = 3
"""So many hosts, or all, have to be tried before fetching stops."""
PUBLIC_ADDRESSES = ((socket.AF_INET, "198.41.0.4"), (socket.AF_INET6, "2001:503:ba3e::2:30"))
"""Addresses on the internet, of a DNS root server; nothing is sent to them."""
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
MAX_NOTE_AGE = 3600.0
SKIPPED_NOTE_AGE = 600.0


class HostNotes:
    """Hosts that could not be reached: a file of this machine in `folder`, with a JSON line for each note.

    Lines are appended, without a lock. The last line of a host applies; its failure is empty if the host was reached.
    """

    def __init__(self, folder: Path) -> None:
        machine = re.sub(r"[^\w.-]", "_", socket.gethostname())
        self._path = folder / f"unreachable-{machine}.jsonl"

    def load(self) -> dict[str, float]:
        """When each unreachable host was noted, in seconds since 1970, without notes older than MAX_NOTE_AGE."""
        notes: dict[str, float] = {}
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        for line in lines:
            try:
                host, at, failure = json.loads(line)
                notes[str(host)] = float(at) if failure else 0.0
            except (ValueError, TypeError, OverflowError, RecursionError):
                continue
        return {host: at for host, at in notes.items() if at > time.time() - MAX_NOTE_AGE}

    def add(self, host: str, failure: str) -> None:
        """Note a failure of a host, or an empty text if it was reached."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([host, round(time.time(), 3), failure]) + "\n")


class Reachability:
    """What the requests of a chunk show: whether any host was reached, and which were not. For many threads.

    `noted` are hosts that other chunks could not reach: True if they did not reach it in this run, which began at
    `run_started`, a short time ago. Such a host is not asked. False: it gets one request as a test.
    """

    def __init__(self, notes: HostNotes, images: Path, run_started: float) -> None:
        self._notes, self._images = notes, images
        recent = max(run_started, time.time() - SKIPPED_NOTE_AGE)
        self.noted = {host: at >= recent for host, at in notes.load().items()}
        self._suspects = set(self.noted)
        self._failures: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._has_reached = False
        self._lock = threading.Lock()

    def report_reached(self, host: str) -> bool:
        """Note that a host was reached; whether other chunks could not reach it before."""
        self._has_reached = True
        if host not in self._suspects:
            return False
        self._suspects.discard(host)
        self._notes.add(host, "")
        return True

    def report_unreachable(self, host: str, failure: str) -> None:
        """Note that a host was not reached."""
        with self._lock:
            self._failures[host] = failure
            self._counts[failure] += 1

    def share(self, host: str) -> None:
        """Let other chunks know that a host is not reached."""
        if failure := self._failures.get(host):
            self._notes.add(host, failure)

    @property
    def is_offline(self) -> bool:
        """Whether hosts were tried and none was reached, and this machine has no route or never reached one before.

        It never did if no image of the dataset was ever downloaded.
        """
        if not self._failures or self._has_reached:
            return False
        return not has_route() or not _has_images(self._images)

    def stop_if_offline(self, ended: threading.Event, queues: HostQueues[Any]) -> bool:
        """Close `queues` if no host is reached; whether it did so before fetching `ended`.

        It waits for MAX_OFFLINE_SECONDS, but not on a machine without a route to the internet.
        """
        started = time.monotonic()
        while not ended.wait(1.0):
            is_certain = time.monotonic() - started > MAX_OFFLINE_SECONDS or not has_route()
            if is_certain and len(self._failures) >= min(queues.count_hosts(), MIN_TRIED_HOSTS) and self.is_offline:
                queues.close()
                return True
        return False

    def make_error(self) -> DatasetError:
        """The error of a chunk of which no host was reached. Its hosts are shared with other chunks."""
        if set(self._counts) == {FetchFailure.HOST_UNAVAILABLE}:
            return RepeatedError("no connection could be made to any host, as in other chunks of this run")
        for host in self._failures:
            self.share(host)
        first = format_host(min(self._failures))
        others = len(self._failures) - 1
        hosts = f"{first} and {format_count(others, 'other host')}" if others else first
        failures = ", ".join(f"{failure} {count:,}" for failure, count in self._counts.most_common())
        if has_route():
            return FetchError.at(hosts, f"no connection could be made ({failures})", describe_network_remedy())
        problem = f"no connection could be made ({failures}), because this machine has no route to the internet"
        return FetchError.at(hosts, problem, NO_ROUTE_REMEDY)


NO_ROUTE_REMEDY = (
    "run `make fetch` with the same options on a machine with internet access, such as a login node, and `make slurm "
    "FETCH=no` for the other stages; or set https_proxy if a proxy can be reached from here"
)


def has_route() -> bool:
    """Whether this machine may have a route to the internet: False only if its kernel says that there is none."""
    for family, address in PUBLIC_ADDRESSES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 53))
        except OSError as error:
            if error.errno in NO_ROUTE:
                continue
        return True
    return False


def describe_network_remedy() -> str:
    """What to check if no host can be reached."""
    proxies = sorted(f"{scheme}_proxy" for scheme in getproxies() if scheme in ("http", "https", "all"))
    proxy = f"the proxy that {' and '.join(proxies)} names" if proxies else "whether a proxy is needed (https_proxy)"
    return (
        "check the internet access of this machine (compute nodes often have none) and "
        f"{proxy}, and run the same command again"
    )


def _has_images(images: Path) -> bool:
    """Whether an image was ever downloaded to the folder `images`."""
    return any(not path.name.startswith(".") for path in images.glob("*/*"))
