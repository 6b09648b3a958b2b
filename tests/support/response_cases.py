"""Unusual responses of web servers: the behaviour of each path, and the outcome of its image."""

import gzip
import zlib
from dataclasses import dataclass

from tests.support.behaviours import (
    answer_twice,
    ask_for_cookie,
    be_busy_until,
    break_tls_after,
    close_after,
    continue_forever,
    declare_too_large,
    drip_body,
    drip_chunk_size,
    drip_head,
    drip_status_line,
    end_tls_after,
    fail_once,
    give_status,
    make_gzip_bomb,
    redirect_to,
    reset_at_once,
    reset_in_body,
    send_after,
    send_body,
    send_chunk_forever,
    send_chunks,
    send_damaged_gzip,
    send_endlessly,
    send_head_forever,
    send_headers,
    send_many_headers,
    send_raw,
    send_too_little,
    send_until_closed,
    send_wrong_chunk,
    set_cookie,
    stop_in_body,
    switch_protocol,
)
from tests.support.visits import JPEG, MAX_BYTES, PNG, RETRIES, WEBP, Behaviour, Visit


@dataclass(frozen=True)
class Case:
    """The behaviour of a path, the failure of its image (empty: it is downloaded), and the number of requests.

    `server` is a name of `make_tls_faults`, OWN for a server without other cases, or empty for the common one.
    `attempts` differs from `requests` for redirects, and for faults that end the connection before a request.
    """

    behave: Behaviour
    code: str
    requests: int = 1
    body: bytes | None = None
    server: str = ""
    attempts: int = -1

    @property
    def is_retried(self) -> bool:
        """Whether a later run with the same options requests the image again."""
        return bool(self.code) and self.code not in NOT_RETRIED


