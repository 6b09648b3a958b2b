"""Limits for requests to each host: a careful default, the table hosts.csv beside this module, and the user's table."""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gbif_webdataset.errors import ParameterError

COLUMNS = ("host", "connections", "requests_per_second")
"""The columns that a table of host limits needs."""
MAX_HOST_WIDTH = 60
"""Characters of a host's name that are shown."""

_OPTION = "--FetchChunk-host-limits"
_HOST = re.compile(r"[^\s/@?#]+")
_HOST_IN_URL = re.compile(r"(https?)://(?:[^/?#]*@)?(\[[^/?#\]]*\]|[^/?#:]*)(:[^/?#]*)?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class HostLimits:
    """Connections to a host at the same time, and requests to it per second (0: no limit)."""

    connections: int
    requests_per_second: float

    def divide(self, chunks: int) -> "HostLimits":
        """The share of each of `chunks` processes that send requests at the same time; at least one connection."""
        return HostLimits(max(1, self.connections // chunks), self.requests_per_second / chunks)


@dataclass(frozen=True)
class HostTable:
    """The limits of every host. A host without an entry has the limits of its domain, or else the default."""

    default: HostLimits
    hosts: Mapping[str, HostLimits]

    def find_limits(self, host: str) -> HostLimits:
        """The limits of `host`, which is written as `name` or `name:port`."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        labels = name.split(".")
        for domain in (host, *(".".join(labels[at:]) for at in range(len(labels)))):
            if domain in self.hosts:
                return self.hosts[domain]
        return self.default


def read_host_table(default: HostLimits, own: Path | None = None) -> HostTable:
    """The limits of hosts.csv, overridden by those of the user's table `own`.

    Raises:
        ParameterError: the user's table cannot be read.
    """
    text = resources.files("gbif_webdataset.fetch").joinpath("hosts.csv").read_text()
    hosts = _parse_table(text, "hosts.csv")
    if own is None:
        return HostTable(default, hosts)
    try:
        text = own.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{_OPTION} {own}: cannot be read ({error}); give a CSV file in UTF-8") from error
    return HostTable(default, hosts | _parse_table(text, f"{_OPTION} {own}"))


def _parse_table(text: str, source: str) -> dict[str, HostLimits]:
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    rows = csv.DictReader(line for _, line in numbered)
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise ParameterError(f"{source}: the columns are missing; make {','.join(COLUMNS)} the first line")
    hosts = {}
    for (number, _), row in zip(numbered[1:], rows, strict=False):
        where = f"{source}, line {number}"
        try:
            limits = HostLimits(int(row["connections"]), float(row["requests_per_second"]))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{where}: {error}; write a host and two numbers, separated by commas") from error
        if limits.connections < 1:
            raise ParameterError(f"{where}: connections {limits.connections} is too low; set it to 1 or more")
        if not 0 <= limits.requests_per_second < math.inf:
            raise ParameterError(
                f"{where}: requests_per_second {limits.requests_per_second:g} is not a rate; set it to 0 (no limit) or "
                "more"
            )
        host = (row["host"] or "").strip().lower()
        if not _HOST.fullmatch(host):
            raise ParameterError(
                f"{where}: {host!r} is not a host; write a host such as photos.example.org, or a domain such as "
                "example.org"
            )
        hosts[host] = limits
    return hosts


def parse_host(url: str) -> str:
    """The host of a URL, with its port unless it is the default port of HTTP; empty if the URL has no host."""
    found = _HOST_IN_URL.match(url)
    if not found:
        return ""
    scheme, name, port = found[1].lower(), found[2].lower().removesuffix("."), found[3] or ""
    return name if port in ("", ":", _DEFAULT_PORTS[scheme]) else name + port


def format_host(host: str) -> str:
    """A host's name for the terminal. It comes from the archive, so control characters are replaced."""
    name = "".join(letter if letter.isprintable() else "?" for letter in host) or "(no host)"
    return name if len(name) <= MAX_HOST_WIDTH else f"{name[: MAX_HOST_WIDTH - 3]}..."
