"""Bad input on the command line gives one clear sentence, a status other than 0, and no traceback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
OCCURRENCES = 24
FAILED, UNHANDLED, USAGE = 30, 40, 2
CORE = """  <core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files><location>occurrence.txt</location></files><id index="0"/>
    <field index="1" term="http://rs.gbif.org/terms/1.0/datasetKey"/>
    <field index="2" term="http://rs.gbif.org/terms/1.0/acceptedTaxonKey"/>
  </core>
"""
MEDIA = """  <extension encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy=""
        ignoreHeaderLines="1" rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files><coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
  </extension>
"""


class Ended(NamedTuple):
    """How a command ended. `sentence` is its only line of error."""

    status: int
    sentence: str
    stderr: str


# Runs each command line in a fork of a process that has imported everything, because imports take most of a short run.
FORKS = """
import json, os, sys
import luigi.cmdline, tasks
for line in sys.stdin:
    arguments, out, err = json.loads(line)
    child = os.fork()
    if not child:
        for file, handle in ((out, 1), (err, 2)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
        luigi.cmdline.luigi_run(arguments)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process with Luigi and the tasks imported, that runs one command after the other."""

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "400"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """What `luigi --module tasks` does with these arguments."""
        assert self.process.stdin is not None and self.process.stdout is not None
        command = ["--module", "tasks", *map(str, arguments)]
        print(json.dumps([command, str(self._out), str(self._err)]), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(command, status, self._out.read_text(), self._err.read_text())


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Where commands are run that need no process of their own."""
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    with forks.process as process:
        process.terminate()


def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a task as people do."""
    command = [sys.executable, "-m", "luigi", "--module", "tasks", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def failure(ended: "subprocess.CompletedProcess[str]") -> Ended:
    """Return how a command failed, after checks that apply to every failure."""
    assert ended.returncode != 0, ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    lines = ended.stderr.splitlines()
    errors = [line for line in lines if line.startswith("ERROR: ")]
    progress_or_reason = re.compile(r"(read|fetch|verify|shards|[A-Z]\w+): ")
    note = "the DOI of the archive is not known"  # these archives have no metadata
    noise = [line for line in lines if line not in errors and not progress_or_reason.match(line) and note not in line]
    assert len(errors) == 1 and not noise, ended.stderr
    return Ended(ended.returncode, errors[0].removeprefix("ERROR: "), ended.stderr)


def meta(*parts: str) -> str:
    return f'<?xml version="1.0"?>\n<archive xmlns="http://rs.tdwg.org/dwc/text/">\n{"".join(parts)}</archive>\n'


def write_archive(path: Path, url: str = "http://127.0.0.1:9", **members: str | None) -> Path:
    """A small archive; `members` replace, or with None take away, its files, `meta` standing for meta.xml."""
    keys = range(1, OCCURRENCES + 1)
    occurrences = "".join(f"{key}\tmoths\t{'5WZLF' if key % 2 else '6E4'}\n" for key in keys)
    texts = {
        "meta.xml": members.get("meta", meta(CORE, MEDIA)),
        "occurrence.txt": f"gbifID\tdatasetKey\tacceptedTaxonKey\n{occurrences}",
        "multimedia.txt": members.get("media", "id\turl\n" + "".join(f"{key}\t{url}/{key}.jpg\n" for key in keys)),
    }
    with ZipFile(path, "w") as archive:
        for name, text in texts.items():
            if text is not None:
                archive.writestr(name, text)
    return path


def cut_off(path: Path) -> None:
    write_archive(path)
    path.write_bytes(path.read_bytes()[:700])


def with_a_flipped_byte(path: Path) -> None:
    write_archive(path)
    path.write_bytes(path.read_bytes().replace(b"moths\t5WZLF", b"moths\t5WZLG", 1))


ENTITY = meta(CORE, MEDIA).replace("?>", '?>\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>')
ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "there is no such file or folder; give the path of an archive, the key"),
    "folder": (Path.mkdir, "meta.xml is missing, so this is not a Darwin Core Archive; search occurrences"),
    "text": (lambda path: path.write_text("hello\n"), "not a zip, a tar.gz or a folder; give the archive as GBIF"),
    "empty": (Path.touch, "not a zip, a tar.gz or a folder; give the archive as GBIF"),
    "cut-off": (cut_off, "the zip is incomplete; download the archive again"),
    "flipped": (with_a_flipped_byte, "the archive is damaged (the checksum of occurrence.txt is wrong); download"),
    "no-meta": (
        lambda path: write_archive(path, meta=None),
        "meta.xml is missing, so this is not a Darwin Core Archive; search",
    ),
    "broken-meta": (
        lambda path: write_archive(path, meta="<archive><core>"),
        "meta.xml is not well-formed XML in line 1; correct meta.xml",
    ),
    "no-core": (lambda path: write_archive(path, meta=meta()), "meta.xml has no element <core>, so it does not say"),
    "entity": (
        lambda path: write_archive(path, meta=ENTITY),
        "meta.xml has a document type declaration (<!DOCTYPE ...>), which may do harm and has to be removed; correct meta.xml",
    ),
    "no-media": (
        lambda path: write_archive(path, meta=meta(CORE)),
        "meta.xml names no media (Multimedia or Image); search",
    ),
    "lost-media": (lambda path: write_archive(path, media=None), "meta.xml names multimedia.txt, which is not in the"),
    "empty-media": (lambda path: write_archive(path, media=""), "its media file has no rows; search occurrences"),
    "header-media": (
        lambda path: write_archive(path, media="id\turl\n"),
        "its media file has no rows; search occurrences",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_file_that_is_no_archive_is_named_with_its_problem(forks: Forks, name: str, tmp_path: Path) -> None:
    make, words = ARCHIVES[name]
    path = tmp_path / f"{name}.zip"
    make(path)
    ended = failure(forks.run("ReadArchive", "--dwca", path, "--output", tmp_path / "out"))
    assert ended.status == FAILED
    option = "--dwca " if name == "missing" else ""
    assert ended.sentence.startswith(f"ReadArchive: {option}{path}: {words}")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound archive whose photos nobody serves."""
    return write_archive(tmp_path_factory.mktemp("archive") / "moths.zip")


LISTS: dict[str, tuple[bytes | None, int, str]] = {
    "missing": (None, UNHANDLED, "--ReadArchive-subset-list {path}: there is no such file; check the path"),
    "empty": (b"", FAILED, "ReadArchive: --ReadArchive-subset-list {path}: has no keys; write"),
    "blank": (b"\n \n", FAILED, "ReadArchive: --ReadArchive-subset-list {path}: has no keys; write"),
    "broken": (b"[1, 2,", FAILED, "ReadArchive: --ReadArchive-subset-list {path}: cannot be read ("),
    "object": (
        b'{"a": 1}',
        FAILED,
        "ReadArchive: --ReadArchive-subset-list {path}: is not a list of keys; write a JSON list",
    ),
    "binary": (b"\xff\xfe\xfa", FAILED, "ReadArchive: --ReadArchive-subset-list {path}: cannot be read ("),
    "strange": (
        b"zzz\nyyy\n",
        FAILED,
        "ReadArchive: --ReadArchive-subset-list {path}: none of its 2 keys is the acceptedTaxonKey of an image in "
        "{archive} (",
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_subset_list_that_cannot_be_used_is_named(forks: Forks, name: str, archive: Path, tmp_path: Path) -> None:
    content, status, words = LISTS[name]
    path = tmp_path / f"{name}.list"
    if content is not None:
        path.write_bytes(content)
    listed = ("--ReadArchive-subset-list", path)
    ended = failure(forks.run("ReadArchive", "--dwca", archive, "--output", tmp_path / "out", *listed))
    assert ended.status == status
    assert ended.sentence.startswith(words.format(path=path, archive=archive))


def test_an_unknown_subset_key_is_answered_with_similar_columns(forks: Forks, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("5WZLF\n")
    selection = ("--ReadArchive-subset-list", tmp_path / "keys", "--ReadArchive-subset-key", "acceptedTaxonkey")
    ended = failure(forks.run("ReadArchive", "--dwca", archive, "--output", tmp_path / "out", *selection))
    assert ended.status == FAILED
    assert "has no column acceptedTaxonkey; did you mean acceptedTaxonKey?" in ended.sentence


def test_an_output_that_cannot_be_written_is_named(forks: Forks, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nope")):
        ended = failure(forks.run("ReportDataset", "--dwca", archive, "--output", output))
        assert ended.status == FAILED
        assert ended.sentence == f"--output {output}: cannot become a folder; choose another path"


@pytest.mark.parametrize("limit", ["lots", "4 moths", "4"])
def test_an_invalid_memory_limit_is_named(forks: Forks, limit: str, archive: Path, tmp_path: Path) -> None:
    where = ("--dwca", archive, "--output", tmp_path / "out")
    ended = failure(forks.run("ReadArchive", *where, "--ReadArchive-memory-limit", limit))
    assert f"--ReadArchive-memory-limit {limit}: " in ended.sentence
    assert ended.sentence.endswith("; write it like 800MB or 4GB")


REPORT = "ReportDataset --dwca moths.zip"
COMMANDS: dict[str, tuple[int, str]] = {
    "FetchChunk --dwca moths.zip --chunk 99 --chunks 16": (
        UNHANDLED, "--chunk 99: there is no such chunk; the 16 chunks are 0 to 15"),
    "FetchChunk --dwca moths.zip --chunk -1": (
        UNHANDLED, "--chunk -1: not a valid value; give a whole number from 0"),
    "FetchChunk --dwca moths.zip": (
        UNHANDLED,
        "--chunk: FetchChunk needs this parameter; add --chunk VALUE (Number of the chunk, from 0 to chunks - 1)"),
    "ReadArchive": (
        UNHANDLED,
        "--dwca: ReadArchive needs this parameter; "
        "add --dwca VALUE (The Darwin Core Archive: the path of a zip, a tar.gz or a folder, the key or DOI of a GBIF "
        "download, the https:// or s3:// address of a zip (also gs://, az://, hf://, file://), a request.json that was "
        "submitted, or several of these, separated by "
        "commas or in a text file, one per line)"),
    "ReadArchive --dwca": (USAGE, "--dwca: the value is missing; write --dwca=VALUE"),
    f"{REPORT} --chunks 0": (UNHANDLED, "--chunks 0: not a valid value; give a whole number from 1 to 1000"),
    f"{REPORT} --chunks 5000": (UNHANDLED, "--chunks 5000: not a valid value; give a whole number from 1 to 1000"),
    f"{REPORT} --chunks abc": (UNHANDLED, "--chunks abc: not a valid value; give a whole number from 1 to 1000"),
    f"{REPORT} --SplitDataset-test-frac 1.5": (
        UNHANDLED, "--SplitDataset-test-frac 1.5: not a valid value; give a number from 0 to 1"),
    f"{REPORT} --CleanDataset-remove-thumbnails maybe": (
        UNHANDLED, "--CleanDataset-remove-thumbnails maybe: not a valid value; give true or false"),
    f"{REPORT} --CleanDataset-remove-duplicate-url some": (
        UNHANDLED, "--CleanDataset-remove-duplicate-url some: not a valid value; give one of none, all-but-one, all"),
    f"{REPORT} --CreateWebDataset-category-map-json nope.json": (
        UNHANDLED, "--CreateWebDataset-category-map-json nope.json: there is no such file; check the path"),
    f"{REPORT} --CreateWebDataset-caption-template {{species!r}}": (
        UNHANDLED, '--CreateWebDataset-caption-template "{species!r}": braces with something other than the name of a '
        "column; write the name of a column in braces, such as 'a photo of {species}'"),
    f"{REPORT} --SplitDataset-previous-splits nope": (
        UNHANDLED, "--SplitDataset-previous-splits nope: there is no such folder; check the path"),
    f"{REPORT} --ReportDataset-url javascript:alert(1)": (
        UNHANDLED, '--ReportDataset-url "javascript:alert(1)": not a valid value; give an address that begins with '
        "https:// or http://, without user name and password"),
    f"{REPORT} --SplitDataset-test-frak 0.1": (
        USAGE, "--SplitDataset-test-frak: there is no such parameter; did you mean --SplitDataset-test-frac?"),
    f"{REPORT} --colour": (
        USAGE, "--colour: there is no such parameter; see --help for the parameters of this task, --help-all for "
        "those of all tasks"),
    f"{REPORT} --FetchChunk-inaturalist-size huge": (
        UNHANDLED, "--FetchChunk-inaturalist-size huge: not a valid value; give one of as-given, original, large, "
        "medium, small"),
    f"{REPORT} --workers abc": (USAGE, "--workers abc: not a valid value; give a whole number from 1"),
    f"{REPORT} --workers 0": (USAGE, "--workers 0: not a valid value; give a whole number from 1"),
    f"{REPORT} --scheduler-port web": (USAGE, "--scheduler-port web: not a valid value; give a whole number from 0"),
    f"{REPORT} --log-level LOUD": (
        USAGE, "--log-level LOUD: not a valid value; give one of CRITICAL, DEBUG, ERROR, INFO, NOTSET, WARNING"),
    "--local-scheduler ReportDataset --dwca moths.zip": (
        USAGE, "--local-scheduler ReportDataset: not a valid value; give true or false, after the name of the task"),
    "FetchImages --dwca moths.zip --chunk 3": (
        USAGE, "--chunk: there is no such parameter; did you mean --chunks?"),
    "readarchive --dwca moths.zip": (USAGE, "readarchive: there is no such task; did you mean ReadArchive?"),
    "download --dwca moths.zip": (
        USAGE, "download: there is no such task; the tasks are FetchArchive, AuditDataset, ReadArchive, FetchChunk, FetchImages, "
        "VerifyChunk, VerifyImages, DeleteImages, CleanDataset, CompareDatasets, MakeCrosswalk, "
        "SplitDataset, CreateWebDataset, "
        "PlanShards, ShardChunk, PlanFetch, ReportDataset, PublishDataset, RequestDownload"),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_parameter_is_reported_before_any_work(forks: Forks, command: str) -> None:
    status, sentence = COMMANDS[command]
    # Luigi's command line is read twice, before and after the tasks are imported: that takes a process of its own.
    ended = failure((run if status == USAGE else forks.run)(*command.split()))
    assert (ended.status, ended.sentence) == (status, sentence)
    assert len(ended.stderr.splitlines()) == 1


def test_a_scheduler_that_does_not_answer_is_reported_within_seconds(archive: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        begun = time.monotonic()
        central = ("--local-scheduler", "false", "--scheduler-host", "127.0.0.1", "--scheduler-port", port)
        ended = failure(run("ReportDataset", "--dwca", archive, *central))
    assert ended.status == UNHANDLED
    assert ended.sentence == (
        f"http://127.0.0.1:{port}/: no Luigi scheduler answers there; start one with `make scheduler`, or run without "
        "SCHEDULER"
    )
    assert time.monotonic() - begun < 10


@pytest.fixture(scope="module")
def photos() -> Iterator[str]:
    """The URL of a server that has every photo."""
    jpeg = BytesIO()
    Image.new("RGB", (90, 80), (180, 90, 40)).save(jpeg, "JPEG")

    class Photo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            body = jpeg.getvalue() + self.path.encode()  # the same bytes under two URLs would be duplicates
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Photo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


LOOPBACK = ["--chunks", "2", "--FetchChunk-allow-addresses", "127.0.0.1/32", "--FetchChunk-retries", "0"]
HASTE = ["--FetchChunk-requests-per-second-per-host", "0", "--FetchChunk-min-free-bytes", "0"]


@pytest.fixture(scope="module")
def dataset(photos: str, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The parameters of a dataset that is fetched and split; the later stages fail on it at once."""
    folder = tmp_path_factory.mktemp("dataset")
    archive = write_archive(folder / "moths.zip", photos)
    arguments = ["--dwca", archive, "--output", folder / "out", *LOOPBACK, *HASTE]
    assert run("SplitDataset", *arguments).returncode == 0
    return arguments


STAGES: dict[str, str] = {
    "SplitDataset --SplitDataset-category-key taxonkey":
        "ReadArchive: --SplitDataset-category-key taxonkey: the archive has no such column; choose one of datasetKey, acc",
    "SplitDataset --SplitDataset-min-instances 400":
        "SplitDataset: --SplitDataset-min-instances 400: no class has 400 images in train (dropped: no-label 0, under-min",
    "CreateWebDataset --CreateWebDataset-label-column taxonkey":
        "ReadArchive: --CreateWebDataset-label-column taxonkey: the archive has no column 'taxonkey'; choose from coreid, ",
    "CleanDataset --CleanDataset-thumb-size 4000":
        "CleanDataset: {out}/verified.parquet: no image is left after clean 'thumbnail' (",
}  # fmt: skip


@pytest.mark.parametrize("command", STAGES)
def test_a_stage_without_images_or_without_its_column_fails_with_a_sentence(
    forks: Forks, command: str, dataset: list[object]
) -> None:
    task, *given = command.split()
    ended = failure(forks.run(task, *dataset, *given))
    assert ended.status == FAILED
    assert ended.sentence.startswith(STAGES[command].format(out=dataset[3]))


def test_fractions_that_leave_nothing_to_train_are_refused(forks: Forks, dataset: list[object]) -> None:
    ended = failure(
        forks.run("SplitDataset", *dataset, "--SplitDataset-test-frac", "0.7", "--SplitDataset-val-frac", "0.4")
    )
    sentence = "--SplitDataset-test-frac 0.7 --SplitDataset-val-frac 0.4: no images are left for train; "
    assert sentence in ended.sentence


@pytest.mark.parametrize("entry", ["../../etc/passwd", "/etc/passwd", "images/../../secret"])
def test_an_image_list_with_a_path_outside_images_deletes_nothing(
    forks: Forks, entry: str, dataset: list[object], tmp_path: Path
) -> None:
    images = sorted(Path(str(dataset[3])).glob("images/moths/*.jpg"))
    (tmp_path / "list").write_text(f"moths/{images[0].name}\n{entry}\n")
    ended = failure(forks.run("DeleteImages", *dataset, "--DeleteImages-image-list", tmp_path / "list"))
    assert ended.status == FAILED
    assert ended.sentence == (
        f"DeleteImages: {tmp_path}/list, line 2: {entry} is outside images/; list paths below images/. "
        "Nothing was deleted"
    )
    assert len(images) == OCCURRENCES
    assert all(image.exists() for image in images)


def test_a_bad_address_block_is_named(forks: Forks, archive: Path, tmp_path: Path) -> None:
    given = ("--chunks", 1, "--FetchChunk-allow-addresses", "10.0.0.300/8")
    ended = failure(forks.run("FetchImages", "--dwca", archive, "--output", tmp_path / "out", *given))
    assert "10.0.0.300/8: '10.0.0.300/8' does not appear to be an IPv4 or IPv6 network; write CIDR" in ended.sentence


def test_a_network_failure_fails_the_job_and_keeps_downloaded_images(photos: str, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        served = range(1, 6)
        media = [f"{key}\t{photos if key in served else url}/{key}.jpg\n" for key in range(1, OCCURRENCES + 1)]
        archive = write_archive(tmp_path / "moths.zip", media="id\turl\n" + "".join(media))
        where = ("--dwca", archive, "--output", tmp_path / "out", *LOOPBACK, *HASTE, "--chunks", 1, "--workers", 2)
        where += ("--FetchChunk-host-failures", OCCURRENCES)  # no pauses of a host that is down
        ended = failure(run("VerifyImages", *where))
    assert ended.status == FAILED
    assert ended.sentence == (
        "VerifyImages: --FetchChunk-max-failed-share 0.5: 19 of all 24 images had temporary failures "
        "(connection 19); check the network and run the same command again with RETRY=1 (--FetchChunk-retry-after 0). "
        "Images that were downloaded are kept"
    )
    assert len(list((tmp_path / "out/images").rglob("*.jpg"))) == len(served)


def test_a_dataset_with_blocked_addresses_only_fails_with_a_sentence(photos: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "moths.zip", photos)
    ended = failure(
        run("ReportDataset", "--dwca", archive, "--output", tmp_path / "out", "--chunks", 2, "--workers", 2)
    )
    assert ended.status == FAILED
    assert ": no image was downloaded (blocked-address 24); allow addresses that are not public with" in ended.sentence
    assert f"{OCCURRENCES} failed" in ended.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes on the disk; the file that takes the others."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - left))
    return disk / "filler"


@pytest.mark.parametrize(
    ("task", "left"),
    [("ReadArchive", 0), ("FetchImages", 32 << 10), ("VerifyImages", 16 << 10), ("CleanDataset", 32 << 10)],
)
def test_a_full_disk_is_reported_and_the_run_continues_once_there_is_space(
    forks: Forks, task: str, left: int, photos: str, small_disk: Path, tmp_path: Path
) -> None:
    where = ["--dwca", write_archive(tmp_path / "moths.zip", photos), "--output", small_disk / "out", *LOOPBACK, *HASTE]
    where += ["--chunks", 1]
    before = {"ReadArchive": None, "FetchImages": "ReadArchive"}.get(task, "FetchImages")
    if before:
        assert forks.run(before, *where).returncode == 0
    filler = fill(small_disk, left)
    ended = failure(forks.run(task, *where))
    assert ended.status == FAILED
    assert "No space left on device; free some space where --output is and run the same command" in ended.sentence
    filler.unlink()
    assert forks.run(task, *where).returncode == 0


def test_a_nearly_full_disk_is_reported_before_it_is_full(
    forks: Forks, photos: str, small_disk: Path, tmp_path: Path
) -> None:
    where = ["--dwca", write_archive(tmp_path / "moths.zip", photos), "--output", small_disk / "out", *LOOPBACK, *HASTE]
    ended = failure(forks.run("FetchChunk", *where, "--chunk", 0, "--FetchChunk-min-free-bytes", "1000000000"))
    assert ended.status == FAILED
    assert re.fullmatch(
        rf"FetchChunk-00000: --FetchChunk-min-free-bytes 1000000000: only [23]\.\d MB are free in {small_disk}/out/images; "
        "free some space or lower the value, and run the same command again: it continues where it stopped",
        ended.sentence,
    )
    assert forks.run("FetchChunk", *where, "--chunk", 0).returncode == 0


def accept_ctrl_c() -> None:
    """React to Ctrl-C, which background jobs of a shell ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_stops_a_run_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        where = ["--dwca", write_archive(tmp_path / "moths.zip", url), "--output", tmp_path / "out", *LOOPBACK, *HASTE]
        where += ["--FetchChunk-num-workers", 1, "--FetchChunk-request-timeout", 1, "--chunks", 1]
        command = [sys.executable, "-m", "luigi", "--module", "tasks", "FetchImages", *map(str, where)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=accept_ctrl_c
        )
        silent.settimeout(60)
        silent.accept()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT or process.returncode == -signal.SIGINT
    assert stderr.splitlines()[-1] == "Stopped. The same command continues from here."
    assert "Traceback" not in stdout + stderr, stderr


PARAMETERS = {
    "ReadArchive": "subset_list subset_key num_images_per_category random_seed",
    "FetchChunk": "chunk cache_path num_workers request_timeout retries connections_per_host "
    "requests_per_second_per_host max_image_bytes max_seconds_per_image user_agent respect_opt_out allow_addresses "
    "inaturalist_size min_free_bytes",
    "FetchImages": "",
    "PlanFetch": "sample",
    "VerifyChunk": "chunk num_workers max_pixels strict",
    "VerifyImages": "",
    "DeleteImages": "image_list dry_run",
    "CleanDataset": "remove_duplicate_url ignore_dataset_by_key remove_thumbnails thumb_size remove_flat "
    "remove_non_adults life_stage_predictions remove_duplicate_content remove_near_duplicates near_distance category_key",
    "SplitDataset": "category_key test_frac val_frac max_instances min_instances split_by_occurrence random_seed "
    "group_by place_km exact_fractions previous_splits holdout_key holdout_frac",
    "CreateWebDataset": "label_column max_shard_size shuffle_images resize_min_size category_map_json columns_to_json "
    "megadetector_results_json random_seed num_workers",
    "ReportDataset": "",
}
UNITS = {
    r"\bbytes\b": ("max_shard_size", "max_image_bytes", "min_free_bytes"),
    r"\bseconds\b": ("request_timeout", "max_seconds_per_image"),
    r"\bbits\b": ("near_distance",),
    r"\bkilometres\b": ("place_km",),
    r"\bpixels\b": ("thumb_size", "resize_min_size", "max_pixels"),
    r"from 0 to": ("test_frac", "val_frac", "max_failed_share"),
}


@pytest.mark.parametrize("task", PARAMETERS)
def test_help_explains_every_parameter_with_its_unit_and_default(forks: Forks, task: str) -> None:
    ended = forks.run(task, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    pattern = rf"^  --{task}-([\w-]+)(?: \S+)?\s+(\S.*)$"
    described = {name.replace("-", "_"): text for name, text in re.findall(pattern, ended.stdout, re.MULTILINE)}
    assert {"dwca", "output", "chunks", *PARAMETERS[task].split()} <= described.keys()
    for name, text in described.items():
        assert name in ("dwca", "chunk") or re.search(r"\w.* \[default: [^\]]+\]$", text), f"{name}: {text}"
    for unit, names in UNITS.items():
        for name in described.keys() & set(names):
            assert re.search(unit, described[name]), f"{name}: {described[name]}"
