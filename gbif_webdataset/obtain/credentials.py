"""User name and password at GBIF: from the environment or ~/.netrc, and never in the environment of other processes."""

import ctypes
import netrc
import os
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gbif_webdataset.errors import ParameterError

USER, PASSWORD = VARIABLES = ("GBIF_USER", "GBIF_PWD")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NETRC = "~/.netrc"
PROCESS_ENVIRONMENT = Path("/proc/self/environ")


@dataclass(frozen=True)
class Credentials:
    """A user's name and password, which no text shows."""

    user: str
    password: str = field(repr=False)

    def make_header(self) -> str:
        """Return the value of the header Authorization (RFC 7617)."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()


_taken: dict[str, str] = {}


def take_from_environment() -> None:
    """Move the user name and password from the environment into the memory of this process.

    Processes that it starts do not inherit them, and /proc/<id>/environ of this process and of its forks does not show
    them.
    """
    for name in VARIABLES:
        if name in os.environ:
            _taken[name] = os.environ[name]
            if PROCESS_ENVIRONMENT.exists():
                _overwrite(name)
            del os.environ[name]


def find_credentials(api: str) -> Credentials:
    """Return the user's name and password for the host of `api`.

    Raises:
        ParameterError: there are none, or `api` would receive them unencrypted.
    """
    parts = urlsplit(api)
    host = parts.hostname or ""
    if parts.scheme != "https" and host not in LOOPBACK:
        raise ParameterError.at(f"api {api}", "the password would be sent unencrypted", "give an https:// address")
    if all(map(_taken.get, VARIABLES)):
        return Credentials(_taken[USER], _taken[PASSWORD])
    if found := _read_netrc(host):
        return found
    problem = "GBIF needs your user name and password for this"
    remedy = f"set {USER} and {PASSWORD}, or add a line to {NETRC}: machine {host} login NAME password PASSWORD"
    raise ParameterError.at(host, problem, remedy)


def _read_netrc(host: str) -> Credentials | None:
    """Return the entry of a host. An entry `default` does not count, because it is for other hosts."""
    try:
        entry = netrc.netrc().hosts.get(host)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:  # its text may quote a password
        reason = "others can read it" if "permissive" in error.msg else f"line {error.lineno} is not valid"
        raise ParameterError.at(
            NETRC, reason, f"correct it (chmod 600 {NETRC}), or set {USER} and {PASSWORD}"
        ) from None
    except (OSError, UnicodeDecodeError):
        remedy = (
            f"make it a file of UTF-8 text that only you can read (chmod 600 {NETRC}), or set {USER} and {PASSWORD}"
        )
        raise ParameterError.at(NETRC, "it cannot be read", remedy) from None
    return Credentials(entry[0], entry[2]) if entry and entry[0] and entry[2] else None


def _overwrite(name: str) -> None:
    """Overwrite a variable's value with zeros where the process got it, which PROCESS_ENVIRONMENT shows."""
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    prefix = f"{name}=".encode()
    at = 0
    while address := entries[at]:
        if ctypes.string_at(address).startswith(prefix):
            length = len(ctypes.string_at(address)) - len(prefix)
            ctypes.memset(address + len(prefix), 0, length)
        at += 1
