"""Ways in which a server meets a client that wants an encrypted connection."""

import os
import socket
import ssl
import struct
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

Secure = Callable[[socket.socket], socket.socket]
"""Makes an accepted connection an encrypted one. It raises an OSError if it broke the connection."""

_ALERT = b"\x15\x03\x03\x00\x02\x02\x50"  # internal error
_CUT_RECORD = b"\x16\x03\x03\x00"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class BrokenConnectionError(OSError):
    """The server broke a connection on purpose."""


def make_tls_faults(folder: Path) -> dict[str, Secure]:
    """Each way by its name. Clients need to trust the certificate `folder`/authority.pem. It needs openssl."""
    _run_openssl(folder, "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=authority",
                 "-keyout", "authority.key", "-out", "authority.pem")  # fmt: skip
    _run_openssl(folder, "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=127.0.0.1",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "self-signed.key",
                 "-out", "self-signed.pem")  # fmt: skip
    _sign(folder, "sound", "IP:127.0.0.1", days=2)
    _sign(folder, "expired", "IP:127.0.0.1", days=-1)
    _sign(folder, "wrong-host", "DNS:photos.example", days=2)
    return {
        **{name: _encrypt_with(folder, name) for name in ("sound", "self-signed", "expired", "wrong-host")},
        "old-version": _encrypt_with(folder, "sound", newest=ssl.TLSVersion.TLSv1_1),
        "plain-400": _answer_hello(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        "plain-503": _answer_hello(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        "alert": _answer_hello(_ALERT),
        "end": _answer_hello(b""),
        "cut-record": _answer_hello(_CUT_RECORD),
        "reset": _reset,
        "silent": _stay_silent,
        "drip": _drip_record,
    }


def _sign(folder: Path, name: str, alternative: str, days: int) -> None:
    """Write a certificate of the authority for a name or address, and its key."""
    (folder / f"{name}.cnf").write_text(f"subjectAltName={alternative}\n")
    _run_openssl(folder, "req", *_KEY, "-subj", "/CN=photos", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    _run_openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                 "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.cnf", "-out", f"{name}.pem")  # fmt: skip


def _run_openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _encrypt_with(folder: Path, name: str, newest: ssl.TLSVersion | None = None) -> Secure:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if newest:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):  # Python warns about versions that are not safe
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    return lambda connected: context.wrap_socket(connected, server_side=True)


def _answer_hello(answer: bytes) -> Secure:
    """Answer the first message of the handshake with these bytes, and close the connection."""

    def break_connection(connected: socket.socket) -> socket.socket:
        connected.recv(4096)
        connected.sendall(answer)
        raise BrokenConnectionError

    return break_connection


def _reset(connected: socket.socket) -> socket.socket:
    connected.recv(1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connected.detach())
    raise BrokenConnectionError


def _stay_silent(connected: socket.socket) -> socket.socket:
    connected.settimeout(20)
    while connected.recv(4096):
        pass
    raise BrokenConnectionError


def _drip_record(connected: socket.socket) -> socket.socket:
    """Send a record of the handshake, one byte at a time, until the client closes the connection."""
    for byte in b"\x16\x03\x03\x10\x00" + bytes(4096):
        connected.sendall(bytes([byte]))
        time.sleep(0.1)
    raise BrokenConnectionError
