"""An imitation of GBIF's API on loopback, written from its documentation (techdocs.gbif.org) and its source code.

A download is found by key and by DOI. Its file is behind a redirect, as at GBIF, and is served with ETag, date and
ranges. A test may put behaviours before a path's usual answer: each is used for one request.
"""

import base64
import io
import json
import re
import socket
import struct
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "0001234-260507073636908"
DOI = "10.15468/dl.abc123"
USER, PASSWORD = "moth_counter", "pa:ss W0rd-\u00e9"
COL = "7ddf754f-d193-4cc9-b351-99906754a03b"
LAST_MODIFIED = formatdate(1_790_000_000, usegmt=True)
PROPERTIES = {
    *("predicate", "format", "type", "creator", "notificationAddresses", "notification_address", "sendNotification"),
    *("verbatimExtensions", "description", "machineDescription", "checklistKey"),
}
"""What a request may contain: GBIF refuses requests with other properties."""
PREDICATE = {"type": "in", "key": "TAXON_KEY", "values": ["5WZLF"], "checklistKey": COL}


def make_zip(size: int = 50_000) -> bytes:
    """A zip with a stored file of so many bytes, and a deflated one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("occurrence.txt", bytes(range(256)) * (size // 256))
        archive.writestr("meta.xml", "<archive/>" * 50, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@dataclass
class Download:
    """A download. Each request for its metadata gets the next of its statuses; the last one stays."""

    content: bytes = field(default_factory=make_zip)
    statuses: list[str] = field(default_factory=lambda: ["SUCCEEDED"])
    doi: str = DOI
    size: int | None = None
    creator: str = USER
    request: dict[str, Any] = field(
        default_factory=lambda: {"predicate": PREDICATE, "format": "DWCA", "checklistKey": COL}
    )

    def next_status(self) -> str:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    @property
    def etag(self) -> str:
        return f'"{hash(self.content) & 0xFFFFFFFF:x}"'


@dataclass(frozen=True)
class ApiRequest:
    """A request: its method, path without query, query, headers (names in lower case) and body."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[["Handler"], None]


class GbifApi:
    """The server: `downloads` by key, `names` by scientific name, and occurrences.

    `counts` are the numbers of occurrences by species and year; an empty year is none. `lineages` are the keys of the
    taxa that a species is in. A key that begins with "-" stands for occurrences that are identified above species.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.downloads: dict[str, Download] = {}
        self.names: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.lineages: dict[str, list[str]] = {}
        self.behaviours: defaultdict[str, list[Behaviour]] = defaultdict(list)
        self.log: list[ApiRequest] = []
        self.stopping = threading.Event()
        self._server = _Server((address, 0), Handler)
        self._server.owner = self  # type: ignore[attr-defined]
        self.url = f"http://{address}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, key: str = KEY, **values: Any) -> Download:
        """Add a download."""
        self.downloads[key] = Download(**values)
        return self.downloads[key]

    def before(self, path: str, *behaviours: Behaviour) -> None:
        """Let the next requests for a path be answered by these behaviours."""
        self.behaviours[path] += behaviours

    def requests(self, method: str = "", path: str = "") -> list[ApiRequest]:
        """The requests so far, of a method and to paths that begin so."""
        return [one for one in self.log if one.method.startswith(method) and one.path.startswith(path)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: clients are killed while they read."""


def metadata_path(key: str = KEY) -> str:
    return f"/v1/occurrence/download/{key}"


