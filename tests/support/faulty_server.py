"""A web server on loopback with the faults of real hosts. `CASES` has the behaviour of each path and its outcome."""

import gzip
import io
import os
import socket
import socketserver
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Self

from PIL import Image

MAX_BYTES = 300_000
REQUEST_TIMEOUT = 0.5
MAX_SECONDS = 1.5
RETRIES = 1


def picture(kind: str, size: tuple[int, int] = (48, 32)) -> bytes:
    """A small image in one of Pillow's formats."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


JPEG, PNG, WEBP = picture("JPEG"), picture("PNG"), picture("WEBP")


def photo(name: str) -> bytes:
    """A different JPEG for every name. Names of equal length have photos of equal size."""
    comment = name.encode()
    return JPEG[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + JPEG[2:]


@dataclass(frozen=True)
class Request:
    """A request: its time (monotonic seconds), path, headers (names in lower case) and method."""

    at: float
    path: str
    headers: dict[str, str]
    method: str = "GET"


class Visit:
    """A request and the socket for its answer. `number` counts the requests for its path from 1."""

    def __init__(self, request: Request, number: int, connected: socket.socket, server: "FaultyServer") -> None:
        self.path, self.number, self._connected, self.server = request.path, number, connected, server
        self.method, self.headers = request.method, request.headers
        self.peer: tuple[str, int] = connected.getpeername()
        self.keep_alive = False

    def send(self, data: bytes) -> None:
        self._connected.sendall(data)

    def head(self, status: str = "200 OK", **headers: str) -> None:
        """Send the status line and the headers. `_` in a name stands for `-`."""
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))

    def lines(self, *lines: str) -> None:
        """Send the lines of a head as they are, valid or not."""
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))

    def answer(self, body: bytes = b"", status: str = "200 OK", kind: str = "image/jpeg", **headers: str) -> None:
        """Send a complete answer; without its body if the request is a HEAD."""
        self.head(status, Content_Type=kind, Content_Length=str(len(body)), **headers)
        self.send(body if self.method != "HEAD" else b"")
        self.keep_alive = True

    def drip(self, data: bytes, pause: float = 0.1) -> None:
        """Send one byte at a time until the client closes the connection."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.server.stopping.wait(pause):
                return

    def wait(self) -> None:
        """Send nothing until the client closes the connection."""
        self._connected.settimeout(20)
        self._connected.recv(1)

    def reset(self) -> None:
        """Reset the connection instead of closing it."""
        self._connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self._connected.detach())


Behaviour = Callable[[Visit], None]


@dataclass(frozen=True)
class Case:
    """The behaviour of a path, the failure of its image (empty: it is downloaded), and the number of requests."""

    behave: Behaviour
    code: str
    requests: int = 1
    body: bytes | None = None


def _status(status: str, **headers: str) -> Behaviour:
    return lambda visit: visit.answer(b"an error page", status, "text/html", **headers)


def _body(body: bytes, kind: str = "image/jpeg", **headers: str) -> Behaviour:
    return lambda visit: visit.answer(body, kind=kind, **headers)


def _busy_until(status: str, seconds: float) -> Behaviour:
    """Busy at first, and good from a date on."""

    def behave(visit: Visit) -> None:
        if visit.number == 1:
            visit.answer(b"", status, Retry_After=formatdate(time.time() + seconds, usegmt=True))
        else:
            visit.answer(JPEG)

    return behave


def _then_good(first: Behaviour) -> Behaviour:
    return lambda visit: first(visit) if visit.number == 1 else visit.answer(JPEG)


def _redirect(location: str, status: str = "302 Found") -> Behaviour:
    return lambda visit: visit.answer(b"", status, Location=location.format(url=visit.server.url))


def _reset_in_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.send(JPEG[:100])
    time.sleep(0.1)
    visit.reset()


def _reset_at_once(visit: Visit) -> None:
    visit.reset()


def _short(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG) + 10))
    visit.send(JPEG)


def _until_closed(visit: Visit) -> None:
    visit.head()
    visit.send(JPEG)


def _chunks(*chunks: bytes) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.head(Transfer_Encoding="chunked")
        for chunk in chunks:
            visit.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        visit.keep_alive = not chunks[-1]

    return behave


def _wrong_chunk(visit: Visit) -> None:
    _chunks(JPEG[:200])(visit)
    visit.send(b"no-number\r\n" + JPEG[200:])


