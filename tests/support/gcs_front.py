"""What Google's emulator lacks of Google's XML API, which obstore uses: lists, sizes, deletion and copies."""

import json
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.fault_proxy import Exchange, FaultProxy

ONE_AT_A_TIME = threading.Lock()


class GcsFront(FaultProxy):
    """A proxy before the emulator that understands all requests of obstore."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._server.RequestHandlerClass = type("Handler", (GcsExchange,), {"server_proxy": self})


class GcsExchange(Exchange):
    """A request of the XML API."""

    def forward(self, body: bytes, length: int, waits: bool = True) -> tuple[int, list[tuple[str, str]], bytes]:
        """Answer lists and deletions by the JSON API, sizes and copies by reading; forward everything else."""
        parts = urlsplit(self.path)
        _, bucket, *names = parts.path.split("/", 2)
        if self.command == "GET" and not "".join(names):
            return 200, [("Content-Type", "application/xml")], self.list_objects(bucket, parse_qs(parts.query))
        if self.command == "DELETE":
            return self.ask("DELETE", f"b/{bucket}/o/{quote(unquote(names[0]), safe='')}")[0], [], b""
        if "json" in self.headers.get(
            "Content-Type", ""
        ):  # the emulator would take the object for a request of its own
            self.headers.replace_header("Content-Type", "text/plain")
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and wanted != self.find_generation(bucket, names[0]):
            return 412, [], b"<Error><Code>PreconditionFailed</Code></Error>"
        if source := self.headers.get("x-goog-copy-source"):
            status, headers, body = self.forward_as("GET", f"/{source.lstrip('/')}")
            if status != 200:
                return status, headers, body
            length = len(body)
        method = "GET" if self.command == "HEAD" else self.command
        status, headers, answer = self.forward_as(method, self.path, body, length, waits)
        headers = [(name, value) for name, value in headers if name.lower() not in ("etag", "last-modified")]
        headers += [("ETag", "x"), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]
        if status == 200:
            headers.append(("x-goog-generation", self.find_generation(bucket, names[0])))
        return status, headers, answer

    def forward_as(
        self, method: str, path: str, body: bytes = b"", length: int = 0, waits: bool = True
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send another request than that of the client; its answer."""
        given, (self.command, self.path) = (self.command, self.path), (method, path)
        try:
            with ONE_AT_A_TIME:  # the emulator has one thread, and resets connections that wait
                return super().forward(body, length, waits)
        finally:
            self.command, self.path = given

    def find_generation(self, bucket: str, name: str) -> str:
        """The number of an object's content, which Google changes with each write; 0 without an object."""
        item = self.ask("GET", f"b/{bucket}/o/{quote(unquote(name), safe='')}")[1]
        return str(item.get("generation", 0))

    def list_objects(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """A list as XML."""
        items = self.ask("GET", f"b/{bucket}/o?prefix={quote(query.get('prefix', [''])[0])}")[1].get("items", [])
        rows = "".join(
            f"<Contents><Key>{escape(item['name'])}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>x</ETag><Size>{item['size']}</Size></Contents>"
            for item in items
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

    def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of the JSON API."""
        request = urllib.request.Request(f"{self.server_proxy.upstream.geturl()}/storage/v1/{path}", method=method)
        try:
            with ONE_AT_A_TIME, urllib.request.urlopen(request, timeout=10) as answer:
                data = answer.read()
                return answer.status, json.loads(data) if data else {}
        except urllib.error.HTTPError as error:
            return error.code, {}
