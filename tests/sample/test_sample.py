"""The bundled sample: its archive has the planned oddities, its photos their faults, its server the planned answers."""

import io
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from sample.archive import BASE_URL, write_archive
from sample.photo_cache import load_photos
from sample.photos import encode
from sample.plan import FAULTS, Fault, Photo, make_plan
from sample.server import PhotoServer

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "sample" / "archive.zip"
Row = dict[str, str]


def _members(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rows(name: str) -> list[Row]:
    head, *lines = _members(ARCHIVE)[name].decode().removesuffix("\n").split("\n")
    return [dict(zip(head.split("\t"), line.split("\t"), strict=False)) for line in lines]


def _photo(fault: Fault) -> Photo:
    return next(photo for photo in make_plan().photos if photo.fault == fault)


def _get(url: str) -> tuple[int, bytes, Message]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def _serve(port: int, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sample.server", "--port", str(port), "--", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_the_bundled_archive_is_the_one_that_the_code_writes(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive.zip", BASE_URL)
    assert _members(tmp_path / "archive.zip") == _members(ARCHIVE)


def test_an_archive_is_written_twice_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_archive(tmp_path / name, "http://127.0.0.1:1")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_columns_and_lines_are_those_of_a_gbif_download() -> None:
    members = _members(ARCHIVE)
    for name, columns in (("occurrence.txt", 223), ("verbatim.txt", 190), ("multimedia.txt", 15)):
        lines = members[name].decode().split("\n")
        assert lines[-1] == "" and b"\r" not in members[name]
        widths = Counter(line.count("\t") + 1 for line in lines[:-1])
        assert widths[columns] == len(lines) - (1 if name == "verbatim.txt" else 2)
    assert b'default="WGS84"' in members["meta.xml"]
    assert b'packageId="10.15468/dl.sample"' in members["metadata.xml"]
    assert sum(name.startswith("dataset/") for name in members) == 4


def test_occurrences_have_the_oddities_of_real_ones() -> None:
    rows = _rows("occurrence.txt")
    assert len(rows) == 301 and all(int(row["gbifID"]) > 2**32 for row in rows)
    whole = [row for row in rows if "species" in row]
    keys = Counter(row["acceptedTaxonKey"] for row in whole)
    assert {"5WZLF", "6E4", "0012"} < keys.keys() and keys[""] == 5 and 1 in keys.values() and 2 in keys.values()
    assert {"NA", "GB", "BW"} < {row["countryCode"] for row in whole}
    stages = {"Adult", "ADULT", "Larva", "caterpillar", "Egg", ""}
    assert {row["lifeStage"] for row in whole} == stages
    quoted = [row["occurrenceRemarks"] for row in whole if '"' in row["occurrenceRemarks"]]
    assert len(quoted) == 4 and any('(1/8"")' in text for text in quoted)
    assert all(text[0] == text[-1] == '"' for text in quoted)


def test_media_have_the_oddities_of_real_ones() -> None:
    rows = _rows("multimedia.txt")
    ids = {row["gbifID"] for row in _rows("occurrence.txt") if "species" in row}
    whole = [row for row in rows if "identifier" in row]
    urls = Counter(row["identifier"] for row in whole if row["identifier"])
    per_occurrence = Counter(row["gbifID"].strip() for row in rows)
    assert len(rows) - len(whole) == 1
    assert Counter(row["type"] for row in rows) == {
        "StillImage": len(rows) - 8,
        "Sound": 3,
        "MovingImage": 3,
        "InteractiveResource": 2,
    }
    assert {"text/html", "image/jpg", "jpeg", ""} < {row["format"] for row in rows}
    assert sum(not row["identifier"] and bool(row["references"]) for row in whole) == 3
    assert sum(count > 1 for count in urls.values()) == 5
    pairs = Counter((row["gbifID"], row["identifier"]) for row in whole if row["identifier"])
    assert sum(count > 1 for count in pairs.values()) == 1
    assert sum(url.startswith("ftp://") for url in urls) == 1 and "images/IMG_2207.jpg" in urls
    assert sum(row["gbifID"].endswith(" ") for row in rows) == 1
    assert len({row["gbifID"].strip() for row in rows} - ids) == 2
    assert {1, 2, 3, 4, 5} == set(per_occurrence.values()) and ids - per_occurrence.keys()
    assert {"", "all rights reserved"} < {row["license"] for row in whole}


def test_each_fault_is_given_to_as_many_photos_as_planned() -> None:
    faults = Counter(photo.fault for photo in make_plan().photos if photo.fault)
    assert faults == FAULTS


def test_photos_decode_and_are_drawn_twice_with_the_same_bytes() -> None:
    stages = {photo.stage: photo for photo in make_plan().photos if not photo.fault}
    for photo in stages.values():
        content = encode(photo)
        assert content == encode(photo)
        image = Image.open(io.BytesIO(content))
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", photo.size)


def test_files_have_their_planned_faults() -> None:
    def opened(fault: Fault) -> Image.Image:
        return Image.open(io.BytesIO(encode(_photo(fault))))

    assert opened("png").format == "PNG"
    assert opened("grey").mode == "L" and opened("cmyk").mode == "CMYK"
    assert opened("rotated").getexif()[0x0112] == 6
    assert max(opened("thumbnail").size) <= 120
    with pytest.raises(OSError, match="truncated"):
        opened("truncated").load()


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("missing", [404]),
        ("gone", [410]),
        ("broken", [500]),
        ("busy", [503, 200]),
        ("moved", [200]),
        ("html", [200]),
        ("empty", [200]),
        ("truncated", [200]),
        ("opted-out", [200]),
    ],
)
def test_the_server_answers_as_planned(fault: Fault, statuses: list[int]) -> None:
    path = _photo(fault).path
    with PhotoServer() as server:
        answers = [_get(server.url + path) for _ in statuses]
        requests = server.requests
    assert [status for status, _, _ in answers] == statuses
    asked = [(path, 302), ("/moved" + path, 200)] if fault == "moved" else [(path, status) for status in statuses]
    assert requests == asked
    status, body, headers = answers[-1]
    if status == 200:
        assert headers["Content-Type"] == "image/jpeg" and int(headers["Content-Length"]) == len(body)
    assert (answers[0][2]["Retry-After"] == "0") is (fault == "busy")
    assert (headers["X-Robots-Tag"] is not None) is (fault == "opted-out")
    assert body.startswith(b"<!DOCTYPE") is (fault == "html") and (body == b"") is (fault == "empty")


