"""What servers of the tests do with a request, as real hosts do."""

import gzip
import time
from email.utils import formatdate

from tests.support.visits import JPEG, PNG, Behaviour, Visit


def give_status(status: str, **headers: str) -> Behaviour:
    return lambda visit: visit.answer(b"an error page", status, "text/html", **headers)


def send_body(body: bytes, kind: str = "image/jpeg", status: str = "200 OK", **headers: str) -> Behaviour:
    return lambda visit: visit.answer(body, status, kind, **headers)


def be_busy_until(status: str, seconds: float) -> Behaviour:
    """Busy at first, and good from a date on."""

    def behave(visit: Visit) -> None:
        if visit.number == 1:
            visit.answer(b"", status, Retry_After=formatdate(time.time() + seconds, usegmt=True))
        else:
            visit.answer(JPEG)

    return behave


def fail_once(first: Behaviour) -> Behaviour:
    return lambda visit: first(visit) if visit.number == 1 else visit.answer(JPEG)


def redirect_to(location: str, status: str = "302 Found") -> Behaviour:
    return lambda visit: visit.answer(b"", status, Location=location.format(url=visit.server.url))


def reset_in_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.send(JPEG[:100])
    time.sleep(0.1)
    visit.reset()


def reset_at_once(visit: Visit) -> None:
    visit.reset()


def send_too_little(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG) + 10))
    visit.send(JPEG)


def send_until_closed(visit: Visit) -> None:
    visit.head()
    visit.send(JPEG)


def send_chunks(*chunks: bytes) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.head(Transfer_Encoding="chunked")
        for chunk in chunks:
            visit.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        visit.keep_alive = not chunks[-1]

    return behave


def send_wrong_chunk(visit: Visit) -> None:
    send_chunks(JPEG[:200])(visit)
    visit.send(b"no-number\r\n" + JPEG[200:])


def send_endlessly(visit: Visit) -> None:
    visit.head()
    visit.send(JPEG)
    while not visit.server.stopping.is_set():
        visit.send(bytes(65536))


def drip_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.drip(JPEG)


def drip_head(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"a" * 500)


def drip_status_line(visit: Visit) -> None:
    visit.drip(b"HTTP/1.1 200 " + b"O" * 500)


def drip_chunk_size(visit: Visit) -> None:
    send_chunks(JPEG)(visit)
    visit.drip(b"0" * 500)


def continue_forever(visit: Visit) -> None:
    for _ in range(500):
        visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def send_after(*interim: str) -> Behaviour:
    """Interim answers (1xx), each with a header, before the final answer (RFC 9110, 15.2)."""

    def behave(visit: Visit) -> None:
        for status in interim:
            visit.head(status, Link="</style.css>; rel=preload")
            time.sleep(0.05)
        visit.answer(JPEG)

    return behave


def switch_protocol(visit: Visit) -> None:
    visit.head("101 Switching Protocols", Upgrade="photos/2.0")
    visit.keep_alive = True


def answer_twice(visit: Visit) -> None:
    """Two answers to one request, in one piece, like a server that lost count.

    A second answer that arrives later could not be distinguished from the answer to the next request.
    """
    pieces: list[bytes] = []
    send, visit.send = visit.send, pieces.append
    visit.answer(JPEG)
    visit.answer(PNG)
    send(b"".join(pieces))


def stop_in_body(visit: Visit) -> None:
    visit.head(Content_Length=str(len(JPEG)))
    visit.send(JPEG[:100])
    visit.wait()


def send_many_headers(visit: Visit) -> None:
    visit.head(**{f"X-{number}": "y" for number in range(200)})


def declare_too_large(visit: Visit) -> None:
    visit.head(Content_Length=str(10**12))
    visit.send(JPEG)


def send_damaged_gzip(visit: Visit) -> None:
    """A code whose second half is damaged."""
    code = gzip.compress(JPEG)
    middle = len(code) // 2
    visit.head(Content_Encoding="gzip", Content_Length=str(len(code)))
    visit.send(code[:middle])
    time.sleep(0.1)
    visit.send(b"\xff" * 100 + code[middle + 100 :])


def make_gzip_bomb() -> bytes:
    return gzip.compress(JPEG + bytes(20_000_000), 9)


def send_headers(*lines: str, body: bytes = JPEG, length: int | None = None) -> Behaviour:
    """Good, with these lines before the length of the body, and a connection that stays open."""

    def behave(visit: Visit) -> None:
        declared = len(body) if length is None else length
        visit.lines("HTTP/1.1 200 OK", *lines, f"Content-Length: {declared}", "Content-Type: image/jpeg")
        visit.send(body)
        visit.keep_alive = True

    return behave


def close_after(body: bytes, **headers: str) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.head(**headers)
        visit.send(body)

    return behave


def ask_for_cookie(visit: Visit) -> None:
    """Redirect to itself until its cookie is sent back, like hosts that look for robots."""
    if "pass=1" in visit.headers.get("cookie", ""):
        visit.answer(JPEG)
    else:
        visit.answer(b"", "302 Found", Location=visit.path, Set_Cookie="pass=1; Path=/")


def set_cookie(visit: Visit) -> None:
    visit.answer(JPEG, Set_Cookie="session=secret; Path=/")


def send_raw(response: bytes) -> Behaviour:
    """Send a response byte for byte, and close. `{body}` stands for a sound JPEG, `{length}` for its length."""
    sent = response.replace(b"{length}", b"%d" % len(JPEG)).replace(b"{body}", JPEG)
    return lambda visit: visit.send(sent)


def send_head_forever(visit: Visit) -> None:
    """Send lines of a head until the client closes the connection."""
    visit.send(b"HTTP/1.1 200 OK\r\n")
    while not visit.server.stopping.is_set():
        visit.send(b"X-More: " + b"a" * 60_000 + b"\r\n")


def send_chunk_forever(visit: Visit) -> None:
    """Send the size of a chunk, which never ends."""
    visit.head(Transfer_Encoding="chunked")
    while not visit.server.stopping.is_set():
        visit.send(b"0" * 60_000)


def end_tls_after(body: bytes, **headers: str) -> Behaviour:
    """Close an encrypted connection in the right way after a body."""

    def behave(visit: Visit) -> None:
        visit.head(**headers)
        visit.send(body)
        visit.close_tls()

    return behave


def break_tls_after(body: bytes) -> Behaviour:
    """Send a record that is not encrypted after a body."""

    def behave(visit: Visit) -> None:
        visit.head()
        visit.send(body)
        visit.send_unencrypted(b"\x17\x03\x03\x00\x20" + bytes(32))

    return behave
