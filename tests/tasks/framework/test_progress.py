"""Progress as people see it: on a terminal one bar a stage, elsewhere plain lines."""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
COLUMNS = 80
IMAGES = 60
FAILED = 7
EML = '<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="10.15468/dl.abc123"/>'  # a DOI
META = """<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files><location>occurrence.txt</location></files><id index="0"/>
    <field index="1" term="http://rs.gbif.org/terms/1.0/acceptedTaxonKey"/>
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
             rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files><coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
  </extension>
</archive>
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive of `IMAGES` photos on loopback, `FAILED` of which are not there."""
    jpeg = BytesIO()
    Image.new("RGB", (90, 80), (180, 90, 40)).save(jpeg, "JPEG")

    class Photo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # The same bytes under two URLs would be duplicates.
            body = jpeg.getvalue() + self.path.encode() if "missing" not in self.path else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    path = tmp_path_factory.mktemp("archive") / "moths.zip"
    with ThreadingHTTPServer(("127.0.0.1", 0), Photo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with ZipFile(path, "w") as file:
            keys = range(IMAGES)
            file.writestr("meta.xml", META.replace("<archive ", '<archive metadata="eml.xml" '))
            file.writestr("eml.xml", EML)
            file.writestr("occurrence.txt", "id\ttaxon\n" + "".join(f"{key}\t5WZLF\n" for key in keys))
            names = [f"{'missing-' if key < FAILED else ''}{key}.jpg" for key in keys]
            file.writestr("multimedia.txt", "id\turl\n" + "".join(f"{key}\t{url}/{names[key]}\n" for key in keys))
        yield path
        server.shutdown()


def command(archive: Path, output: Path, *arguments: str, task: str = "ReportDataset") -> list[str]:
    given = f"""--dwca {archive} --output {output} --chunks 3 --FetchChunk-allow-addresses 127.0.0.1/32
        --FetchChunk-requests-per-second-per-host 0 --FetchChunk-retries 0""".split()
    return [sys.executable, "-m", "luigi", "--module", "tasks", task, *given, *arguments]


def on_a_terminal(arguments: list[str]) -> str:
    """Run a command on a pseudo-terminal; everything that it writes there."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "rows", "30", "cols", str(COLUMNS)], stdin=theirs, check=True)
    process = subprocess.Popen(arguments, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65_536):
            written += piece
    except OSError:  # how Linux tells that the last writer has closed a terminal
        pass
    os.close(ours)
    process.wait(60)
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that a terminal of endless height shows in the end."""
    assert all(len(drawn) < COLUMNS for drawn in re.findall(r"\r([^\r\n]+)", written)), "wider than the terminal"
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n", written):
        if token == "\x1b[A":
            row -= 1
            assert row >= 0, "drawn above the first line"
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        else:
            assert not token.startswith("\x1b"), f"an escape sequence that not every terminal knows: {token!r}"
            line = lines[row].ljust(column)
            lines[row] = line[:column] + token + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_three_workers_leave_one_full_bar_a_stage(archive: Path, tmp_path: Path) -> None:
    shown = screen(on_a_terminal(command(archive, tmp_path / "out", "--workers", "3")))
    bars = [line for line in shown if "%" in line]
    assert [bar.split()[0] for bar in bars] == ["read", "fetch", "verify", "shards"]
    assert shown[:4] == bars
    assert all(re.match(r"\w+ +100% █+ ", bar) for bar in bars)
    read, fetch, verify, shards = bars
    assert re.search(r" [\d.]+ k?B in 00:\d\d$", read)
    assert f"{IMAGES} images, {FAILED} failed in 00:" in fetch
    assert f"{IMAGES} images in 00:" in verify
    assert f"{IMAGES - FAILED} images in 00:" in shards
    assert shown[4] == archive.name
    assert "samples" in shown[5]


def test_an_error_stands_whole_between_the_bars(archive: Path, tmp_path: Path) -> None:
    limit = ("--FetchChunk-allow-addresses", "", "--workers", "3")
    shown = screen(on_a_terminal([*command(archive, tmp_path / "out"), *limit]))
    errors = [place for place, line in enumerate(shown) if line.startswith("ERROR: ")]
    assert len(errors) == 1
    assert all(line.split()[0] in ("read", "fetch", "verify") for line in shown[: errors[0]])
    assert len({line.split()[0] for line in shown[: errors[0]]}) == errors[0]


def test_without_a_terminal_there_are_plain_lines(archive: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        command(archive, tmp_path / "out", task="VerifyImages"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "\r" not in ended.stderr and "\x1b" not in ended.stderr
    lines = [re.sub(r"in \d\d:\d\d$", "in ...", line) for line in ended.stderr.splitlines()]
    assert lines[0] == f"Results: {tmp_path}/out. A line about the progress follows every 30 seconds."
    assert [line.split(":")[0] for line in lines[1:]] == ["read", "fetch", "verify"]
    assert lines[2:] == [
        f"fetch: {IMAGES} images, {FAILED} failed in ...",
        f"verify: {IMAGES} images in ...",
    ]


def test_the_bar_of_one_chunk_is_of_that_chunk(archive: Path, tmp_path: Path) -> None:
    one = command(archive, tmp_path / "out", "--chunk", "2", task="FetchChunk")
    ended = subprocess.run(one, cwd=ROOT, capture_output=True, text=True, check=True)
    told = re.findall(r"fetch: (\d+) images", ended.stderr)
    images = len(list((tmp_path / "out/images").rglob("*.jpg")))
    failed = sum(int(count) for count in re.findall(r"(\d+) failed", ended.stderr))
    assert [int(count) for count in told] == [images + failed]
    assert 0 < images < IMAGES
