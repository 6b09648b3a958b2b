"""From a DOI or a list of names to the manifest, with the command and an imitation of GBIF's API; and the password."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.obtain.request_file import save_sent, write_request
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.checklists import BACKBONE
from tests.support.central_scheduler import start_scheduler
from tests.support.datasets import Dataset, archive_of
from tests.support.gbif_api import COL, DOI, KEY, PASSWORD, USER, Download, GbifApi, describe_match, send_range_slowly
from tests.support.several_archives import DATASET, medium, occurrence, write_archive

ROOT = Path(__file__).parents[2]
FAILED = 30
LOCAL_DOI = "10.15468/dl.local1"


@pytest.fixture
def server() -> Iterator[GbifApi]:
    """GBIF's API, with a download of six photos."""
    with GbifApi() as server:
        yield server


@pytest.fixture
def download(server: GbifApi, tmp_path: Path) -> Download:
    archive = archive_of(tmp_path / "served.zip", [f"https://example.org/{number}.jpg" for number in range(6)])
    return server.add(content=archive.read_bytes())


def command(server: GbifApi, task: str, *arguments: object) -> list[str]:
    where = [
        f"--{name}-{option}" for name in ("FetchArchive", "RequestDownload") for option in ("api", "allow-addresses")
    ]
    values = [server.url, "127.0.0.1/32"] * 2
    options = [word for pair in zip(where, values, strict=True) for word in pair]
    return [sys.executable, "-m", "tasks", task, *options, *map(str, arguments)]


