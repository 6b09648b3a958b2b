"""FetchArchive: obtain the archives that keys, DOIs, addresses and requests stand for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain.archive_entry import ArchiveEntry, RemoteArchive, find_entry
from gbif_webdataset.obtain.check_zip import DamagedZipError, check_zip
from gbif_webdataset.obtain.download_status import check_format, check_status, explain_gone
from gbif_webdataset.obtain.gbif_api import DOWNLOADS, GbifApi, GbifDownload, GoneError, NotFoundError
from gbif_webdataset.obtain.http_client import HttpClient, TemporaryError
from gbif_webdataset.obtain.object_transfer import transfer_object
from gbif_webdataset.obtain.pauses import CONTINUE, Pauses, Sleep
from gbif_webdataset.obtain.request_file import read_request, resolve_request
from gbif_webdataset.obtain.sources import ArchiveUrl, DownloadDoi, DownloadKey, RemoteSource, RequestFile
from gbif_webdataset.obtain.transfer import Transfer, WrongContentError, transfer
from gbif_webdataset.remote.store_address import is_store_address
from gbif_webdataset.storage.atomic import file_sha256, sync

MAX_WRONG_ANSWERS = 3
"""After so many answers in a row that are not the zip, the transfer ends with an error."""


@dataclass(frozen=True)
class Reports:
    """Functions that show the progress.

    `sentence` gets a sentence before each pause and about each step. `bytes` gets the name of an archive, the number of
    bytes so far, and the number of all its bytes, which is 0 if it is not known.
    """

    sentence: Callable[[str], None]
    bytes: Callable[[str, int, int], None]


@dataclass(frozen=True)
class Obtaining:
    """The folder of the archives, and what is needed to fill it."""

    folder: Path
    client: HttpClient
    api: GbifApi
    sleep: Sleep
    wait_hours: float
    reports: Reports

    def start_pauses(self) -> Pauses:
        """Return the pauses of a new phase, with all of its time before it."""
        return Pauses(self.sleep, self.wait_hours, self.reports.sentence, "--FetchArchive-wait-hours")


def fetch_archives(sources: Sequence[RemoteSource], obtaining: Obtaining) -> list[ArchiveEntry]:
    """Obtain an archive for each source. Those that are complete in the folder need no request.

    All downloads are looked up before the first transfer, so that a wrong key is reported at once.

    Raises:
        FetchError, NotFoundError, GoneError, ParameterError: an archive cannot be obtained, or not within the time.
    """
    archives = [find_archive(source) for source in sources]
    complete = {archive: entry for archive in archives if (entry := _find_complete(archive, obtaining))}
    requests = {find_archive(one): read_request(one.path) for one in sources if isinstance(one, RequestFile)}
    begun = {
        archive: _find_metadata(archive, requests.get(archive, {}), obtaining)
        for archive in archives
        if archive not in complete
    }
    return [
        complete.get(archive) or _find_complete(archive, obtaining) or _obtain(begun[archive], archive, obtaining)
        for archive in archives
    ]


def find_archive(source: RemoteSource) -> RemoteArchive:
    """Return the archive of a source: that of a request has the key under which it was submitted."""
    return DownloadKey(resolve_request(source.path)) if isinstance(source, RequestFile) else source


def _find_complete(archive: RemoteArchive, obtaining: Obtaining) -> ArchiveEntry | None:
    entry = find_entry(obtaining.folder, archive)
    return entry if entry and entry.is_complete(obtaining.folder) else None


def _find_metadata(archive: RemoteArchive, request: Mapping[str, Any], obtaining: Obtaining) -> ArchiveEntry:
    """Return the entry of an archive, as GBIF describes it now, and save it. `request` is empty if it is not known."""
    if isinstance(archive, ArchiveUrl):
        entry = ArchiveEntry.of_url(archive)
        entry.save(obtaining.folder)
        return entry
    earlier = find_entry(obtaining.folder, archive)
    request = request or (earlier.request if earlier else {})
    entry = _read_entry(archive, request, obtaining, obtaining.start_pauses())
    check_format(entry, obtaining.folder)
    return entry


def _read_entry(
    archive: DownloadKey | DownloadDoi, request: Mapping[str, Any], obtaining: Obtaining, pauses: Pauses
) -> ArchiveEntry:
    """Return the entry of a download, as GBIF describes it now, and save it. Temporary failures are retried."""
    try:
        download = pauses.retry(lambda: obtaining.api.find_download(str(archive)))
    except NotFoundError:
        remedy = "check it: it is on the page of your download on gbif.org"
        raise NotFoundError.at(f"--dwca {archive}", "GBIF has no such download", remedy) from None
    except GoneError as error:
        raise explain_gone(str(archive), request, obtaining.folder) from error
    _check_identity(archive, download)
    entry = ArchiveEntry.of_download(str(archive), download)
    entry.save(obtaining.folder)
    return entry


def _check_identity(archive: DownloadKey | DownloadDoi, download: GbifDownload) -> None:
    given = download.key if isinstance(archive, DownloadKey) else download.doi
    if given != str(archive):
        problem = f"GBIF answers with another download, {download.key} ({download.doi or 'without a DOI'})"
        raise FetchError.at(f"--dwca {archive}", problem, "give the key or DOI that is on the page of your download")


def _obtain(entry: ArchiveEntry, archive: RemoteArchive, obtaining: Obtaining) -> ArchiveEntry:
    """Wait until the zip is ready, transfer it and check it."""
    if not isinstance(archive, ArchiveUrl):
        entry = _wait_until_ready(entry, archive, obtaining)
    file = Transfer(
        url=entry.url or f"{obtaining.api.base}{DOWNLOADS}/request/{entry.zip_name}",
        path=obtaining.folder / entry.zip_name,
        size=entry.size,
    )
    try:
        _transfer_and_check(file, obtaining)
    except GoneError as error:
        if isinstance(archive, ArchiveUrl):
            raise
        raise explain_gone(entry.name, entry.request, obtaining.folder) from error
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = replace(entry, size=file.count_bytes(), sha256=file_sha256(file.part), time=now)
    entry.save(obtaining.folder)
    file.part.replace(file.path)
    sync(obtaining.folder)
    file.validator_path.unlink(missing_ok=True)
    return entry


def _wait_until_ready(entry: ArchiveEntry, archive: DownloadKey | DownloadDoi, obtaining: Obtaining) -> ArchiveEntry:
    """Return the entry of a download whose zip is ready."""
    pauses = obtaining.start_pauses()
    while sentence := check_status(entry, obtaining.folder):
        pauses.wait(sentence)
        entry = _read_entry(archive, entry.request, obtaining, pauses)
    return entry


def _transfer_and_check(file: Transfer, obtaining: Obtaining) -> None:
    """Transfer a file, in as many attempts as it takes, and check that it is a complete zip.

    Raises:
        FetchError: the host sends something else, or too many attempts brought no byte that can be kept.
    """
    pauses, wrong = obtaining.start_pauses(), 0
    while True:
        offset = file.find_offset()
        try:
            report_bytes = partial(obtaining.reports.bytes, file.name)
            if is_store_address(file.url):
                transfer_object(file, report_bytes)
            else:
                transfer(obtaining.client, file, report_bytes)
            _check_file(file, obtaining)
            return
        except TemporaryError as error:
            if file.find_offset() > offset:
                pauses, wrong = obtaining.start_pauses(), 0
            pauses.wait_after(error)
        except (WrongContentError, DamagedZipError) as error:
            if isinstance(error, DamagedZipError):
                file.restart()
            wrong += 1
            if wrong >= MAX_WRONG_ANSWERS:
                other = f"delete {file.part} to start over" if file.count_bytes() else "ask the host"
                raise FetchError.at(file.url, f"{error} ({wrong} attempts)", f"{CONTINUE}, or {other}") from error
            pauses.wait(f"{file.url}: {error}; it is requested again")


def _check_file(file: Transfer, obtaining: Obtaining) -> None:
    size = file.count_bytes()
    if file.size and size < file.size:
        raise TemporaryError(f"the transfer stopped after {size:,} of {file.size:,} bytes")
    if file.size and size > file.size:
        raise WrongContentError(f"the file has {size:,} bytes in place of {file.size:,}")
    obtaining.reports.sentence(f"{file.name}: the transfer is complete; checking the zip")
    check_zip(file.part)