OWN = "own"
NOT_RETRIED = {"not-found", "gone", "http-451", "opted-out", "not-an-image", "too-slow", "too-large"}


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
    "good": Case(send_body(JPEG), ""),
    "404": Case(give_status("404 Not Found"), "not-found"),
    "410": Case(give_status("410 Gone"), "gone"),
    "403": Case(give_status("403 Forbidden"), "forbidden"),
    "401": Case(give_status("401 Unauthorized", WWW_Authenticate='Basic realm="photos"'), "unauthorized"),
    "451": Case(give_status("451 Unavailable For Legal Reasons"), "http-451"),
    "408": Case(give_status("408 Request Timeout"), "http-408", TWICE),
    "408-then-good": Case(fail_once(give_status("408 Request Timeout")), "", 2),
    "425": Case(give_status("425 Too Early"), "http-425", TWICE),
    "425-then-good": Case(fail_once(give_status("425 Too Early")), "", 2),
    "202": Case(give_status("202 Accepted"), "http-202"),
    "203": Case(give_status("203 Non-Authoritative Information"), "http-203"),
    "300": Case(give_status("300 Multiple Choices"), "http-300"),
    "304": Case(lambda visit: visit.head("304 Not Modified"), "http-304"),
    "400": Case(give_status("400 Bad Request"), "http-400"),
    "402": Case(give_status("402 Payment Required"), "http-402"),
    "406": Case(give_status("406 Not Acceptable"), "http-406"),
    "420": Case(give_status("420 Enhance Your Calm"), "http-420"),
    "423": Case(give_status("423 Locked"), "http-423"),
    "499": Case(give_status("499 Client Closed Request"), "http-499"),
    "502": Case(give_status("502 Bad Gateway"), "server-error", TWICE),
    "504-then-good": Case(fail_once(give_status("504 Gateway Timeout")), "", 2),
    "520": Case(give_status("520 Web Server Returned an Unknown Error"), "server-error", TWICE),
    "700": Case(give_status("700 Unknown"), "server-error", TWICE),
    "204": Case(give_status("204 No Content"), "http-204"),
    "206": Case(give_status("206 Partial Content"), "http-206"),
    "418": Case(give_status("418 I'm a teapot"), "http-418"),
    "500": Case(give_status("500 Internal Server Error"), "server-error", TWICE),
    "429-always": Case(give_status("429 Too Many Requests"), "too-many-requests", TWICE),
    "429-then-good": Case(fail_once(give_status("429 Too Many Requests", Retry_After="1")), "", 2),
    "429-until-a-date": Case(be_busy_until("429 Too Many Requests", 2), "", 2),
    "503-then-good": Case(fail_once(give_status("503 Service Unavailable")), "", 2),
    "503-for-a-second": Case(fail_once(give_status("503 Service Unavailable", Retry_After="1")), "", 2),
    "503-until-a-date": Case(be_busy_until("503 Service Unavailable", 2), "", 2),
    "retry-after-nonsense": Case(fail_once(give_status("503 Busy", Retry_After="\xb2")), "", 2),
    "retry-after-year-1": Case(
        fail_once(give_status("503 Busy", Retry_After="Mon, 01 Jan 0001 00:00:00 -0000")), "", 2
    ),
    "reset-then-good": Case(fail_once(reset_at_once), "", 2),
    "reset-in-body-then-good": Case(fail_once(reset_in_body), "", 2),
    "closed": Case(lambda visit: None, "connection", TWICE),
    "closed-then-good": Case(fail_once(lambda visit: None), "", 2),
    "garbage": Case(lambda visit: visit.send(JPEG), "connection", TWICE),
    "many-headers": Case(send_many_headers, "connection", TWICE),
    "short": Case(send_too_little, "truncated", TWICE),
    "short-then-good": Case(fail_once(send_too_little), "", 2),
    "until-closed": Case(send_until_closed, ""),
    "until-closed-cut": Case(close_after(JPEG[:-100]), "truncated", TWICE),
    "until-closed-cut-in-signature": Case(close_after(PNG[:6]), "truncated", TWICE),
    "until-closed-png-cut": Case(close_after(PNG[:-30]), "truncated", TWICE),
    "until-closed-webp-cut": Case(close_after(WEBP[:-30]), "truncated", TWICE),
    "until-closed-html": Case(close_after(HTML), "not-an-image"),
    "chunked": Case(send_chunks(JPEG[:100], JPEG[100:], b""), ""),
    "chunked-broken-off": Case(send_chunks(JPEG[:100], JPEG[100:]), "truncated", TWICE),
    "chunked-wrong": Case(send_wrong_chunk, "truncated", TWICE),
    "endless": Case(send_endlessly, "too-large"),
    "declared-too-large": Case(declare_too_large, "too-large"),
    "too-large": Case(send_body(JPEG + bytes(MAX_BYTES)), "too-large"),
    "drip-body": Case(drip_body, "too-slow"),
    "drip-head": Case(drip_head, "too-slow"),
    "drip-status-line": Case(drip_status_line, "too-slow"),
    "drip-chunk-size": Case(drip_chunk_size, "too-slow"),
    "continue-forever": Case(continue_forever, "too-slow"),
    "continue-then-good": Case(send_after("100 Continue", "100 Continue"), ""),
    "processing-then-good": Case(send_after("102 Processing", "102 Processing"), ""),
    "early-hints-then-good": Case(send_after("100 Continue", "103 Early Hints"), ""),
    "other-protocol": Case(switch_protocol, "http-101"),
    "two-answers": Case(answer_twice, ""),
    "silent": Case(Visit.wait, "timeout", TWICE),
    "silent-in-body": Case(stop_in_body, "timeout", TWICE),
    "empty": Case(send_body(b""), "empty"),
    "chunked-empty": Case(send_chunks(b""), "empty"),
    "html": Case(send_body(HTML), "not-an-image"),
    "json": Case(send_body(b'{"error": "no such photo"}'), "not-an-image"),
    "svg": Case(send_body(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "not-an-image"),
    "png.jpg": Case(send_body(PNG), "", body=PNG),
    "webp.jpg": Case(send_body(WEBP), "", body=WEBP),
    "octets": Case(send_body(JPEG, "application/octet-stream"), ""),
    "gzip": Case(send_body(gzip.compress(JPEG), Content_Encoding="gzip"), ""),
    "gzip-cut": Case(send_body(gzip.compress(JPEG)[:-200], Content_Encoding="gzip"), "truncated", TWICE),
    "gzip-without-trailer": Case(send_body(gzip.compress(JPEG)[:-8], Content_Encoding="gzip"), ""),
    "gzip-damaged": Case(send_damaged_gzip, "truncated", TWICE),
    "deflate": Case(send_body(zlib.compress(JPEG), Content_Encoding="deflate"), ""),
    "header-without-colon": Case(send_headers("Powered by photos"), ""),
    "header-with-space-before-colon": Case(send_headers("X-Server : photos"), ""),
    "header-with-lone-cr": Case(send_headers("X-Note: one\rtwo"), ""),
    "header-with-second-status-line": Case(send_headers("HTTP/1.1 200 OK"), ""),
    "header-without-name": Case(send_headers(": nothing"), ""),
    "header-latin-1": Case(send_headers("X-Caf\xe9: au lait", "Server: caf\xe9"), ""),
    "header-folded": Case(send_headers("X-Note: one", "  two"), ""),
    "header-unparsable-and-short": Case(send_headers("no header", length=len(JPEG) + 10), "timeout", TWICE),
    "gzip-bomb": Case(send_body(make_gzip_bomb(), Content_Encoding="gzip"), "too-large"),
    "gzip-untrue": Case(send_body(JPEG, Content_Encoding="gzip"), "bad-encoding"),
    "redirect": Case(redirect_to("{url}/good"), ""),
    "redirect-relative": Case(redirect_to("good?from=here", "307 Temporary Redirect"), ""),
    "redirect-utf8": Case(redirect_to("/b\u00fctterfly".encode().decode("latin-1")), ""),
    "redirect-latin-1": Case(redirect_to("/caf\xe9 au lait"), ""),
    "redirect-with-space": Case(redirect_to("/with space"), ""),
    "redirect-without-scheme": Case(redirect_to("//127.0.0.1:1/a.jpg"), "connection", TWICE),
    "redirect-303": Case(redirect_to("/good", "303 See Other"), ""),
    "redirect-308": Case(redirect_to("/good", "308 Permanent Redirect"), ""),
    "redirect-for-cookie": Case(ask_for_cookie, "", 2, attempts=1),
    "redirect-nowhere": Case(give_status("302 Found"), "http-302"),
    "redirect-loop": Case(redirect_to("/redirect-loop"), "too-many-redirects", 6, attempts=1),
    "redirect-metadata": Case(redirect_to("http://169.254.169.254/latest/meta-data/"), "blocked-address"),
    "redirect-loopback": Case(redirect_to("http://127.8.8.8:1/"), "blocked-address"),
    **{
        f"redirect-{name}": Case(redirect_to(f"http://{host}/a.jpg"), "blocked-address")
        for name, host in INSIDE.items()
    },
    "redirect-file": Case(redirect_to("file:///etc/passwd"), "bad-redirect"),
    "redirect-data": Case(redirect_to("data:image/gif;base64,R0lGODlhAQABAAAAACw="), "bad-redirect"),
    "redirect-unparsable": Case(redirect_to("http://[half"), "bad-redirect"),
    "redirect-no-port": Case(redirect_to("http://127.0.0.1:port/a.jpg"), "bad-redirect"),
    "noai": Case(send_body(JPEG, X_Robots_Tag="noai"), "opted-out"),
    "noimageai": Case(send_body(JPEG, X_Robots_Tag="index, NoImageAI"), "opted-out"),
    "noindex": Case(send_body(JPEG, X_Robots_Tag="noindex"), "opted-out"),
    "noimageindex": Case(send_body(JPEG, X_Robots_Tag="nofollow,noimageindex"), "opted-out"),
    "noml": Case(send_body(JPEG, X_Robots_Tag="NoML"), "opted-out"),
    "tdm-reservation": Case(send_body(JPEG, tdm_reservation="1"), "opted-out"),
    "tdm-reservation-0": Case(send_body(JPEG, tdm_reservation="0"), ""),
    "noai-for-us": Case(send_body(JPEG, X_Robots_Tag="otherbot: all, GBIF-WebDataset-Test: noai"), "opted-out"),
    "noai-for-all-by-name": Case(send_body(JPEG, X_Robots_Tag="*: noai"), "opted-out"),
    "noai-in-second-tag": Case(send_headers("X-Robots-Tag: otherbot: nofollow", "X-Robots-Tag: noai"), "opted-out"),
    "noai-after-a-date": Case(
        send_body(JPEG, X_Robots_Tag="unavailable_after: Sat, 25 Jul 2099 15:00:00 GMT, max-snippet: 5, noai"),
        "opted-out",
    ),
    "googlebot-noindex": Case(send_body(JPEG, X_Robots_Tag="googlebot: noindex"), ""),
    "otherbot-several": Case(send_body(JPEG, X_Robots_Tag="otherbot: noai, noimageai"), ""),
    "all-robots": Case(send_body(JPEG, X_Robots_Tag="all, nosnippet"), ""),
    "cookie": Case(set_cookie, ""),
}
for _hop in range(1, 7):
    CASES[f"chain-{_hop}"] = Case(redirect_to(f"/chain-{_hop - 1}"), "" if _hop < 6 else "too-many-redirects")
