"""One attempt to transfer a file, which continues where an earlier one stopped."""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import requests

from gbif_webdataset.errors import FetchError
from gbif_webdataset.formatting import format_size
from gbif_webdataset.obtain.gbif_api import GoneError, NotFoundError
from gbif_webdataset.obtain.http_client import HttpClient, TemporaryError
from gbif_webdataset.storage.free_space import free_bytes

PIECE_BYTES = 1 << 18
ZIP = b"PK"
SPARE_BYTES = 1_000_000_000
"""The space that has to be free while a file of unknown size is transferred."""
CHECK_BYTES = 100_000_000
"""So many bytes of such a file are transferred between two looks at the space."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")


class WrongContentError(Exception):
    """An answer that is not the file. The text says what it is."""


@dataclass(frozen=True)
class Transfer:
    """A file to transfer: its address, its path when it is complete, and its size; 0 if the size is not known."""

    url: str
    path: Path
    size: int

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def part(self) -> Path:
        """The file with the bytes so far."""
        return self.path.with_name(f"{self.name}.part")

    @property
    def validator_path(self) -> Path:
        """The file with the ETag or date of the bytes so far."""
        return self.part.with_name(f"{self.part.name}.json")

    def count_bytes(self) -> int:
        """The number of bytes so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def find_offset(self) -> int:
        """The byte from which the next attempt continues; 0 if nothing says that the bytes so far are of this file."""
        size = self.count_bytes()
        return size if self.read_validator() and not (self.size and size > self.size) else 0

    def read_validator(self) -> str:
        """The ETag or date of the bytes so far; empty if it is not known."""
        try:
            return str(json.loads(self.validator_path.read_text(encoding="utf-8"))["validator"])
        except (OSError, ValueError, TypeError, KeyError):
            return ""

    def restart(self) -> None:
        """Delete the bytes so far."""
        self.part.unlink(missing_ok=True)
        self.validator_path.unlink(missing_ok=True)


def transfer(client: HttpClient, file: Transfer, report_bytes: Callable[[int, int], None]) -> None:
    """Transfer what is missing of a file. `report_bytes` gets the number of bytes so far and of all, 0 if not known.

    A part is continued only if the host confirms, by ETag or date, that it is of the same file. Otherwise the transfer
    starts over. An answer that is not the file leaves the part as it is.

    Raises:
        TemporaryError: the transfer stopped early; the next attempt continues.
        WrongContentError: the answer is not this file.
        NotFoundError, GoneError, FetchError: the file cannot be obtained, or the disk has too little space.
    """
    if file.size and file.count_bytes() == file.size:
        return
    offset = file.find_offset()
    headers = {"Range": f"bytes={offset}-", "If-Range": file.read_validator()} if offset else {}
    with client.open(file.url, headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            _check_unsatisfied_range(response, file, offset)
            return
        _check_status(response)
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            offset = 0
        read = partial(response.raw.read1, PIECE_BYTES, decode_content=False)
        first = _read_beginning(read)
        if not offset and not first.startswith(ZIP):
            raise WrongContentError(f"the answer is {_describe_content(response, first)}, not a zip")
        total = _find_total(response, file, offset)
        check_space(file, total - offset if total else None)
        if not offset:
            file.restart()
            _save_validator(response, file)
        _append(file, chain([first], iter(read, b"")), total, report_bytes)


def _check_unsatisfied_range(response: requests.Response, file: Transfer, offset: int) -> None:
    """Return if the host has no byte after `offset` because the part is complete (status 416).

    Raises:
        TemporaryError: the part is larger than the file; it is deleted.
        WrongContentError: the host does not say so.
    """
    found = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    size = int(found[1]) if found else None
    if size is None or size > offset:
        raise WrongContentError(f"the host does not continue the transfer after {offset:,} bytes (status 416)")
    if size < offset:
        file.restart()
        raise TemporaryError("the file is smaller than the part that was transferred; the transfer starts over")


def _read_beginning(read: Callable[[], bytes]) -> bytes:
    """Read until there are as many bytes as a zip begins with. A piece of an answer may be shorter."""
    beginning = b""
    while len(beginning) < len(ZIP) and (piece := read()):
        beginning += piece
    return beginning


def _check_status(response: requests.Response) -> None:
    status, url = response.status_code, response.url
    if status == HTTPStatus.NOT_FOUND:
        raise NotFoundError.at(url, "there is no such file (status 404)", "check the key, DOI or address")
    if status == HTTPStatus.GONE:
        raise GoneError.at(url, "the file was deleted (status 410)", "request it again")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise FetchError.at(url, f"the request is refused (status {status})", "check the key, DOI or address")


def _find_total(response: requests.Response, file: Transfer, offset: int) -> int:
    """Return the size of the whole file, or 0 if it is not known.

    Raises:
        WrongContentError: the answer has another size or begins at another byte.
    """
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != offset:
            raise WrongContentError("the answer has another part of the file than was requested")
        total = int(found[2]) if found[2] != "*" else file.size
    else:
        declared = response.headers.get("Content-Length", "")
        total = int(declared) if declared.isdecimal() else file.size
    if file.size and total != file.size:
        raise WrongContentError(f"the file has {total:,} bytes in place of {file.size:,}")
    return total


def check_space(file: Transfer, missing: int | None) -> None:
    """Raise FetchError if the disk has too little space for the missing bytes; None if their number is not known."""
    free = free_bytes(file.part.parent)
    if free < (SPARE_BYTES if missing is None else missing):
        what = "an archive of unknown size" if missing is None else f"{format_size(missing)} more of the archive"
        problem = f"only {format_size(free)} are free for {what}"
        remedy = "free some space or choose another --output, and run the same command again"
        raise FetchError.at(str(file.part.parent), problem, remedy)


def _append(file: Transfer, pieces: Iterable[bytes], total: int, report_bytes: Callable[[int, int], None]) -> None:
    """Append pieces to the bytes so far. Each is written immediately, so that a killed process loses none of them.

    Without a `total` the answer may be endless, so the space on the disk is checked after every CHECK_BYTES.
    """
    done = file.count_bytes()
    next_check = done + CHECK_BYTES
    with file.part.open("ab") as target:
        for piece in pieces:
            target.write(piece)
            target.flush()
            done += len(piece)
            report_bytes(done, total)
            if not total and done > next_check:
                check_space(file, None)
                next_check = done + CHECK_BYTES
        os.fsync(target.fileno())


def _describe_content(response: requests.Response, piece: bytes) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if not piece:
        return "empty"
    return "a web page" if "html" in kind else f"of the type {kind}" if kind else "of an unknown type"


def _save_validator(response: requests.Response, file: Transfer) -> None:
    """Save the ETag of a file or, if it has only a weak one, its date (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    file.validator_path.write_text(json.dumps({"validator": validator}), encoding="utf-8")
