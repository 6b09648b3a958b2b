import json
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain.archive_entry import ArchiveEntry
from gbif_webdataset.obtain.download_status import DownloadStatus, check_format, check_status, explain_gone
from gbif_webdataset.obtain.gbif_api import GoneError
from tests.support.gbif_api import KEY, PREDICATE

REQUEST = {"predicate": PREDICATE, "format": "SIMPLE_CSV"}


def entry(status: str, **values: object) -> ArchiveEntry:
    return ArchiveEntry(KEY, KEY, KEY, status=status, **values)  # type: ignore[arg-type]


def describe(status: str, folder: Path) -> str:
    try:
        return check_status(entry(status, request=REQUEST), folder)
    except (FetchError, GoneError) as error:
        return str(error)


def test_every_status_has_its_own_sentence(tmp_path: Path) -> None:
    sentences = {status: describe(status, tmp_path) for status in DownloadStatus}
    gone = str(explain_gone(KEY, REQUEST, tmp_path))
    assert sentences.pop(DownloadStatus.SUCCEEDED) == ""
    assert len({*sentences.values(), gone}) == 8
    for status, sentence in sentences.items():
        assert sentence.startswith(f"{KEY}: ")
        assert f"({status})" in sentence


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "CANCELLED", "FILE_ERASED"])
def test_an_ended_download_names_the_command_that_requests_it_again(status: str, tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.request.json"
    assert (
        f"request a Darwin Core Archive with `make request SEND=1 OUTPUT={path}`, and then use DWCA={path};"
        in describe(status, tmp_path)
    )
    assert json.loads(path.read_text()) == {"predicate": PREDICATE, "format": "DWCA"}


def test_without_a_request_the_page_of_the_download_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        GoneError, match=f"request a Darwin Core Archive on https://www.gbif.org/occurrence/download/{KEY}$"
    ):
        check_status(entry("FILE_ERASED"), tmp_path)


@pytest.mark.parametrize("status", ["POLISHING", ""])
def test_an_unknown_status_means_not_ready(status: str, tmp_path: Path) -> None:
    assert check_status(entry(status), tmp_path) == f"{KEY}: GBIF states the status {status or '(none)'}"


def test_a_status_is_quoted_in_part() -> None:
    assert len(check_status(entry("x" * 5000), Path())) < 300


def test_a_download_of_another_format_names_the_command_that_requests_an_archive(tmp_path: Path) -> None:
    with pytest.raises(
        FetchError,
        match=rf"^{KEY}: the format of the download is SIMPLE_CSV, which has no media; request a Darwin .*`make",
    ):
        check_format(entry("RUNNING", request=REQUEST), tmp_path)
    assert json.loads((tmp_path / f"{KEY}.request.json").read_text())["format"] == "DWCA"
    check_format(entry("RUNNING", request={"predicate": PREDICATE, "format": "DWCA"}), tmp_path)
    check_format(entry("RUNNING"), tmp_path)


def test_a_request_in_sql_cannot_be_written_as_one_with_a_predicate(tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match=rf"request a Darwin Core Archive on https://www.gbif.org/occurrence/download/{KEY}$"
    ):
        check_format(entry("RUNNING", request={"sql": "SELECT 1", "format": "SQL_TSV_ZIP"}), tmp_path)