for _status in (201, 207, 226, 305, 306, 405, 407, 409, 412, 413, 415, 416, 417, 421, 422, 424, 426, 428, 431, 444, 495):  # fmt: skip
    CASES[str(_status)] = Case(give_status(f"{_status} Unusual"), f"http-{_status}")
for _status in (501, 505, 507, 511, 521, 522, 525, 530, 598, 999):
    CASES[str(_status)] = Case(give_status(f"{_status} Unusual"), "server-error", TWICE)
for _name, _value in {
    "negative": "-5",
    "exponent": "1e9",
    "text": "soon",
    "empty": "",
    "fraction": "0.5",
    "past-date": "Sun, 06 Nov 1994 08:49:37 GMT",
    "old-date": "Sunday, 06-Nov-94 08:49:37 GMT",
    "bad-date": "Foo, 99 Nov 2024 99:99:99 GMT",
    "list": "1, 1",
}.items():
    CASES[f"429-retry-after-{_name}"] = Case(fail_once(give_status("429 Busy", Retry_After=_value)), "", 2)
for _name, _value in {
    "billion": "1000000000",
    "digits": "9" * 400,
    "year-9999": "Fri, 31 Dec 9999 23:59:59 GMT",
}.items():  # the host asks for a longer pause than a run waits
    CASES[f"429-retry-after-{_name}"] = Case(
        give_status("429 Too Many Requests", Retry_After=_value), "host-unavailable", 1, server=OWN
    )
