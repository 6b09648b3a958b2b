import socket
from http.client import HTTPException

import pytest

from gbif_webdataset.fetch.http_response import FinalResponse


def respond(sent: bytes) -> FinalResponse:
    """The response to a request that a host answers with `sent`."""
    ours, hosts = socket.socketpair()
    with ours, hosts:
        hosts.sendall(sent)
        hosts.shutdown(socket.SHUT_WR)
        response = FinalResponse(ours, method="GET")
        response.begin()
    return response


@pytest.mark.parametrize(
    "line",
    [b"no colon", b"X-Space : a", b"X-Cr: a\rb", b"HTTP/1.1 200 OK", b": no name", b"X-\xff: a", b"\x00", b"X Y: a"],
)
def test_headers_after_a_line_that_is_not_valid_are_read(line: bytes) -> None:
    response = respond(b"HTTP/1.1 200 OK\r\nServer: a\r\n" + line + b"\r\nContent-Length: 7\r\n\r\n1234567")
    assert (response.length, response.headers["Server"]) == (7, "a")
    assert response.read() == b"1234567"


def test_a_folded_header_is_one_header() -> None:
    assert respond(b"HTTP/1.1 200 OK\r\nX-Note: one\r\n two\r\n\r\n").headers["X-Note"].split() == ["one", "two"]


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_responses_are_skipped(interim: bytes) -> None:
    response = respond(
        b"HTTP/1.1 " + interim + b"\r\nbroken\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    )
    assert (response.status, response.length) == (404, 0)


@pytest.mark.parametrize("header", [b"a" * 70_000, b"b:" + b"a" * 70_000])
def test_a_line_that_is_too_long_is_refused(header: bytes) -> None:
    with pytest.raises(HTTPException):
        respond(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
