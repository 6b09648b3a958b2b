"""The parts of the Hugging Face Hub's HTTP API that huggingface_hub uses to read and commit, on a real socket."""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qs

from tests.support.fault_proxy import QuietServer

TOKEN = "hf_secrettokenofthetests"
SIGNATURE = "X-Amz-Signature=signatureofthetests"
"""What the address of an upload has, with which anybody can write."""
REPOSITORY = "me/moths"
MAX_REGULAR_BYTES = 10_000  # the Hub keeps files of more than 10 MB as large ones
ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.tar filter=lfs diff=lfs merge=lfs -text\n"
"""The first lines of .gitattributes of every new dataset; files with these endings are large ones."""


@dataclass
class HubFault:
    """The status of the first `times` requests whose `METHOD path` matches; 0 resets the connection.

    With `loses_answer` the request has its effect before.
    """

    request: str
    status: int = 0
    times: int = 1
    loses_answer: bool = False


@dataclass
class Commit:
    """A commit: its message, and the files after it by path."""

    message: str
    files: dict[str, bytes]
    oid: str = field(init=False)

    def __post_init__(self) -> None:
        content = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in sorted(self.files.items())})
        self.oid = hashlib.sha1(f"{self.message}{content}".encode()).hexdigest()


class HubServer:
    """A Hub with one dataset repository.

    `blobs` are the contents of large files, by SHA-256; most precede their commit. `regular` are the paths of all other
    files that commits have had.
    """

    def __init__(self) -> None:
        self.commits = [Commit("initial commit", {".gitattributes": ATTRIBUTES})]
        self.blobs: dict[str, bytes] = {}
        self.regular: set[str] = set()
        self.requests: list[str] = []
        self.faults: list[HubFault] = []
        self.before: Callable[[str], None] = lambda request: None
        self.lock = threading.Lock()
        hub = self

        class Handler(HubExchange):
            server_hub = hub

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the last commit."""
        return self.commits[-1].files

    def count(self, request: str) -> int:
        """The requests that match."""
        return sum(re.search(request, one) is not None for one in list(self.requests))


class HubExchange(BaseHTTPRequestHandler):
    """A request and its answer."""

    server_hub: HubServer
    is_silent = False
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Answer a request."""
        hub, line = self.server_hub, f"{self.command} {self.path}"
        body = self.read_body()
        hub.before(line)
        with hub.lock:
            hub.requests.append(line)
            fault = next((one for one in hub.faults if one.times > 0 and re.search(one.request, line)), None)
            if fault:
                fault.times -= 1
        if fault and fault.loses_answer:
            self.is_silent = True
            self.answer_api(f"datasets/{REPOSITORY}", body)
        if fault and not fault.status:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return self.connection.close()
        if fault:
            return self.answer_json({"error": f"a text with {TOKEN}"}, fault.status)
        if not self.path.startswith("/blobs/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer_json({"error": "unauthorized"}, 401)
        name = f"datasets/{REPOSITORY}"
        if found := re.fullmatch(f"/{name}/resolve/([^/]+)/(.+)", self.path):
            return self.send_file(found[1], found[2])
        if not (self.path.startswith((f"/api/{name}", f"/{name}.git/", "/blobs/", "/api/validate-yaml"))):
            return self.answer_json({"error": "not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return self.answer_api(name, body)

    do_GET = do_PUT = do_POST = do_HEAD = handle_any

    def read_body(self) -> bytes:
        """The body, with a length or in chunks."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer_api(self, name: str, body: bytes) -> None:
        """Answer a request of the API."""
        hub, path = self.server_hub, self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self.answer_json({"errors": [], "warnings": []})
        if path == f"/api/{name}/preupload/main":
            return self.answer_json({"files": [self.choose_mode(one) for one in json.loads(body)["files"]]})
        if path == f"/{name}.git/info/lfs/objects/batch":
            return self.answer_json(
                {"transfer": "basic", "objects": [self.describe(one) for one in json.loads(body)["objects"]]}
            )
        if path.startswith("/blobs/"):
            digest = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != digest:
                return self.answer_json({"error": "digest"}, 400)
            hub.blobs[digest] = body
            return self.answer_json({})
        if path.startswith(f"/api/{name}/paths-info/"):
            asked = [one for one in parse_qs(body.decode())["paths"] if one in hub.files]
            return self.answer_json([{"type": "file", "path": one, "size": 1, "oid": "x"} for one in asked])
        if path == f"/api/{name}/commit/main":
            return self.commit([json.loads(line) for line in body.splitlines()], name)
        return self.answer_json({"id": REPOSITORY, "sha": hub.commits[-1].oid, "siblings": []})

    def choose_mode(self, file: dict[str, Any]) -> dict[str, Any]:
        """How a file is to be sent, and the digest of the one at its path."""
        attributes = self.server_hub.files[".gitattributes"].decode().splitlines()
        patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
        is_large = file["size"] > MAX_REGULAR_BYTES or any(fnmatch(file["path"], pattern) for pattern in patterns)
        answer = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
        data = self.server_hub.files.get(file["path"])
        if data is not None:
            blob = b"blob %d\0" % len(data) + data
            answer["oid"] = hashlib.sha256(data).hexdigest() if is_large else hashlib.sha1(blob).hexdigest()
        return answer

    def describe(self, file: dict[str, Any]) -> dict[str, Any]:
        """Where a LFS file is to be sent; nothing to do if the Hub has its content."""
        if file["oid"] in self.server_hub.blobs:
            return file
        upload = {"href": f"{self.server_hub.url}/blobs/{file['oid']}?{SIGNATURE}", "header": {}}
        return {**file, "actions": {"upload": upload}}

    def commit(self, lines: list[dict[str, Any]], name: str) -> None:
        """Make a commit."""
        hub, files = self.server_hub, dict(self.server_hub.files)
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, hub.commits[-1].oid):
            return self.answer_json({"error": "parent"}, 412)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                hub.regular.add(value["path"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
            elif value["path"] in files:
                del files[value["path"]]
            else:
                return self.answer_json({"error": "A file with this name doesn't exist"}, 404)
        hub.commits.append(Commit(header["summary"], files))
        oid = hub.commits[-1].oid
        return self.answer_json({"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{name}/commit/{oid}"})

    def send_file(self, revision: str, path: str) -> None:
        """Answer a request for a file of a commit."""
        hub = self.server_hub
        commit = next((one for one in hub.commits if one.oid == revision), hub.commits[-1])
        data = commit.files.get(path)
        if data is None:
            return self.answer_json({"error": "entry"}, 404, {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(data).hexdigest()
        return self.answer(data, 200, {"ETag": f'"{digest}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"})

    def answer_json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        self.answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def answer(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        """Answer the client."""
        if self.is_silent:
            return
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def finish(self) -> None:
        """Close what is still open."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: tests look at `requests`."""
