"""What a response to a download says: its status, its headers, and the image in its body."""

import hashlib
import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import BinaryIO

from urllib3 import BaseHTTPResponse, HTTPHeaderDict
from urllib3.exceptions import DecodeError

from gbif_webdataset.images.completeness import is_complete_image
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.network.retry_after import parse_retry_after
from gbif_webdataset.terms.outcomes import FetchFailure

PIECE_BYTES = 1 << 18  # read at a time, if they have arrived; with a quarter of it, CPU time grows by a third
MAX_DRAINED_BYTES = 1 << 16  # of a response that is not needed; reading it keeps the connection usable
OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai", "noml", "noindex", "noimageindex", "none"})  # none: noindex
ALL_ROBOTS = frozenset({"*", "all", "robots"})
DIRECTIVES_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_ROBOT_NAME = re.compile(r"[\w.*-]+")
BUSY_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
FAILURES_BY_STATUS: dict[int, FetchFailure] = {
    HTTPStatus.UNAUTHORIZED: FetchFailure.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: FetchFailure.FORBIDDEN,
    HTTPStatus.NOT_FOUND: FetchFailure.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: FetchFailure.REQUEST_TIMEOUT,
    HTTPStatus.GONE: FetchFailure.GONE,
    HTTPStatus.TOO_EARLY: FetchFailure.TOO_EARLY,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: FetchFailure.LEGAL_REASONS,
    HTTPStatus.TOO_MANY_REQUESTS: FetchFailure.TOO_MANY_REQUESTS,
}
HOST_FAILURES = frozenset(
    {
        FetchFailure.TIMEOUT,
        FetchFailure.TOO_SLOW,
        FetchFailure.CONNECTION,
        FetchFailure.NAME_NOT_RESOLVED,
        FetchFailure.TOO_MANY_REQUESTS,
        FetchFailure.SERVER_ERROR,
        FetchFailure.FORBIDDEN,
        FetchFailure.UNAUTHORIZED,
        FetchFailure.TLS,
        FetchFailure.BAD_CERTIFICATE,
    }
)
"""Failures of a whole host, which is down or refuses our requests. After any other failure the host counts as up."""


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of a download, and the name of the client.

    `request_timeout` is the maximum time without a byte and `max_seconds` the maximum total time, both in seconds.
    With `respect_opt_out`, images whose X-Robots-Tag or tdm-reservation forbids machine learning are not downloaded.
    """

    request_timeout: float
    max_seconds: float
    max_bytes: int
    user_agent: str
    respect_opt_out: bool


@dataclass(frozen=True)
class Download:
    """The result of a request. Fields that the request did not get to are None.

    For an image that is too large, `bytes` is a lower bound.
    """

    http_status: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    final_url: str | None = None


class DownloadError(Exception):
    """An image that was not downloaded.

    `code` goes into the ledger. `retry_after` is in seconds, 0 if not given. `is_unreachable`: no connection to the
    host was made.
    """

    def __init__(
        self, code: str, download: Download, retry_after: float = 0.0, *, is_unreachable: bool = False
    ) -> None:
        super().__init__(code)
        self.code, self.download, self.retry_after = code, download, retry_after
        self.is_unreachable = is_unreachable

    @property
    def is_host_failure(self) -> bool:
        """Whether the host is down, or refuses our requests."""
        return self.code in HOST_FAILURES

    @property
    def is_busy(self) -> bool:
        """Whether the host reported too many requests."""
        return self.download.http_status in BUSY_STATUSES


def check_response(response: BaseHTTPResponse, reached: Download, limits: DownloadLimits, expected: HTTPStatus) -> None:
    """Return if the body of a response is needed.

    Raises:
        DownloadError: the status is neither 200 nor `expected`, the host opts out, or the image is too large.
    """
    status = response.status
    if status not in (HTTPStatus.OK, expected):
        if (response.length_remaining or MAX_DRAINED_BYTES) < MAX_DRAINED_BYTES:
            response.read(MAX_DRAINED_BYTES)
        raise DownloadError(_classify_status(status), reached, parse_retry_after(response.headers))
    if limits.respect_opt_out and is_opted_out(response.headers, limits.user_agent):
        raise DownloadError(FetchFailure.OPTED_OUT, reached)
    declared = response.length_remaining
    if declared and declared > limits.max_bytes:
        raise DownloadError(FetchFailure.TOO_LARGE, replace(reached, bytes=declared))


def is_opted_out(headers: HTTPHeaderDict, user_agent: str) -> bool:
    """Whether the host asks us, or all robots, not to use the image for machine learning.

    Any value of tdm-reservation but 0 is an opt-out. A name before a directive addresses one robot: `otherbot: noai` is
    not for us. It applies up to the next name or the end of the header. Our name is the first word of `user_agent`,
    without its version.
    """
    if {value.strip() for value in headers.getlist("tdm-reservation")} - {"", "0"}:  # an unknown value is no permission
        return True
    addressed = ALL_ROBOTS | {user_agent.lower().partition("/")[0].partition(" ")[0]}
    for tag in headers.getlist("X-Robots-Tag"):
        is_for_us = True
        for part in re.split("[,;]", tag.lower()):
            name, colon, directive = (text.strip() for text in part.rpartition(":"))
            if colon and name not in DIRECTIVES_WITH_VALUE and _ROBOT_NAME.fullmatch(name):
                is_for_us = name in addressed
            if is_for_us and directive in OPT_OUT_DIRECTIVES:
                return True
    return False


def save_image(response: BaseHTTPResponse, target: BinaryIO, reached: Download, max_bytes: int) -> Download:
    """`reached` with size and hash of the image in the body, which is written to `target`.

    Raises:
        DownloadError: the body is empty, not an image, larger than `max_bytes`, or ends early. Where HTTP does not give
            the length of the image, as with gzip, the image itself shows whether it is complete.
    """
    # The length of an encoded body is that of its code: a code that ends early may have its full length.
    has_length = response.length_remaining is not None or response.chunked
    is_length_certain = has_length and not response.headers.get("Content-Encoding")
    saved, head = _save_body(response, target, reached, max_bytes)
    if not saved.bytes:
        raise DownloadError(FetchFailure.EMPTY, reached)
    is_cut = not is_length_certain and len(head) < HEAD_BYTES
    if not identify_image(head):
        raise DownloadError(FetchFailure.TRUNCATED if is_cut else _classify_other_body(response), reached)
    if not is_length_certain and not is_complete_image(target):
        raise DownloadError(FetchFailure.TRUNCATED, reached)
    return saved


def _save_body(
    response: BaseHTTPResponse, target: BinaryIO, reached: Download, max_bytes: int
) -> tuple[Download, bytes]:
    """`reached` with size and hash of the body, which is written to `target`, and the body's first bytes."""
    digest, is_encoded = hashlib.sha256(), "Content-Encoding" in response.headers
    size, head = 0, b""
    try:
        while piece := response.read1(PIECE_BYTES, decode_content=is_encoded):  # decoding copies every piece
            if size < HEAD_BYTES:
                head += piece[: HEAD_BYTES - size]
                if len(head) == HEAD_BYTES and not identify_image(head):
                    raise DownloadError(_classify_other_body(response), reached)
            size += len(piece)
            if size > max_bytes:
                raise DownloadError(FetchFailure.TOO_LARGE, replace(reached, bytes=size))
            digest.update(piece)
            target.write(piece)
    except DecodeError as error:
        raise DownloadError(FetchFailure.BAD_ENCODING, reached) from error
    return replace(reached, bytes=size, sha256=digest.hexdigest()), head