def file_path(key: str = KEY) -> str:
    return f"/files/{key}.zip"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    @property
    def owner(self) -> GbifApi:
        return self.server.owner  # type: ignore[attr-defined, no-any-return]

    @property
    def requested(self) -> Download:
        """The download whose key is in the path."""
        return self.owner.downloads[re.findall(r"\d{7}-\d{15}", self.path)[0]]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request_seen = ApiRequest(self.command, path, parse_qs(parts.query), headers, body)
        self.owner.log.append(self.request_seen)
        if waiting := self.owner.behaviours[path]:
            waiting.pop(0)(self)
        elif self.command == "POST" and path == "/v1/occurrence/download/request":
            self.submit(body)
        elif found := re.fullmatch(r"/v1/occurrence/download/user/(.+)", path):
            self.list_downloads(found[1])
        elif found := re.fullmatch(r"/v1/occurrence/download/request/([\d-]+)\.zip", path):
            self.redirect(f"{self.owner.url}{file_path(found[1])}")
        elif found := re.fullmatch(r"/v1/occurrence/download/(.+)", path):
            self.describe(found[1])
        elif found := re.fullmatch(r"/files/([\d-]+)\.zip", path):
            self.send_file(found[1])
        elif path == "/v2/species/match":
            self.match()
        elif path == "/v1/occurrence/search":
            self.count()
        else:
            self.send(b"nothing", 404, "text/plain")

    def send(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer. `_` in the name of a header stands for `-`."""
        self.send_head(status, kind, len(body), **headers)
        self.wfile.write(body)

    def send_head(self, status: int, kind: str, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_json(self, value: Any) -> None:
        self.send(json.dumps(value).encode())

    def redirect(self, url: str) -> None:
        self.send(url.encode(), 302, "text/plain", Location=url)

    def reset(self) -> None:
        """Reset the connection, after the bytes that were written."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def is_authorized(self) -> bool:
        """Whether user and password are right; if not, the answer is sent."""
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            return True
        self.send(b"", 401, "text/plain")
        return False

    def describe(self, key_or_doi: str) -> None:
        """Send the metadata of a download."""
        for key, download in self.owner.downloads.items():
            if key_or_doi in (key, download.doi):
                self.send_json(self.metadata(key, download, download.next_status()))
                return
        self.send(b"", 404, "text/plain")

    def metadata(self, key: str, download: Download, status: str) -> dict[str, Any]:
        is_ready = status == "SUCCEEDED"
        return {
            "key": key,
            "doi": download.doi,
            "license": "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
            "request": {
                **download.request,
                "creator": download.creator,
                "notificationAddresses": ["counter@example.org"],
                "sendNotification": True,
                "type": "OCCURRENCE",
            },
            "created": "2026-05-07T08:00:00.000+00:00",
            "modified": "2026-05-07T08:10:00.000+00:00",
            "eraseAfter": "2026-11-07T08:10:00.000+00:00",
            "status": status,
            "downloadLink": f"{self.owner.url}/v1/occurrence/download/request/{key}.zip" if is_ready else "",
            "size": (download.size or len(download.content)) if is_ready else 0,
            "totalRecords": 100,
            "numberDatasets": 3,
        }

    def send_file(self, key: str) -> None:
        """Send the file or, if the validator is that of the file, the requested range."""
        download = self.owner.downloads[key]
        content, tag = download.content, download.etag
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        headers = {"ETag": tag, "Last_Modified": LAST_MODIFIED, "Accept_Ranges": "bytes"}
        if not wanted or self.headers.get("If-Range", tag) not in (tag, LAST_MODIFIED):
            self.send(content, 200, "application/zip", **headers)
            return
        first = int(wanted[1])
        if first >= len(content):
            self.send(b"", 416, "text/plain", Content_Range=f"bytes */{len(content)}")
            return
        headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send(content[first:], 206, "application/zip", **headers)

    def submit(self, body: bytes) -> None:
        """Accept a request; an equal one of the last days gets the key of the earlier one."""
        if not self.is_authorized():
            return
        request = json.loads(body)
        if unknown := request.keys() - PROPERTIES:
            self.send(f"Unknown JSON property '{unknown.pop()}'.".encode(), 400, "text/plain")
            return
        key = f"{len(self.owner.downloads):07}-260601000000000"
        kept = {name: request[name] for name in ("predicate", "format", "checklistKey")}
        self.owner.add(key, request=kept, statuses=["PREPARING", "SUCCEEDED"], doi=f"10.15468/dl.new{key[:7]}")
        self.send(key.encode(), 201, "text/plain")

    def list_downloads(self, user: str) -> None:
        """Send a page of a user's downloads, the newest first."""
        if not self.is_authorized():
            return
        query = self.request_seen.query
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        mine = [
            self.metadata(key, one, one.statuses[0])
            for key, one in reversed(self.owner.downloads.items())
            if one.creator == user and one.statuses[0] in query["status"]
        ]
        page = mine[offset : offset + limit]
        end = offset + limit >= len(mine)
        self.send_json({"offset": offset, "limit": limit, "endOfRecords": end, "count": len(mine), "results": page})

    def match(self) -> None:
        """Send the match of a name, or the taxon with a key."""
        query = self.request_seen.query
        names = self.owner.names
        if key := query.get("usageKey"):
            names = {answer["usage"]["key"]: answer for answer in names.values()}
        no_match = {"diagnostics": {"matchType": "NONE", "confidence": 100}, "synonym": False}
        self.send_json(names.get((key or query["scientificName"])[0], no_match))

    def count(self) -> None:
        """Send the number of the occurrences that are selected, and a page of a facet, the largest numbers first."""
        query = self.request_seen.query
        [facet] = query["facet"]
        total, numbers = 0, Counter[str]()
        for species, year, number in self.list_selected(query):
            total += number
            value = year if facet == "year" else species
            if value and not value.startswith("-"):
                numbers[value] += number
        offset, limit = int(query["facetOffset"][0]), int(query["facetLimit"][0])
        page = [{"name": name, "count": number} for name, number in numbers.most_common()[offset : offset + limit]]
        field = {"year": "YEAR", "speciesKey": "SPECIES_KEY"}[facet]
        facets = [{"field": field, "counts": page}]
        self.send_json(
            {"offset": 0, "limit": 0, "endOfRecords": False, "count": total, "results": [], "facets": facets}
        )

    def list_selected(self, query: dict[str, list[str]]) -> Iterator[tuple[str, str, int]]:
        """Yield the species, year and number of the occurrences that a query selects by taxon, species and year."""
        limits = [int(year) for year in query.get("year", ["0,9999"])[0].split(",")]
        for species, years in self.owner.counts.items():
            taxa = {species, *self.owner.lineages.get(species, ())}
            if not taxa & set(query["taxonKey"]) or species not in query.get("speciesKey", [species]):
                continue
            for year, number in years.items():
                if "year" not in query or (year and limits[0] <= int(year) <= limits[-1]):
                    yield species, year, number


def describe_match(key: str, name: str, kind: str = "EXACT", confidence: int = 98, **values: Any) -> dict[str, Any]:
    """An answer of /v2/species/match."""
    usage = {"key": key, "name": name, "canonicalName": name, "rank": "SPECIES", "status": "ACCEPTED"}
    return {
        "usage": usage,
        "classification": [
            {"key": "N", "name": "Animalia", "rank": "KINGDOM"},
            {"key": key, "name": name, "rank": "SPECIES"},
        ],
        "diagnostics": {"matchType": kind, "confidence": confidence, "timeTaken": 1},
        "synonym": False,
        **values,
    }


# Behaviours for single requests.


def give_status(status: int, **headers: str) -> Behaviour:
    return lambda visit: visit.send(b"<html>busy</html>", status, "text/html", **headers)


def send_page(visit: Handler) -> None:
    """An error page with status 200, as of a proxy."""
    visit.send(b"<!DOCTYPE html><title>Maintenance</title>", 200, "text/html")


def break_off(after: int) -> Behaviour:
    """Announce the whole file, send some bytes of it, and reset the connection."""

    def behave(visit: Handler) -> None:
        download = visit.requested
        visit.send_head(200, "application/zip", len(download.content), ETag=download.etag)
        visit.wfile.write(download.content[:after])
        time.sleep(0.1)  # otherwise the client may not see the bytes before the reset
        visit.reset()

    return behave


def close_early(after: int) -> Behaviour:
    """The same, but the connection is closed without an error."""

    def behave(visit: Handler) -> None:
        download = visit.requested
        visit.send_head(200, "application/zip", len(download.content), ETag=download.etag)
        visit.wfile.write(download.content[:after])
        visit.close_connection = True

    return behave


def ignore_range(visit: Handler) -> None:
    """Send the whole file with status 200, whatever range is requested."""
    download = visit.requested
    visit.send(download.content, 200, "application/zip", ETag=download.etag)


def send_slowly(pieces: int, pause: float) -> Behaviour:
    """Send the file in pieces, with a pause after each."""

    def behave(visit: Handler) -> None:
        content = visit.requested.content
        visit.send_head(200, "application/zip", len(content), ETag=visit.requested.etag)
        step = -(-len(content) // pieces)
        for at in range(0, len(content), step):
            visit.wfile.write(content[at : at + step])
            if visit.owner.stopping.wait(pause):
                return

    return behave


def stall(after: int) -> Behaviour:
    """Send some bytes, and then nothing until the client closes the connection."""

    def behave(visit: Handler) -> None:
        download = visit.requested
        visit.send_head(200, "application/zip", len(download.content), ETag=download.etag)
        visit.wfile.write(download.content[:after])
        visit.close_connection = True
        visit.connection.settimeout(20)
        try:
            visit.connection.recv(1)
        except OSError:
            return

    return behave


def send_range_slowly(visit: Handler) -> None:
    """Send the requested range in pieces, with a pause after each."""
    download = visit.requested
    first = int(visit.headers.get("Range", "bytes=0-")[6:-1])
    content, total = download.content[first:], len(download.content)
    headers = {"Content_Range": f"bytes {first}-{total - 1}/{total}"} if first else {}
    visit.send_head(206 if first else 200, "application/zip", len(content), ETag=download.etag, **headers)
    for at in range(0, len(content), 50_000):
        visit.wfile.write(content[at : at + 50_000])
        if visit.owner.stopping.wait(0.02):
            return
