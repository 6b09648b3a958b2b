"""Servers of object storage on loopback: moto and rclone for S3, azurite for Azure, an emulator of Google's."""

import base64
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

KEY, SECRET = "AKIATESTKEYFORLOOPBACK", "verysecretkeyofthetests0123456789abcdef"
BUCKET = "moths"
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
PUBLIC = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": f"arn:aws:s3:::{BUCKET}/*"}
        ],
    }
)
START_SECONDS = 30.0


def find_free_port() -> int:
    """A port of loopback that nothing uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def run_server(command: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """The URL of a server that runs until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, f"{command[0]} does not listen"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def run_moto(folder: Path) -> Iterator[str]:
    """moto with the bucket BUCKET, which everybody may read over HTTP."""
    pytest.importorskip("moto.server", reason="optional: needs pip install -e .[dev]")
    port = find_free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with run_server(command, port, folder / "moto.log") as url:
        for address, body in ((f"{url}/{BUCKET}", b""), (f"{url}/{BUCKET}?policy", PUBLIC.encode())):
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="PUT")
            urllib.request.urlopen(request, timeout=10).close()
        yield url


@contextmanager
def run_rclone(folder: Path) -> Iterator[str]:
    """rclone serve s3 with the bucket BUCKET, which is a folder of `folder`."""
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip("optional: needs pip install -e .[dev]")
    port, root = find_free_port(), folder / "rclone"
    (root / BUCKET).mkdir(parents=True)
    keys = f"{KEY},{SECRET}"
    command = [str(program), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", keys, str(root)]
    with run_server(command, port, folder / "rclone.log") as url:
        yield url


def make_azurite_key() -> str:
    """The key that every azurite has, which its documentation names."""
    return "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def run_azurite(folder: Path) -> Iterator[str]:
    """azurite; its account is devstoreaccount1."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("optional: needs npm install -g azurite")
    port = find_free_port()
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    with run_server([*command, "--skipApiVersionCheck"], port, folder / "azurite.log") as url:
        yield f"{url}/devstoreaccount1"


def create_container(url: str) -> None:
    """Create the container BUCKET in azurite, through a signed request of the tests."""
    date = formatdate(usegmt=True)
    path = f"/devstoreaccount1/{BUCKET}"
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
    fields = ["PUT", "", "", "", "", "text/plain", *[""] * 6, headers, f"/devstoreaccount1{path}", "restype:container"]
    text = "\n".join(fields)
    digest = hmac.new(base64.b64decode(make_azurite_key()), text.encode(), "sha256").digest()
    request = urllib.request.Request(f"{url}/{BUCKET}?restype=container", method="PUT", data=b"")
    request.add_header("Content-Type", "text/plain")
    request.add_header("x-ms-date", date)
    request.add_header("x-ms-version", "2021-08-06")
    request.add_header("Authorization", f"SharedKey devstoreaccount1:{base64.b64encode(digest).decode()}")
    urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def run_gcs_emulator(folder: Path) -> Iterator[str]:
    """An emulator of Google Cloud Storage."""
    pytest.importorskip("gcp_storage_emulator", reason="optional: needs pip install gcp-storage-emulator")
    port = find_free_port()
    program = Path(sys.executable).with_name("gcp-storage-emulator")
    command = [str(program), "start", f"--port={port}", "--in-memory", f"--default-bucket={BUCKET}"]
    with run_server(command, port, folder / "gcs.log") as url:
        yield url