OTHERS: dict[str, Behaviour] = {
    "chain-0": send_body(JPEG),
    "target": send_body(JPEG),
    "redirect-query-only?from=there": send_body(JPEG),
    "b%C3%BCtterfly": send_body(JPEG),
    "caf%E9%20au%20lait": send_body(JPEG),
    "with%20space": send_body(JPEG),
    "good?from=here": send_body(JPEG),
}
RAW_RESPONSES: dict[str, tuple[bytes, str, int]] = {
    "http-1.0": (b"HTTP/1.0 200 OK\r\n\r\n{body}", "", 1),
    "http-1.2": (b"HTTP/1.2 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}", "", 1),
    "icy": (b"ICY 200 OK\r\n\r\n{body}", "connection", TWICE),
    "http-2-frame": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "connection", TWICE),
    "status-without-reason": (b"HTTP/1.1 200\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}", "", 1),
    "status-text": (b"HTTP/1.1 OK\r\nContent-Length: {length}\r\n\r\n{body}", "connection", TWICE),
    "status-2000": (b"HTTP/1.1 2000 OK\r\nContent-Length: {length}\r\n\r\n{body}", "connection", TWICE),
    "status-099": (b"HTTP/1.1 099 Odd\r\nContent-Length: {length}\r\n\r\n{body}", "connection", TWICE),
    "empty-line-first": (
        b"\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}",
        "connection",
        TWICE,
    ),
    "lines-end-with-lf": (b"HTTP/1.1 200 OK\nConnection: close\nContent-Length: {length}\n\n{body}", "", 1),
    "head-only": (b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n", "connection", TWICE),
    "length-twice": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n\r\n{body}",
        "",
        1,
    ),
    "length-contradictory": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Length: 100\r\n\r\n{body}",
        "connection",
        TWICE,
    ),
    "length-list": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}, {length}\r\n\r\n{body}", "", 1),
    "length-negative": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{body}", "", 1),
    "length-text": (b"HTTP/1.1 200 OK\r\nContent-Length: all\r\n\r\n{body}", "", 1),
    "length-zero-with-body": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n{body}", "empty", 1),
    "length-and-chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "truncated",
        TWICE,
    ),
    "chunk-size-negative": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{body}\r\n0\r\n\r\n",
        "truncated",
        TWICE,
    ),
    "chunk-size-huge": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{body}",
        "truncated",
        TWICE,
    ),
    "chunk-size-too-small": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{body}\r\n0\r\n\r\n",
        "truncated",
        TWICE,
    ),
    "transfer-encoding-unknown": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{body}", "", 1),
}
for _name, (_response, _code, _requests) in RAW_RESPONSES.items():
    CASES[_name] = Case(send_raw(_response), _code, _requests)
