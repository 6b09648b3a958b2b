"""No text of an archive, a host or a file acts on the terminal, wherever it is printed."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.archives import (
    make_download,
    make_gbif_meta_xml,
    make_medium,
    make_occurrence,
    write_zip,
)
from tests.support.datasets import Dataset
from tests.support.faulty_server import FaultyServer, Visit

EVIL = "\x1b]0;title\x07\x1b[2J\x08\x7f\x9b31m\u202egpj\u2066\u200f\u061c"
XML_EVIL = "\x9b31m\x85\u202egpj\u2066\u200f"  # XML has no ESC
ACTING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def assert_is_plain(*texts: str) -> None:
    for text in texts:
        found = ACTING.search(text)
        assert found is None, f"{found[0]!r} in {text[max(0, found.start() - 200) : found.end() + 50]!r}"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        server.behaviours["reason"] = _answer_with(f"HTTP/1.1 418 {EVIL_LATIN}")
        server.behaviours["status"] = _answer_with(f"HTTP/1.1 {EVIL_LATIN} OK")
        server.behaviours["headers"] = _answer_with(
            "HTTP/1.1 200 OK", f"Content-Type: image/{EVIL_LATIN}", f"X-Robots-Tag: {EVIL_LATIN}: noai, {EVIL_LATIN}"
        )
        server.behaviours["moved"] = _answer_with("HTTP/1.1 302 Found", f"Location: http://{EVIL_LATIN}.example/a")
        server.behaviours["elsewhere"] = _answer_with("HTTP/1.1 302 Found", f"Location: {EVIL_LATIN}://a\x1b[2J")
        server.behaviours["length"] = _answer_with("HTTP/1.1 200 OK", f"Content-Length: {EVIL_LATIN}")
        yield server


EVIL_LATIN = "\x1b[2J\x07\x9b31m\x7f"


def _answer_with(status: str, *headers: str):  # type: ignore[no-untyped-def]
    def behave(visit: Visit) -> None:
        visit.lines(status, *headers)

    return behave


FAULTS = ("reason", "status", "headers", "moved", "elsewhere", "length")


def write_archive(path: Path, server: FaultyServer, **files: str | bytes) -> Path:
    """An archive with hostile text in every value, and photos that can be used."""
    occurrences = [
        make_occurrence(
            number,
            acceptedTaxonKey=f"{EVIL}{number % 2}",
            datasetKey=f"d{EVIL}{number % 3}",
            lifeStage=EVIL,
            countryCode=EVIL,
            occurrenceRemarks=EVIL,
        )
        for number in range(60)
    ]
    values = {"license": EVIL, "creator": EVIL, "references": f"http://h.example/{EVIL}"}
    media = [make_medium(number, f"{server.url}/photo/{number:02}", **values) for number in range(60)]
    media += [make_medium(number, f"{server.url}/{name}", **values) for number, name in enumerate(FAULTS)]
    media += [
        make_medium(1, f"http://h{EVIL}.invalid/a.jpg", **values),
        make_medium(2, f"http://h.invalid:{EVIL}/a.jpg", **values),
        make_medium(3, f"{EVIL}://h.invalid/a.jpg", **values),
        make_medium(4, f"{server.url}/photo/{EVIL}", **values),
        make_medium(5, "http://h.invalid/a.jpg", **{**values, "type": EVIL, "format": EVIL}),
        make_medium(9999, "http://h.invalid/a.jpg", **values),
    ]
    metadata = (
        f"<eml><dataset><title>{XML_EVIL}</title><alternateIdentifier>{XML_EVIL}</alternateIdentifier></dataset></eml>"
    )
    return write_zip(
        path, {**make_download(occurrences, media, **files), "metadata.xml": metadata, "citations.txt": EVIL}
    )


OPTIONS = ("--FetchChunk-retry-pause", "0.01", "--FetchChunk-request-timeout", "2", "--CleanDataset-thumb-size", "1")


@pytest.mark.slow
def test_a_run_on_an_archive_of_hostile_texts_prints_none_of_them_raw(server: FaultyServer, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / f"a{EVIL}.zip", server)
    dataset = Dataset(archive, tmp_path / f"out{EVIL}", chunks=2)
    names = (
        "--CreateWebDataset-label-name=lifeStage",
        "--CreateWebDataset-columns-to-json",
        "occurrenceRemarks,mediaLicense",
    )
    printed = []
    for arguments in ((*OPTIONS, *names), (*OPTIONS, *names), (*OPTIONS, "--CleanDataset-thumb-size", "2", *names)):
        for task in ("PlanFetch", "ReportDataset"):
            ended = dataset.run(*(arguments if task == "ReportDataset" else OPTIONS), task=task)
            assert_is_plain(ended.stdout, ended.stderr)
            assert ended.returncode == 0, ended.stderr
            printed.append(ended.stdout)
        planned = dataset.run("--plan", *arguments)
        assert_is_plain(planned.stderr)
    assert "\\x1b" in printed[-1]


def _lists(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Files of the user with hostile entries, and the options that name them."""
    evil = folder / f"list{EVIL}"
    contents = {
        "subset.txt": f"{EVIL}\n{EVIL}2\n",
        "images.csv": f"image_path\n../{EVIL}.jpg\n",
        "paths.txt": f"{EVIL}/{EVIL}.jpg\n",
        "keys.txt": f"{EVIL}\n",
        "stages.csv": f"image_path,{EVIL}\n{EVIL},{EVIL}\n",
        "map.json": json.dumps({EVIL: EVIL, f"{EVIL}x": -1}),
        "classes.json": json.dumps({f"{EVIL}x": 0}),
        "detections.json": json.dumps(
            {
                "images": [{"file": f"{EVIL}.jpg", "detections": [], "failure": EVIL}],
                "detection_categories": {"1": EVIL},
            }
        ),
        "hosts.csv": f"host,connections,requests_per_second\n{EVIL},{EVIL},1\n",
        "broken.json": f"{{{EVIL}",
    }
    evil.mkdir()
    for name, content in contents.items():
        (evil / name).write_text(content)
    return {
        "subset": (
            "--ReadArchive-subset-list",
            str(evil / "subset.txt"),
            "--ReadArchive-where",
            f"lifeStage = '{EVIL}'",
        ),
        "where": ("--ReadArchive-where", f"{EVIL} = 1"),
        "licenses": ("--ReadArchive-licenses", EVIL),
        "column": ("--SplitDataset-category-key", EVIL),
        "json-columns": ("--CreateWebDataset-columns-to-json", f"mediaLicense,{EVIL}"),
        "images": ("--DeleteImages-image-list", str(evil / "images.csv")),
        "paths": ("--DeleteImages-image-list", str(evil / "paths.txt")),
        "datasets": ("--CleanDataset-ignore-dataset-by-key", str(evil / "keys.txt")),
        "stages": ("--CleanDataset-life-stage-predictions", str(evil / "stages.csv")),
        "map": ("--CreateWebDataset-category-map-json", str(evil / "map.json")),
        "classes": ("--CreateWebDataset-category-map-json", str(evil / "classes.json")),
        "previous": ("--CreateWebDataset-previous-category-map", str(evil / "broken.json")),
        "detections": ("--CreateWebDataset-megadetector-results-json", str(evil / "detections.json")),
        "detections-broken": ("--CreateWebDataset-megadetector-results-json", str(evil / "broken.json")),
        "hosts": ("--FetchChunk-host-limits", str(evil / "hosts.csv")),
        "choice": ("--FetchChunk-inaturalist-size", EVIL),
        "number": ("--CleanDataset-thumb-size", EVIL),
        "option": (f"--CleanDataset-{EVIL}", "1"),
        "agent": ("--FetchChunk-user-agent", EVIL),
        "addresses": ("--FetchChunk-allow-addresses", EVIL),
        "scheduler": ("--local-scheduler", "false", "--scheduler-host", f"h{EVIL}.invalid"),
        "missing": ("--CleanDataset-life-stage-predictions", str(evil / f"none{EVIL}.csv")),
    }