def run(
    server: GbifApi, task: str, *arguments: object, cwd: Path = ROOT, **variables: str
) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("GBIF_")} | variables
    words = command(server, task, *arguments)
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def succeed(server: GbifApi, task: str, *arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    ended = run(server, task, *arguments, **options)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_a_doi_becomes_a_manifest_and_later_runs_ask_nobody(
    server: GbifApi, download: Download, tmp_path: Path
) -> None:
    succeed(server, "ReadArchive", "--dwca", f"https://doi.org/{DOI}", "--chunks", 2, cwd=tmp_path)
    output = tmp_path / "data" / "10.15468-dl.abc123"
    assert len(Dataset(tmp_path, output, 2).rows("manifest")) == 6
    assert (output / "archive" / f"{KEY}.zip").read_bytes() == download.content
    entry = json.loads((output / "archive" / f"{KEY}.json").read_text())
    assert {entry["key"], entry["doi"], entry["checklistKey"], entry["status"]} == {KEY, DOI, COL, "SUCCEEDED"}
    server.log.clear()

    made = (output / ".made" / "ReadArchive.json").stat().st_mtime_ns
    for dwca in (DOI, KEY, output / "archive" / f"{KEY}.zip"):  # the last is on this machine
        succeed(server, "ReadArchive", "--dwca", dwca, "--output", output, "--chunks", 2)
    (output / ".made" / "FetchArchive.json").unlink()
    succeed(server, "ReadArchive", "--dwca", DOI, "--output", output, "--chunks", 2)
    assert server.log == []
    assert (output / ".made" / "ReadArchive.json").stat().st_mtime_ns == made

    audit = succeed(server, "AuditDataset", "--dwca", DOI, "--output", output, "--chunks", 2)
    assert "archive/" not in audit.stdout
    succeed(server, "ReadArchive", "--dwca", DOI, "--output", output, "--chunks", 2, "--plan")


def test_a_download_and_an_archive_on_this_machine_make_one_manifest(server: GbifApi, tmp_path: Path) -> None:
    occurrences = [occurrence(n) for n in (1, 2)]
    server.add(
        content=write_archive(
            tmp_path / "served.zip", occurrences, [medium(1, "a"), medium(2, "b")], date="2026-05-07"
        ).read_bytes()
    )
    local = write_archive(
        tmp_path / "local.zip",
        [occurrence(1), occurrence(3)],
        [medium(1, "a"), medium(3, "c")],
        date="2025-01-01",
        doi=LOCAL_DOI,
        checklist=COL,
    )
    succeed(server, "ReadArchive", "--dwca", f"{local},{DOI}", "--output", tmp_path / "out", "--chunks", 2)
    dataset = Dataset(tmp_path, tmp_path / "out", 2)
    assert {(row["coreid"], row["archive"]) for row in dataset.rows("manifest")} == {
        ("1", f"{KEY}.zip"), ("2", f"{KEY}.zip"), ("3", "local.zip"),
    }  # fmt: skip
    sources = json.loads((tmp_path / "out" / "manifest" / "source.json").read_text())
    assert [source["doi"] for source in sources] == [DOI, LOCAL_DOI]
    record = TargetRecord.load(tmp_path / "out" / ".made" / "ReadArchive.json")
    assert record is not None
    results = record.results
    assert (results["checklist"], results["rejected"]["media"]) == (COL, {"in-another-archive": 1})
    assert not [note for note in results["notes"] if "not known" in note]

    server.log.clear()
    (tmp_path / "out" / "manifest").rename(tmp_path / "first")
    swapped = ["--dwca", f"{DOI},{local}", "--output", tmp_path / "out", "--chunks", 2]
    succeed(server, "ReadArchive", *swapped)
    assert server.log == []
    for path in (tmp_path / "first").iterdir():
        assert (tmp_path / "out" / "manifest" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_download_of_another_checklist_than_an_archive_on_this_machine_is_refused(
    server: GbifApi, tmp_path: Path
) -> None:
    server.add(content=write_archive(tmp_path / "served.zip", [occurrence(1)], [medium(1, "a")]).read_bytes())
    local = write_archive(tmp_path / "local.zip", [occurrence(2)], [medium(2, "b")], checklist=BACKBONE)
    ended = run(server, "ReadArchive", "--dwca", f"{local},{DOI}", "--output", tmp_path / "out", "--chunks", 1)
    assert ended.returncode == FAILED
    assert "their taxon keys belong to different checklists" in ended.stderr
    assert "make crosswalk OLD=... NEW=..." in ended.stderr
    assert not (tmp_path / "out" / "manifest").exists()


def test_a_path_needs_no_fetch_archive(server: GbifApi, download: Download, tmp_path: Path) -> None:
    local = tmp_path / "my, moths.zip"
    local.write_bytes(download.content)
    succeed(server, "ReadArchive", "--dwca", local, "--output", tmp_path / "out", "--chunks", 1)
    assert not (tmp_path / "out" / "archive").exists()
    assert not (tmp_path / "out" / ".made" / "FetchArchive.json").exists()
    assert server.log == []


def test_fetch_archive_runs_alone(server: GbifApi, download: Download, tmp_path: Path) -> None:
    ended = succeed(server, "FetchArchive", "--dwca", KEY, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "archive" / f"{KEY}.zip").read_bytes() == download.content
    assert "checking the zip" in ended.stderr
    assert not (tmp_path / "out" / "manifest").exists()


def test_ctrl_c_while_waiting_ends_with_one_line_and_the_next_run_continues(
    server: GbifApi, download: Download, tmp_path: Path
) -> None:
    download.statuses = ["RUNNING"]
    words = command(server, "FetchArchive", "--dwca", KEY, "--output", tmp_path / "out")
    accept = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which background jobs of a shell ignore
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=accept)
    try:
        end = time.monotonic() + 60
        while len(server.log) < 1 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(10)
    assert stderr.splitlines()[-1] == "Stopped. The same command continues from here."
    assert "(RUNNING); next request in 1 min 00 s" in stderr
    assert "Traceback" not in stderr
    download.statuses = ["SUCCEEDED"]
    succeed(server, "FetchArchive", "--dwca", KEY, "--output", tmp_path / "out")


def test_an_unsent_request_fails_with_the_command_that_submits_it(server: GbifApi, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"format": "DWCA", "predicate": {"type": "and", "predicates": []}}))
    ended = run(server, "ReadArchive", "--dwca", request, "--output", tmp_path / "out")
    assert ended.returncode == FAILED
    assert (
        f"{request}: the request has not been submitted to GBIF; run `make request SEND=1 OUTPUT={request}`"
        in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert server.log == []


@pytest.mark.parametrize("dwca", ["request.json", f"{KEY},{DOI}"])
def test_requests_and_lists_need_an_output(dwca: str, server: GbifApi, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{}")
    ended = run(server, "ReadArchive", "--dwca", dwca, cwd=tmp_path)
    assert ended.returncode != 0
    assert ended.stderr.startswith("ERROR: ")
    assert "no default folder for the dataset; add --output FOLDER (with make: OUTPUT=FOLDER)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_mistyped_path_says_what_else_is_accepted(server: GbifApi, tmp_path: Path) -> None:
    ended = run(server, "ReadArchive", "--dwca", "arcive.zip", cwd=tmp_path)
    assert ended.returncode != 0
    assert ended.stderr.startswith("ERROR: ")
    assert "--dwca arcive.zip: there is no such file or folder; give the path of an archive, the key" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_names_become_a_request_a_download_and_a_manifest(server: GbifApi, download: Download, tmp_path: Path) -> None:
    server.downloads.clear()
    server.names["Noctua pronuba"] = describe_match("5WZLF", "Noctua pronuba (Linnaeus, 1758)")
    server.names["Noctua comse"] = describe_match("6E4", "Noctua comes", "FUZZY")
    server.counts = {"5WZLF": {"2020": 30, "2021": 12}, "6E4": {"2021": 7}}
    (tmp_path / "species.txt").write_text("Noctua pronuba\nNoctua comse\nNoctua nowhere\n")
    filters = ["--country", "DK", "--year", "2015,2026", "--licenses", "cc0,cc-by", "--basis", "HUMAN_OBSERVATION"]
    names = ["RequestDownload", "--names", "species.txt", *filters]

    shown = succeed(server, *names, cwd=tmp_path).stdout
    assert "2 of 3 names found" in shown
    assert "Noctua comse: the spelling differs from Noctua comes, which is requested" in shown
    assert "Noctua nowhere: not found; not requested" in shown
    assert [line.split() for line in shown.splitlines() if line.endswith(("2020", "2021", "in total"))] == [
        ["49", "in", "total"],
        ["30", "2020"],
        ["19", "2021"],
    ]
    assert (tmp_path / "request.counts.csv").read_text().splitlines()[1:] == [
        '"Noctua pronuba (Linnaeus, 1758)",5WZLF,2020,30',
        '"Noctua pronuba (Linnaeus, 1758)",5WZLF,2021,12',
        "Noctua comes,6E4,2021,7",
    ]
    assert "make request SEND=1 OUTPUT=request.json" in shown
    assert not server.requests("POST")
    request = json.loads((tmp_path / "request.json").read_text())
    assert (request["format"], request["checklistKey"]) == ("DWCA", COL)

    user = {"GBIF_USER": USER, "GBIF_PWD": PASSWORD}
    sent = succeed(server, "RequestDownload", "--send", cwd=tmp_path, **user)
    [key] = server.downloads
    assert f"{key}: the request is submitted" in sent.stdout
    again = succeed(server, "RequestDownload", "--send", cwd=tmp_path, **user)
    assert f"{key}: you have this download already" in again.stdout
    assert len(server.requests("POST")) == 1

    server.downloads[key].content, server.downloads[key].statuses = download.content, ["SUCCEEDED"]
    succeed(server, "ReadArchive", "--dwca", "request.json", "--output", "out", "--chunks", 1, cwd=tmp_path)
    assert len(Dataset(tmp_path, tmp_path / "out", 1).rows("manifest")) == 6

    server.downloads[key].statuses = ["FILE_ERASED"]
    succeed(server, "RequestDownload", "--send", cwd=tmp_path, **user)
    [newer] = server.downloads.keys() - {key}
    newer_archive = archive_of(tmp_path / "newer.zip", [f"https://example.org/{number}.jpg" for number in range(7)])
    server.downloads[newer].content, server.downloads[newer].statuses = newer_archive.read_bytes(), ["SUCCEEDED"]
    succeed(server, "ReadArchive", "--dwca", "request.json", "--output", "out", "--chunks", 1, cwd=tmp_path)
    assert len(Dataset(tmp_path, tmp_path / "out", 1).rows("manifest")) == 7


@pytest.mark.parametrize("is_list", [False, True])
def test_several_remote_sources_become_one_manifest(is_list: bool, server: GbifApi, tmp_path: Path) -> None:
    keys, dois = [f"000123{number}-260507073636908" for number in range(3)], ["10.15468/dl.a", DOI, "10.15468/dl.c"]
    for key, doi, ids in zip(keys, dois, (range(4), range(2, 6), range(5, 8)), strict=True):
        rows = [{"gbifID": str(one), "datasetKey": DATASET, "acceptedTaxonKey": "5WZLF"} for one in ids]
        media = [
            {"gbifID": str(one), "type": "StillImage", "identifier": f"https://example.org/{one}.jpg"} for one in ids
        ]
        content = write_archive(tmp_path / f"{key}.zip", rows, media, doi=doi, date="2026-05-07").read_bytes()
        server.add(key, content=content, doi=doi)
    request = server.downloads[keys[2]].request
    write_request(tmp_path / "request.json", request)
    save_sent(tmp_path / "request.json", request, keys[2])
    sources = [keys[0], f"https://doi.org/{DOI}", "request.json"]
    (tmp_path / "all.txt").write_text("\n".join(sources))
    dwca = "all.txt" if is_list else ",".join(sources)

    succeed(server, "ReadArchive", "--dwca", dwca, "--output", "out", "--chunks", 1, cwd=tmp_path)
    dataset = Dataset(tmp_path, tmp_path / "out", 1)
    assert sorted(row["coreid"] for row in dataset.rows("manifest")) == [str(one) for one in range(8)]
    assert len({row["archive"] for row in dataset.rows("manifest")}) == 3
    reasons = [row["reason"] for row in dataset.rows("manifest/rejected.parquet")]
    assert reasons.count("in-another-archive") == 6  # three occurrences, each with its photo
    assert {path.stem for path in (tmp_path / "out" / "archive").glob("*.zip")} == set(keys)
    server.log.clear()
    succeed(server, "ReadArchive", "--dwca", dwca, "--output", "out", "--chunks", 1, cwd=tmp_path)
    assert server.log == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--RequestDownload-names: there is no list of names; give --names FILE"),
        (["--send", "--country", "DK"], "--RequestDownload-names: there is no list of names"),
        (["--names", "missing.txt"], "--RequestDownload-names missing.txt: there is no such file"),
        (["--send"], "GBIF needs your user name and password for this; set GBIF_USER and GBIF_PWD, or add a line to"),
        (["--send", "--year", "20"], "--RequestDownload-year 20: not a year or a range of years"),
    ],
)
def test_mistakes_in_a_request_give_one_sentence(
    arguments: list[str], sentence: str, server: GbifApi, tmp_path: Path
) -> None:
    ended = run(server, "RequestDownload", *arguments, cwd=tmp_path, HOME=str(tmp_path))
    assert ended.returncode != 0
    assert ended.stderr.startswith("ERROR: ")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def read_processes(parent: int) -> Iterator[bytes]:
    """The command line and environment of each process below a process, as /proc shows them."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if parent in list_ancestors(int(folder.name)):
                yield (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue


def list_ancestors(process: int) -> list[int]:
    ancestors = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        ancestors.append(process)
    return ancestors


def has_password(data: bytes) -> bool:
    return any(
        form in data for form in (PASSWORD.encode(), urllib.parse.quote(PASSWORD).encode(), b"bW90aF9jb3VudGVyO")
    )


@pytest.mark.parametrize("place", ["environment", "netrc"])
def test_the_password_is_in_no_output_file_process_or_page(
    place: str, server: GbifApi, download: Download, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = {**os.environ, "GBIF_USER": USER, "GBIF_PWD": PASSWORD}
    if place == "netrc":
        home = tmp_path_factory.mktemp("home")
        (home / ".netrc").write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n', encoding="utf-8")
        (home / ".netrc").chmod(0o600)
        user = {name: value for name, value in os.environ.items() if not name.startswith("GBIF_")} | {"HOME": str(home)}
    server.names["Noctua pronuba"] = describe_match("5WZLF", "Noctua pronuba")
    (tmp_path / "species.txt").write_text("Noctua pronuba\n")
    (tmp_path / "history").mkdir()
    with start_scheduler(tmp_path / "history") as port:
        central = ["--local-scheduler", "false", "--scheduler-host", "127.0.0.1", "--scheduler-port", str(port)]
        server.before(f"/files/{KEY}.zip", send_range_slowly)
        download.content = archive_of(
            tmp_path / "large.zip", [f"https://example.org/{n}.jpg" for n in range(30_000)]
        ).read_bytes()
        jobs = [
            ["RequestDownload", "--names", "species.txt", "--send", *central],
            ["RequestDownload", "--send", *central],
            ["ReadArchive", "--dwca", KEY, "--output", "out", "--chunks", "2", "--workers", "2", *central],
            ["FetchArchive", "--dwca", "0009999-260507073636908", "--output", "none", *central],
        ]
        seen, outputs = [b""], []
        for job in jobs:
            with (tmp_path / "printed").open("w+b") as printed:
                process = subprocess.Popen(
                    command(server, *job), cwd=tmp_path, env=user, stdout=printed, stderr=printed
                )
                try:
                    end = time.monotonic() + 100
                    while process.poll() is None and time.monotonic() < end:
                        seen += read_processes(process.pid)
                        time.sleep(0.01)
                finally:
                    process.kill()
                    process.wait(10)
                printed.seek(0)
                outputs.append(printed.read())
        pages = [
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10).read()
            for page in ("api/graph", "api/task_list?data=%7B%7D", "history")
        ]
    assert b"the request is submitted" in outputs[0]
    assert b"checking the zip" in outputs[2]
    assert len(server.requests("POST")) == 1
    assert any(b"tasks" in data or b"python" in data for data in seen)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".zip"]
    for data in (*seen, *outputs, *pages, *(path.read_bytes() for path in files)):
        assert not has_password(data)
    assert (tmp_path / "history" / "history.db") in files


FAKE = """#!/bin/sh
env >> "$SEEN"
cat "/proc/self/cmdline" >> "$SEEN"
case "$0" in *sbatch) echo 1 ;; *scontrol) echo "MaxArraySize = 1001" ;; esac
"""


def test_slurm_jobs_start_without_the_password(server: GbifApi, tmp_path: Path) -> None:
    for name in ("sbatch", "squeue", "scontrol"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
    variables = {
        "SEEN": str(tmp_path / "seen"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GBIF_USER": USER,
        "GBIF_PWD": PASSWORD,
    }
    words = [
        sys.executable,
        "-m",
        "tasks",
        "slurm",
        "submit",
        "--dwca",
        KEY,
        "--output",
        str(tmp_path / "out"),
        "--chunks",
        "2",
    ]
    ended = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    seen = (tmp_path / "seen").read_bytes()
    assert b"SEEN=" in seen
    assert b"GBIF_" not in seen
    assert not has_password(seen)


@pytest.mark.slow
def test_a_dataset_of_a_doi_has_the_shards_of_its_archive(server: GbifApi, made: Dataset, tmp_path: Path) -> None:
    server.add(content=made.archive.read_bytes())
    dataset = Dataset(Path(KEY), tmp_path / "out")
    dataset.make("--FetchArchive-api", server.url, "--FetchArchive-allow-addresses", "127.0.0.1/32")
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")