def test_a_url_of_no_photo_is_answered_with_a_page_or_404() -> None:
    with PhotoServer() as server:
        assert _get(server.url + "/museum/specimens/1")[2]["Content-Type"].startswith("text/html")
        assert _get(server.url + "/nothing.jpg")[0] == 404


def test_the_exit_status_is_that_of_the_command() -> None:
    port = _free_port()
    path = _photo("grey").path
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}'); raise SystemExit(7)"
    load_photos(make_plan().photos)
    done = _serve(port, sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (7, "")
    assert re.fullmatch(r"The run took \d+\.\d s\.\n", done.stderr)


def test_a_port_in_use_ends_with_one_sentence_and_runs_no_command(tmp_path: Path) -> None:
    with PhotoServer() as server:
        port = int(server.url.rsplit(":", 1)[1])
        done = _serve(port, "touch", str(tmp_path / "ran"))
    assert done.returncode == 2 and not (tmp_path / "ran").exists()
    assert done.stderr == f"port {port} on 127.0.0.1 is in use, perhaps by another sample run: stop it and retry.\n"


def test_a_signal_is_forwarded_to_the_command(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = (
        f"import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(5)); "
        f"pathlib.Path({str(started)!r}).touch(); time.sleep(20)"
    )
    command = [sys.executable, "-m", "sample.server", "--port", str(_free_port()), "--", sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 15
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 5
