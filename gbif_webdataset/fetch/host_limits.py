"""What each host is asked to bear: a careful default, a shipped table of hosts that bear more, and the user's own."""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gbif_webdataset.errors import ParameterError

SHIPPED = "hosts.csv"
HOST = re.compile(r"[^\s/@?#]+")
COLUMNS = ("host", "connections", "requests_per_second")


@dataclass(frozen=True)
class HostLimits:
    """Connections to a host at a time, and requests a second (0: as many as they come)."""

    connections: int
    requests_per_second: float

    def divided(self, chunks: int) -> "HostLimits":
        """The part of each of `chunks` processes that ask at the same time; one connection is the least."""
        return HostLimits(max(1, self.connections // chunks), self.requests_per_second / chunks)


@dataclass(frozen=True)
class HostTable:
    """The limits of every host: of itself, of the domain that it is in, or the default."""

    default: HostLimits
    hosts: Mapping[str, HostLimits]

    def of(self, host: str) -> HostLimits:
        """The limits of `host`, given as `name` or `name:port`."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        labels = name.split(".")
        for domain in (host, *(".".join(labels[at:]) for at in range(len(labels)))):
            if domain in self.hosts:
                return self.hosts[domain]
        return self.default

    def divided(self, chunks: int) -> "HostTable":
        """The same, for each of `chunks` processes that ask at the same time."""
        return HostTable(self.default.divided(chunks), {h: limits.divided(chunks) for h, limits in self.hosts.items()})


def table(default: HostLimits, own: Path | None = None) -> HostTable:
    """The table: the user's own lines before the shipped ones. Raises ParameterError for lines that can't be read."""
    shipped = _read(resources.files("gbif_webdataset.fetch").joinpath(SHIPPED).read_text(), SHIPPED)
    if own is None:
        return HostTable(default, shipped)
    try:
        text = own.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"host_limits {own} can't be read: {error}") from error
    return HostTable(default, shipped | _read(text, f"host_limits {own}"))


def _read(text: str, name: str) -> dict[str, HostLimits]:
    told = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    lines = csv.DictReader(line for _, line in told)
    if not set(COLUMNS) <= set(lines.fieldnames or ()):
        raise ParameterError(f"{name}: its first line must be {','.join(COLUMNS)}")
    found = {}
    for (number, _), line in zip(told[1:], lines, strict=False):
        where = f"{name}, line {number}"
        try:
            limits = HostLimits(int(line["connections"]), float(line["requests_per_second"]))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{where}: {error}; write a host, two numbers, with commas") from error
        if limits.connections < 1 or not 0 <= limits.requests_per_second < math.inf:
            raise ParameterError(f"{where}: connections from 1, requests_per_second from 0")
        host = (line["host"] or "").strip().lower()
        if not HOST.fullmatch(host):
            raise ParameterError(f"{where}: {host!r} is no host; write photos.example.org, or the domain example.org")
        found[host] = limits
    return found
