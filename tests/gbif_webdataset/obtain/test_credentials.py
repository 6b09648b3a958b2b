import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.obtain import credentials
from gbif_webdataset.obtain.credentials import Credentials, find_credentials

API = "https://api.gbif.org"
ROOT = Path(__file__).parents[3]
TAKE = """
import os, subprocess, sys
from pathlib import Path
from gbif_webdataset.obtain.credentials import find_credentials, take_from_environment
seen = lambda: b"s3cret" in Path("/proc/self/environ").read_bytes()
before = seen()
take_from_environment()
found = find_credentials("https://api.gbif.org")
child = subprocess.run([sys.executable, "-c", "import os; print(dict(os.environ))"], capture_output=True, text=True).stdout
fork = os.fork()
if not fork:
    os._exit(seen())
status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
print(before, seen(), found.user, found.password, "s3cret" in child, "GBIF_USER" in child, "OTHER" in child, status, repr(found))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a process without a password."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(credentials, "_taken", {})
    for name in credentials.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_netrc(home: Path, text: str, mode: int = 0o600) -> None:
    (home / ".netrc").write_text(text)
    (home / ".netrc").chmod(mode)


def test_the_password_leaves_the_environment_of_the_process_and_of_its_children() -> None:
    variables = {**os.environ, "GBIF_USER": "moth", "GBIF_PWD": "s3cret =\u00e9", "OTHER": "x"}
    ended = subprocess.run(
        [sys.executable, "-c", TAKE], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "True False moth s3cret =\u00e9 False False True 0 Credentials(user='moth')\n"


def test_the_entry_of_the_host_in_netrc_is_used(home: Path) -> None:
    write_netrc(home, "machine example.org login a password b\nmachine api.gbif.org login moth password s3cret\n")
    assert find_credentials(API) == Credentials("moth", "s3cret")


@pytest.mark.parametrize("text", ["", "default login moth password s3cret\n", "machine gbif.org login a password b\n"])
def test_entries_of_other_hosts_are_not_used(text: str, home: Path) -> None:
    write_netrc(home, text)
    with pytest.raises(ParameterError, match=r"^api\.gbif\.org: GBIF needs your user name and password for this; set"):
        find_credentials(API)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("machine api.gbif.org login moth s3cret\n", 0o600, r"line \d is not valid"),
        ("machine api.gbif.org login moth password s3cret\n", 0o644, "others can read it"),
    ],
)
def test_a_netrc_that_cannot_be_used_gives_a_sentence_without_its_content(
    text: str, mode: int, reason: str, home: Path
) -> None:
    write_netrc(home, text, mode)
    with pytest.raises(ParameterError, match=f"^~/.netrc: {reason}; correct it") as error:
        find_credentials(API)
    assert "s3cret" not in str(error.value)


def make_latin_netrc(path: Path) -> None:
    path.write_bytes(b"machine api.gbif.org login moth password s3cret\xe9\n")
    path.chmod(0o600)


@pytest.mark.parametrize("make", [make_latin_netrc, Path.mkdir])
def test_a_netrc_that_cannot_be_read_gives_a_sentence(make: Callable[[Path], object], home: Path) -> None:
    make(home / ".netrc")
    with pytest.raises(ParameterError, match=r"^~/.netrc: it cannot be read; make it a file of UTF-8 text .*chmod 600"):
        find_credentials(API)


def test_the_password_is_not_sent_unencrypted(home: Path) -> None:
    write_netrc(home, "machine mirror.example.org login moth password s3cret\n")
    with pytest.raises(ParameterError, match="the password would be sent unencrypted; give an https:// address"):
        find_credentials("http://mirror.example.org")


def test_the_header_is_that_of_basic_authentication() -> None:
    assert Credentials("moth", "a:b\u00e9").make_header() == "Basic bW90aDphOmLDqQ=="