CASES |= {
    # The image is complete according to its length. That it ends early is found when it is verified.
    "length-too-small": Case(
        send_raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 300\r\n\r\n{body}"), "", body=JPEG[:300]
    ),
    "206-of-a-part": Case(
        send_body(JPEG[:100], status="206 Partial Content", Content_Range=f"bytes 0-99/{len(JPEG)}"), "http-206"
    ),
    "200-of-a-part": Case(send_body(JPEG[:100], Content_Range=f"bytes 0-99/{len(JPEG)}"), "", body=JPEG[:100]),
    "chunk-with-extension-and-trailer": Case(
        send_raw(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n{body}\r\n0\r\nX-End: 1\r\n\r\n"
            % len(JPEG)
        ),
        "",
    ),
    "chunked-in-capitals": Case(
        send_raw(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\ntransfer-encoding: CHUNKED\r\n\r\n%X\r\n{body}\r\n0\r\n\r\n"
            % len(JPEG)
        ),
        "",
    ),
    "head-forever": Case(send_head_forever, "connection", TWICE),
    "chunk-size-forever": Case(send_chunk_forever, "connection", TWICE),
    "deflate-raw": Case(send_body(zlib.compress(JPEG, wbits=-15), Content_Encoding="deflate"), ""),
    "x-gzip": Case(send_body(gzip.compress(JPEG), Content_Encoding="X-GZIP"), ""),
    "gzip-twice": Case(send_body(gzip.compress(gzip.compress(JPEG)), Content_Encoding="gzip, gzip"), ""),
    "gzip-in-two-members": Case(
        send_body(gzip.compress(JPEG[:300]) + gzip.compress(JPEG[300:]), Content_Encoding="gzip"), ""
    ),
    "gzip-and-more": Case(send_body(gzip.compress(JPEG) + b"more", Content_Encoding="gzip"), ""),
    "gzip-empty": Case(send_body(gzip.compress(b""), Content_Encoding="gzip"), "empty"),
    "gzip-html": Case(send_body(gzip.compress(HTML), Content_Encoding="gzip"), "not-an-image"),
    "gzip-ten-layers": Case(send_body(JPEG, Content_Encoding=", ".join(["gzip"] * 10)), "bad-encoding"),
    "br": Case(send_body(b"\x0b\x02\x80brotli\x03" * 20, Content_Encoding="br"), "bad-encoding"),
    "br-untrue": Case(send_body(JPEG, Content_Encoding="br"), ""),
    "zstd": Case(send_body(b"\x28\xb5\x2f\xfd" + bytes(100), Content_Encoding="zstd"), "bad-encoding"),
    "encoding-unknown": Case(send_body(JPEG, Content_Encoding="utf-8"), ""),
    "encoding-unknown-not-an-image": Case(send_body(bytes(range(100)), Content_Encoding="aws-chunked"), "bad-encoding"),
    "encoding-identity-html": Case(send_body(HTML, Content_Encoding="identity"), "not-an-image"),
    "text-html-with-image": Case(send_body(JPEG, "text/html"), ""),
    "without-type": Case(close_after(JPEG), ""),
    "pdf": Case(send_body(b"%PDF-1.7" + bytes(100), "image/jpeg"), "not-an-image"),
    "mp4": Case(send_body(b"\0\0\0\x18ftypmp42" + bytes(100)), "not-an-image"),
    "spaces": Case(send_body(b" " * 500), "not-an-image"),
    "redirect-301-with-body": Case(
        lambda visit: visit.answer(HTML, "301 Moved Permanently", "text/html", Location="/target"), ""
    ),
    "redirect-empty": Case(redirect_to(""), "http-302"),
    "redirect-query-only": Case(redirect_to("?from=there"), ""),
    "redirect-fragment": Case(redirect_to("/target#part"), ""),
    "redirect-dots": Case(redirect_to("/a/../target"), ""),
    "redirect-backslash": Case(redirect_to("\\target"), ""),
    "redirect-idn": Case(
        redirect_to("http://b\u00fcb\u00fc.invalid/a.jpg".encode().decode("latin-1")), "name-not-resolved", TWICE
    ),
    "redirect-password": Case(redirect_to("http://someone:secret@127.8.8.8/a.jpg"), "blocked-address"),
    "redirect-ftp": Case(redirect_to("ftp://127.0.0.1/a.jpg"), "bad-redirect"),
    "redirect-javascript": Case(redirect_to("javascript:alert(1)"), "bad-redirect"),
    "redirect-twice-stated": Case(
        send_raw(
            b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /target\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
        ),
        "bad-redirect",
    ),
    "refresh-instead-of-redirect": Case(
        lambda visit: visit.answer(HTML, kind="text/html", Refresh="0; url=/target"), "not-an-image"
    ),
    "none": Case(send_body(JPEG, X_Robots_Tag="none"), "opted-out"),
    "noai-with-spaces": Case(send_body(JPEG, X_Robots_Tag=" \t NOAI ;"), "opted-out"),
    "noai-for-us-then-for-others": Case(
        send_body(JPEG, X_Robots_Tag="gbif-webdataset-test: noai, otherbot: all"), "opted-out"
    ),
    "noai-after-another-robot": Case(
        send_headers("X-Robots-Tag: otherbot: noai", "X-Robots-Tag: gbif-webdataset-test: noai"), "opted-out"
    ),
    "tdm-reservation-twice": Case(send_headers("tdm-reservation: 1", "TDM-Reservation: 1"), "opted-out"),
    "tdm-reservation-contradictory": Case(send_headers("tdm-reservation: 0", "tdm-reservation: 1"), "opted-out"),
    "tdm-reservation-unknown": Case(send_headers("tdm-reservation: yes"), "opted-out"),
    "tdm-reservation-after-broken-line": Case(send_headers("broken", "tdm-reservation : 1"), "opted-out"),
    "noai-with-404": Case(give_status("404 Not Found", X_Robots_Tag="noai"), "not-found"),
    "tls-sound": Case(send_body(JPEG), "", server="sound"),
    "tls-404": Case(give_status("404 Not Found"), "not-found", server="sound"),
    "tls-redirect": Case(redirect_to("/target"), "", server="sound"),
    "tls-until-closed": Case(end_tls_after(JPEG), "", server="sound"),
    "tls-until-cut-off": Case(close_after(JPEG), "", server="sound"),
    "tls-incomplete-until-closed": Case(end_tls_after(JPEG[:-200]), "truncated", TWICE, server="sound"),
    "tls-incomplete-until-cut-off": Case(close_after(JPEG[:-200]), "truncated", TWICE, server="sound"),
    "tls-length-and-cut-off": Case(
        close_after(JPEG[:-200], Content_Length=str(len(JPEG))), "truncated", TWICE, server="sound"
    ),
    "tls-chunked-and-cut-off": Case(send_chunks(JPEG[:100], JPEG[100:]), "truncated", TWICE, server="sound"),
    "tls-broken-record": Case(break_tls_after(JPEG[:-200]), "tls", TWICE, server="sound"),
    "tls-reset-in-body": Case(reset_in_body, "truncated", TWICE, server="sound"),
    "tls-closed-without-answer": Case(lambda visit: None, "connection", TWICE, server="sound"),
}
for _name, _code, _attempts in (
    ("self-signed", "bad-certificate", 1),
    ("expired", "bad-certificate", 1),
    ("wrong-host", "bad-certificate", 1),
    ("old-version", "tls", TWICE),
    ("plain-400", "tls", TWICE),
    ("plain-503", "tls", TWICE),
    ("alert", "tls", TWICE),
    ("end", "tls", TWICE),
    ("cut-record", "tls", TWICE),
    ("reset", "connection", TWICE),
    ("silent", "timeout", TWICE),
    ("drip", "timeout", TWICE),
):
    CASES[f"tls-{_name}"] = Case(send_body(JPEG), _code, 0, server=_name, attempts=_attempts)