@pytest.mark.slow
def test_hostile_entries_of_lists_and_options_are_printed_escaped(server: FaultyServer, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", server)
    dataset = Dataset(archive, tmp_path / "out", chunks=1)
    dataset.make(*OPTIONS)
    for name, arguments in _lists(tmp_path).items():
        ended = dataset.run(*OPTIONS, *arguments)
        assert_is_plain(ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr, (name, ended.stderr)


def _metas() -> dict[str, dict[str, str | bytes]]:
    plain = make_gbif_meta_xml()
    return {
        "location": {"meta_xml": plain.replace("multimedia.txt", f"{XML_EVIL}.txt")},
        "encoding": {"meta_xml": plain.replace('encoding="UTF-8"', f'encoding="{XML_EVIL}"')},
        "separator": {"meta_xml": plain.replace('fieldsTerminatedBy="\\t"', f'fieldsTerminatedBy="{XML_EVIL}"')},
        "row-type": {"meta_xml": re.sub('rowType="[^"]*"', f'rowType="http://{XML_EVIL}"', plain)},
        "term": {"meta_xml": plain.replace("lifeStage", XML_EVIL)},
        "index": {"meta_xml": plain.replace('<id index="0"/>', f'<id index="{XML_EVIL}"/>')},
        "escape-in-xml": {"meta_xml": plain.replace("multimedia.txt", EVIL)},
        "element": {"meta_xml": plain.replace("<files>", f"<files{XML_EVIL}>")},
        "no-meta": {"meta_xml": EVIL},
        "nul": {"occurrence_txt": b"gbifID\tdatasetKey\n" + EVIL.encode() + b"\0\xff\n"},
    }


@pytest.mark.parametrize("name", list(_metas()))
def test_hostile_values_of_meta_xml_are_printed_escaped(name: str, server: FaultyServer, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / f"{EVIL}.zip", server, **_metas()[name])
    ended = Dataset(archive, tmp_path / "out", chunks=1).run(task="ReadArchive")
    assert_is_plain(ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