def _endless(visit: Visit) -> None:
    visit.head()
    visit.send(JPEG)
    while not visit.server.stopping.is_set():
        visit.send(bytes(65536))


def _drip_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.drip(JPEG)


def _drip_head(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"a" * 500)


def _drip_status_line(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 200 " + b"O" * 500)


def _drip_chunk_size(visit: Visit) -> None:
    _chunks(JPEG)(visit)
    visit.drip(b"0" * 500)


def _continue_forever(visit: Visit) -> None:
    for _ in range(500):
        visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def _after(*interim: str) -> Behaviour:
    """Interim answers (1xx), each with a header, before the final answer (RFC 9110, 15.2)."""

    def behave(visit: Visit) -> None:
        for status in interim:
            visit.head(status, Link="</style.css>; rel=preload")
            time.sleep(0.05)
        visit.answer(JPEG)

    return behave


def _other_protocol(visit: Visit) -> None:
    visit.head("101 Switching Protocols", Upgrade="photos/2.0")
    visit.keep_alive = True


def _two_answers(visit: Visit) -> None:
    """Two answers to one request, in one piece, like a server that lost count.

    A second answer that arrives later could not be distinguished from the answer to the next request.
    """
    pieces: list[bytes] = []
    send, visit.send = visit.send, pieces.append
    visit.answer(JPEG)
    visit.answer(PNG)
    send(b"".join(pieces))


def _silent_in_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.send(JPEG[:100])
    visit.wait()


def _many_headers(visit: Visit) -> None:
    visit.head(**{f"X-{number}": "y" for number in range(200)})


def _declared_too_large(visit: Visit) -> None:
    visit.head(Content_Length=str(10**12))
    visit.send(JPEG)


def _damaged_gzip(visit: Visit) -> None:
    """A code whose second half is damaged."""
    code = gzip.compress(JPEG)
    middle = len(code) // 2
    visit.head(Content_Encoding="gzip", Content_Length=str(len(code)))
    visit.send(code[:middle])
    time.sleep(0.1)
    visit.send(b"\xff" * 100 + code[middle + 100 :])


def _bomb() -> bytes:
    return gzip.compress(JPEG + bytes(20_000_000), 9)


def _headers(*lines: str, body: bytes = JPEG, length: int | None = None) -> Behaviour:
    """Good, with these lines before the length of the body, and a connection that stays open."""

    def behave(visit: Visit) -> None:
        declared = len(body) if length is None else length
        visit.lines("HTTP/1.1 200 OK", *lines, f"Content-Length: {declared}", "Content-Type: image/jpeg")
        visit.send(body)
        visit.keep_alive = True

    return behave


def _close_delimited(body: bytes, **headers: str) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.head(**headers)
        visit.send(body)

    return behave


def _ask_for_cookie(visit: Visit) -> None:
    """Redirect to itself until its cookie is sent back, like hosts that look for robots."""
    if "pass=1" in visit.headers.get("cookie", ""):
        visit.answer(JPEG)
    else:
        visit.answer(b"", "302 Found", Location=visit.path, Set_Cookie="pass=1; Path=/")


def _cookie(visit: Visit) -> None:
    visit.answer(JPEG, Set_Cookie="session=secret; Path=/")


# Ways to write addresses inside the user's network, and addresses of the metadata services of clouds.
INSIDE = {
    "decimal": "2131232776",
    "octal": "0177.010.010.010",
    "hex": "0x7f080808",
    "mixed": "0x7f.8.2056",
    "short": "127.8",
    "unspecified": "0.0.0.0",
    "mapped": "[::ffff:127.8.8.8]",
    "loopback-6": "[::1]",
    "aws-6": "[fd00:ec2::254]",
    "alibaba": "100.100.100.200",
    "oracle": "192.0.0.192",
    "azure": "168.63.129.16",
}
HTML = b"<!doctype html><title>Sign in</title>" + b"<p>Please sign in.</p>" * 20
TWICE = RETRIES + 1

CASES: dict[str, Case] = {
    "good": Case(_body(JPEG), ""),
    "404": Case(_status("404 Not Found"), "not-found"),
    "410": Case(_status("410 Gone"), "gone"),
    "403": Case(_status("403 Forbidden"), "forbidden"),
    "401": Case(_status("401 Unauthorized", WWW_Authenticate='Basic realm="photos"'), "unauthorized"),
    "451": Case(_status("451 Unavailable For Legal Reasons"), "http-451"),
    "408": Case(_status("408 Request Timeout"), "http-408", TWICE),
    "408-then-good": Case(_then_good(_status("408 Request Timeout")), "", 2),
    "425": Case(_status("425 Too Early"), "http-425", TWICE),
    "425-then-good": Case(_then_good(_status("425 Too Early")), "", 2),
    "202": Case(_status("202 Accepted"), "http-202"),
    "203": Case(_status("203 Non-Authoritative Information"), "http-203"),
    "300": Case(_status("300 Multiple Choices"), "http-300"),
    "304": Case(lambda visit: visit.head("304 Not Modified"), "http-304"),
    "400": Case(_status("400 Bad Request"), "http-400"),
    "402": Case(_status("402 Payment Required"), "http-402"),
    "406": Case(_status("406 Not Acceptable"), "http-406"),
    "420": Case(_status("420 Enhance Your Calm"), "http-420"),
    "423": Case(_status("423 Locked"), "http-423"),
    "499": Case(_status("499 Client Closed Request"), "http-499"),
    "502": Case(_status("502 Bad Gateway"), "server-error", TWICE),
    "504-then-good": Case(_then_good(_status("504 Gateway Timeout")), "", 2),
    "520": Case(_status("520 Web Server Returned an Unknown Error"), "server-error", TWICE),
    "700": Case(_status("700 Unknown"), "server-error", TWICE),
    "204": Case(_status("204 No Content"), "http-204"),
    "206": Case(_status("206 Partial Content"), "http-206"),
    "418": Case(_status("418 I'm a teapot"), "http-418"),
    "500": Case(_status("500 Internal Server Error"), "server-error", TWICE),
    "429-always": Case(_status("429 Too Many Requests"), "too-many-requests", TWICE),
    "429-then-good": Case(_then_good(_status("429 Too Many Requests", Retry_After="1")), "", 2),
    "429-until-a-date": Case(_busy_until("429 Too Many Requests", 2), "", 2),
    "503-then-good": Case(_then_good(_status("503 Service Unavailable")), "", 2),
    "503-for-a-second": Case(_then_good(_status("503 Service Unavailable", Retry_After="1")), "", 2),
    "503-until-a-date": Case(_busy_until("503 Service Unavailable", 2), "", 2),
    "retry-after-nonsense": Case(_then_good(_status("503 Busy", Retry_After="\xb2")), "", 2),
    "retry-after-year-1": Case(_then_good(_status("503 Busy", Retry_After="Mon, 01 Jan 0001 00:00:00 -0000")), "", 2),
    "reset-then-good": Case(_then_good(_reset_at_once), "", 2),
    "reset-in-body-then-good": Case(_then_good(_reset_in_body), "", 2),
    "closed": Case(lambda visit: None, "connection", TWICE),
    "closed-then-good": Case(_then_good(lambda visit: None), "", 2),
    "garbage": Case(lambda visit: visit.send(JPEG), "connection", TWICE),
    "many-headers": Case(_many_headers, "connection", TWICE),
    "short": Case(_short, "truncated", TWICE),
    "short-then-good": Case(_then_good(_short), "", 2),
    "until-closed": Case(_until_closed, ""),
    "until-closed-cut": Case(_close_delimited(JPEG[:-100]), "truncated", TWICE),
    "until-closed-cut-in-signature": Case(_close_delimited(PNG[:6]), "truncated", TWICE),
    "until-closed-png-cut": Case(_close_delimited(PNG[:-30]), "truncated", TWICE),
    "until-closed-webp-cut": Case(_close_delimited(WEBP[:-30]), "truncated", TWICE),
    "until-closed-html": Case(_close_delimited(HTML), "not-an-image"),
    "chunked": Case(_chunks(JPEG[:100], JPEG[100:], b""), ""),
    "chunked-broken-off": Case(_chunks(JPEG[:100], JPEG[100:]), "truncated", TWICE),
    "chunked-wrong": Case(_wrong_chunk, "truncated", TWICE),
    "endless": Case(_endless, "too-large"),
    "declared-too-large": Case(_declared_too_large, "too-large"),
    "too-large": Case(_body(JPEG + bytes(MAX_BYTES)), "too-large"),
    "drip-body": Case(_drip_body, "too-slow"),
    "drip-head": Case(_drip_head, "too-slow"),
    "drip-status-line": Case(_drip_status_line, "too-slow"),
    "drip-chunk-size": Case(_drip_chunk_size, "too-slow"),
    "continue-forever": Case(_continue_forever, "too-slow"),
    "continue-then-good": Case(_after("100 Continue", "100 Continue"), ""),
    "processing-then-good": Case(_after("102 Processing", "102 Processing"), ""),
    "early-hints-then-good": Case(_after("100 Continue", "103 Early Hints"), ""),
    "other-protocol": Case(_other_protocol, "http-101"),
    "two-answers": Case(_two_answers, ""),
    "silent": Case(Visit.wait, "timeout", TWICE),
    "silent-in-body": Case(_silent_in_body, "timeout", TWICE),
    "empty": Case(_body(b""), "empty"),
    "chunked-empty": Case(_chunks(b""), "empty"),
    "html": Case(_body(HTML), "not-an-image"),
    "json": Case(_body(b'{"error": "no such photo"}'), "not-an-image"),
    "svg": Case(_body(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "not-an-image"),
    "png.jpg": Case(_body(PNG), "", body=PNG),
    "webp.jpg": Case(_body(WEBP), "", body=WEBP),
    "octets": Case(_body(JPEG, "application/octet-stream"), ""),
    "gzip": Case(_body(gzip.compress(JPEG), Content_Encoding="gzip"), ""),
    "gzip-cut": Case(_body(gzip.compress(JPEG)[:-200], Content_Encoding="gzip"), "truncated", TWICE),
    "gzip-without-trailer": Case(_body(gzip.compress(JPEG)[:-8], Content_Encoding="gzip"), ""),
    "gzip-damaged": Case(_damaged_gzip, "truncated", TWICE),
    "deflate": Case(_body(zlib.compress(JPEG), Content_Encoding="deflate"), ""),
    "header-without-colon": Case(_headers("Powered by photos"), ""),
    "header-with-space-before-colon": Case(_headers("X-Server : photos"), ""),
    "header-with-lone-cr": Case(_headers("X-Note: one\rtwo"), ""),
    "header-with-second-status-line": Case(_headers("HTTP/1.1 200 OK"), ""),
    "header-without-name": Case(_headers(": nothing"), ""),
    "header-latin-1": Case(_headers("X-Caf\xe9: au lait", "Server: caf\xe9"), ""),
    "header-folded": Case(_headers("X-Note: one", "  two"), ""),
    "header-unparsable-and-short": Case(_headers("no header", length=len(JPEG) + 10), "timeout", TWICE),
    "gzip-bomb": Case(_body(_bomb(), Content_Encoding="gzip"), "too-large"),
    "gzip-untrue": Case(_body(JPEG, Content_Encoding="gzip"), "not-an-image"),
    "redirect": Case(_redirect("{url}/good"), ""),
    "redirect-relative": Case(_redirect("good?from=here", "307 Temporary Redirect"), ""),
    "redirect-utf8": Case(_redirect("/b\u00fctterfly".encode().decode("latin-1")), ""),
    "redirect-latin-1": Case(_redirect("/caf\xe9 au lait"), ""),
    "redirect-with-space": Case(_redirect("/with space"), ""),
    "redirect-without-scheme": Case(_redirect("//127.0.0.1:1/a.jpg"), "connection", TWICE),
    "redirect-303": Case(_redirect("/good", "303 See Other"), ""),
    "redirect-308": Case(_redirect("/good", "308 Permanent Redirect"), ""),
    "redirect-for-cookie": Case(_ask_for_cookie, "", 2),
    "redirect-nowhere": Case(_status("302 Found"), "http-302"),
    "redirect-loop": Case(_redirect("/redirect-loop"), "too-many-redirects", 6),
    "redirect-metadata": Case(_redirect("http://169.254.169.254/latest/meta-data/"), "blocked-address"),
    "redirect-loopback": Case(_redirect("http://127.8.8.8:1/"), "blocked-address"),
    **{f"redirect-{name}": Case(_redirect(f"http://{host}/a.jpg"), "blocked-address") for name, host in INSIDE.items()},
    "redirect-file": Case(_redirect("file:///etc/passwd"), "bad-redirect"),
    "redirect-data": Case(_redirect("data:image/gif;base64,R0lGODlhAQABAAAAACw="), "bad-redirect"),
    "redirect-unparsable": Case(_redirect("http://[half"), "bad-redirect"),
    "redirect-no-port": Case(_redirect("http://127.0.0.1:port/a.jpg"), "bad-redirect"),
    "noai": Case(_body(JPEG, X_Robots_Tag="noai"), "opted-out"),
    "noimageai": Case(_body(JPEG, X_Robots_Tag="index, NoImageAI"), "opted-out"),
    "noindex": Case(_body(JPEG, X_Robots_Tag="noindex"), "opted-out"),
    "noimageindex": Case(_body(JPEG, X_Robots_Tag="nofollow,noimageindex"), "opted-out"),
    "noml": Case(_body(JPEG, X_Robots_Tag="NoML"), "opted-out"),
    "tdm-reservation": Case(_body(JPEG, tdm_reservation="1"), "opted-out"),
    "tdm-reservation-0": Case(_body(JPEG, tdm_reservation="0"), ""),
    "noai-for-us": Case(_body(JPEG, X_Robots_Tag="otherbot: all, GBIF-WebDataset-Test: noai"), "opted-out"),
    "noai-for-all-by-name": Case(_body(JPEG, X_Robots_Tag="*: noai"), "opted-out"),
    "noai-in-second-tag": Case(_headers("X-Robots-Tag: otherbot: nofollow", "X-Robots-Tag: noai"), "opted-out"),
    "noai-after-a-date": Case(
        _body(JPEG, X_Robots_Tag="unavailable_after: Sat, 25 Jul 2099 15:00:00 GMT, max-snippet: 5, noai"), "opted-out"
    ),
    "googlebot-noindex": Case(_body(JPEG, X_Robots_Tag="googlebot: noindex"), ""),
    "otherbot-several": Case(_body(JPEG, X_Robots_Tag="otherbot: noai, noimageai"), ""),
    "all-robots": Case(_body(JPEG, X_Robots_Tag="all, nosnippet"), ""),
    "cookie": Case(_cookie, ""),
}
for _hop in range(1, 7):
    CASES[f"chain-{_hop}"] = Case(_redirect(f"/chain-{_hop - 1}"), "" if _hop < 6 else "too-many-redirects")
OTHERS: dict[str, Behaviour] = {
    "chain-0": _body(JPEG),
    "b%C3%BCtterfly": _body(JPEG),
    "caf%E9%20au%20lait": _body(JPEG),
    "with%20space": _body(JPEG),
    "good?from=here": _body(JPEG),
}


class Level:
    """A number of things now, and its maximum so far."""

    def __init__(self) -> None:
        self.now = self.max = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.max = max(self.max, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


class FaultyServer:
    """Serves `CASES` at /<name>, `photo(name)` at /photo/<name>, and the `behaviours` that a test adds."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.behaviours: dict[str, Behaviour] = {name: case.behave for name, case in CASES.items()} | OTHERS
        self.log: list[Request] = []
        self.running, self.open = Level(), Level()  # requests and connections
        self.stopping = threading.Event()
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server((address, port), _Handler)
        self._server.owner = self
        self.port: int = self._server.server_address[1]
        self.url = f"http://{address}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @staticmethod
    def photos(visit: Visit) -> None:
        """The behaviour of the paths below /photo/. A test may replace it."""
        visit.answer(photo(visit.path.removeprefix("/photo/")))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def count_requests(self, name: str | None = None) -> int:
        """The number of requests, for /<name> or in total."""
        return len([request for request in self.log if name is None or request.path == f"/{name}"])

    def visit(self, connected: socket.socket, method: str, path: str, headers: dict[str, str]) -> bool:
        """Answer a request; whether the connection can be used again."""
        request = Request(time.monotonic(), path, headers, method)
        with self._lock:
            self.log.append(request)
            self._seen[path] += 1
            visit = Visit(request, self._seen[path], connected, self)
        with self.running:
            self._behaviour(path.removeprefix("/"))(visit)
        return visit.keep_alive

    def _behaviour(self, name: str) -> Behaviour:
        if behave := self.behaviours.get(name):
            return behave
        if name.startswith("photo/"):
            return self.photos
        return _status("404 Not Found")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: FaultyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: in many cases the client closes the connection."""


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        owner = self.server.owner
        with owner.open:
            while line := self.rfile.readline():
                method, path = line.decode("latin-1").split()[:2]
                headers = {}
                while (header := self.rfile.readline().strip()) != b"":
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                if not owner.visit(self.connection, method, path, headers):
                    return