def _classify_other_body(response: BaseHTTPResponse) -> FetchFailure:
    """The failure of a body that starts no image. It may be an image in an encoding that was not decoded."""
    encodings = {name.strip() for name in response.headers.get("Content-Encoding", "").lower().split(",")}
    is_decoded = encodings <= {"", "identity", *response.CONTENT_DECODERS}
    return FetchFailure.NOT_AN_IMAGE if is_decoded else FetchFailure.BAD_ENCODING


def read_size(response: BaseHTTPResponse, reached: Download, max_bytes: int) -> Download:
    """`reached` with the size of the image according to the headers; None if they do not give it.

    Raises:
        DownloadError: the image is larger than `max_bytes`.
    """
    is_part = response.status == HTTPStatus.PARTIAL_CONTENT
    text = response.headers.get("Content-Range" if is_part else "Content-Length", "").rpartition("/")[2]
    size = int(text) if text.isascii() and text.isdecimal() else None
    if response.length_remaining is not None and response.length_remaining < MAX_DRAINED_BYTES:
        response.read(MAX_DRAINED_BYTES)
    if size and size > max_bytes:
        raise DownloadError(FetchFailure.TOO_LARGE, replace(reached, bytes=size))
    return replace(reached, bytes=size or None)  # some hosts answer HEAD with a length of 0


def _classify_status(status: int) -> str:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FetchFailure.SERVER_ERROR
    return FAILURES_BY_STATUS.get(status, f"http-{status}")
