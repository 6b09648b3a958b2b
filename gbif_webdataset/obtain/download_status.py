"""What the status of a download means, and what the user can do."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import FetchError, shorten_text
from gbif_webdataset.obtain.archive_entry import ArchiveEntry
from gbif_webdataset.obtain.gbif_api import GoneError
from gbif_webdataset.obtain.request_file import send_command, write_request

FORMAT = "DWCA"
MAX_QUOTED_CHARACTERS = 100


class DownloadStatus(StrEnum):
    """GBIF's words, from org.gbif.api.model.occurrence.Download.Status."""

    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    CANCELLED = "CANCELLED"
    FILE_ERASED = "FILE_ERASED"


WAITING: dict[str, str] = {
    DownloadStatus.PREPARING: "the download is in GBIF's queue, behind other downloads (PREPARING)",
    DownloadStatus.RUNNING: "GBIF is collecting the occurrences of the download (RUNNING)",
    DownloadStatus.SUSPENDED: "GBIF has paused the download, and will continue it by itself (SUSPENDED)",
}
ENDED: dict[str, str] = {
    DownloadStatus.FAILED: "GBIF could not make the download (FAILED)",
    DownloadStatus.KILLED: "GBIF's system stopped the download (KILLED)",
    DownloadStatus.CANCELLED: "the user who requested the download cancelled it (CANCELLED)",
}
ERASED = "GBIF has deleted the file of the download, as it does after six months if nobody cites it (FILE_ERASED)"
GONE = "GBIF answers that the file of the download is gone (status 410)"


def check_status(entry: ArchiveEntry, folder: Path) -> str:
    """Return what GBIF is doing while the download is not ready; an empty text if it is ready.

    A status that this version does not know counts as not ready.

    Raises:
        FetchError, GoneError: the download will never be ready. The sentence names the command that requests it again.
    """
    if entry.status == DownloadStatus.SUCCEEDED:
        return ""
    if entry.status == DownloadStatus.FILE_ERASED:
        raise GoneError.at(entry.name, ERASED, _describe_request(entry.name, entry.request, folder))
    if sentence := ENDED.get(entry.status):
        raise FetchError.at(entry.name, sentence, _describe_request(entry.name, entry.request, folder))
    waiting = WAITING.get(
        entry.status, f"GBIF states the status {shorten_text(entry.status, MAX_QUOTED_CHARACTERS) or '(none)'}"
    )
    return f"{entry.name}: {waiting}"


def check_format(entry: ArchiveEntry, folder: Path) -> None:
    """Return if a download is a Darwin Core Archive, or if GBIF does not state its format.

    Raises:
        FetchError: it has another format, which has no photos. The sentence names the command that requests an archive.
    """
    form = str(entry.request.get("format") or FORMAT)
    if form != FORMAT:
        problem = f"the format of the download is {shorten_text(form, MAX_QUOTED_CHARACTERS)}, which has no media"
        raise FetchError.at(entry.name, problem, _describe_request(entry.name, entry.request, folder))


def explain_gone(name: str, request: Mapping[str, Any], folder: Path) -> GoneError:
    """Return the error for a download for which the host answers with status 410; `request` is empty if unknown."""
    return GoneError.at(name, GONE, _describe_request(name, request, folder))


def _describe_request(name: str, request: Mapping[str, Any], folder: Path) -> str:
    """Return how to request a download again. If its request is known and has a predicate, it is written to a file."""
    if not request.get("predicate"):
        return f"request a Darwin Core Archive on https://www.gbif.org/occurrence/download/{name}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('/', '-')}.request.json"
    write_request(path, {**request, "format": FORMAT})
    return (
        f"request a Darwin Core Archive with `{send_command(path)}`, and then use DWCA={path}; the new download may "
        "have more occurrences and has another DOI"
    )
