"""An output folder whose fetching is estimated, and servers that report the sizes of their images."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gbif_webdataset.fetch.plan_fetch import FetchEstimate, HostEstimate, plan_fetch
from gbif_webdataset.storage.chunks import chunk_name
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import OPTIONS, FetchRun
from tests.support.visits import JPEG, Behaviour, Visit


class PlanRun(FetchRun):
    """An output folder whose fetching is estimated. `announced` has the calls of `announce`."""

    def estimate(self, urls: Mapping[str, str] | None = None, sample: int = 5, **changes: Any) -> FetchEstimate:
        """The estimate for chunk 0. `changes` are options."""
        path = self.write_manifest(urls) if urls is not None else self.manifest / chunk_name(0)
        self.announced: list[tuple[int, int]] = []
        options = replace(OPTIONS, **changes)

        def announce(images: int, hosts: int) -> None:
            self.announced.append((images, hosts))

        return plan_fetch(self.output, [path], options, sample, announce)

    def list_tree(self) -> dict[str, tuple[int, int]]:
        """Time of modification and size of every file and folder."""
        stats = {str(path): path.stat() for path in (self.output, *self.output.rglob("*"))}
        return {path: (found.st_mtime_ns, found.st_size) for path, found in stats.items()}


def add_images(server: FaultyServer, number: int, behave: Behaviour, folder: str = "d") -> dict[str, str]:
    """The rows of `number` images."""
    server.behaviours |= {f"{folder}/{name}": behave for name in range(number)}
    return {f"{folder}/{name}.jpg": f"{server.url}/{folder}/{name}" for name in range(number)}


def serve_bytes(size: int, seconds: float = 0) -> Behaviour:
    def behave(visit: Visit) -> None:
        time.sleep(seconds)
        visit.answer(JPEG + bytes(size - len(JPEG)))

    return behave


def serve_ranges(size: int, head: Callable[[Visit], None]) -> Behaviour:
    """An image of a host that answers HEAD with `head` and serves ranges."""

    def behave(visit: Visit) -> None:
        if visit.method == "HEAD":
            head(visit)
        elif visit.headers.get("range") == "bytes=0-0":
            visit.answer(JPEG[:1], "206 Partial Content", Content_Range=f"bytes 0-0/{size}")
        else:
            visit.answer(JPEG + bytes(size - len(JPEG)))

    return behave


def find_host(estimate: FetchEstimate, server: FaultyServer) -> HostEstimate:
    return next(host for host in estimate.hosts if host.host == f"127.0.0.1:{server.port}")


def list_methods(server: FaultyServer) -> list[str]:
    return sorted(request.method for request in server.log)
