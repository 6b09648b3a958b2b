"""RequestDownload: write a download request and submit it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gbif_webdataset.errors import FetchError, SelectionError
from gbif_webdataset.obtain.credentials import Credentials
from gbif_webdataset.obtain.download_status import WAITING, DownloadStatus
from gbif_webdataset.obtain.gbif_api import DOWNLOADS, GbifApi, GbifDownload, GoneError, NotFoundError
from gbif_webdataset.obtain.http_client import TOO_MANY, TemporaryError
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.obtain.request_file import digest_request, find_sent_key, save_sent
from gbif_webdataset.obtain.species_list import NameMatch

PAGE = 50
MAX_PAGES = 40
USABLE = (DownloadStatus.SUCCEEDED, *WAITING)


def make_request(filters: OccurrenceFilters, matches: Sequence[NameMatch], checklist: str) -> dict[str, Any]:
    """Return the request for a Darwin Core Archive with the photos of all taxa that were found.

    Raises:
        SelectionError: no name was found.
    """
    keys = list(dict.fromkeys(match.key for match in matches if match.key))
    if not keys:
        raise SelectionError.at("the list of names", "GBIF found none of the names", "check their spelling")
    return {
        "sendNotification": False,
        "format": "DWCA",
        "checklistKey": checklist,
        "predicate": filters.make_predicate(keys, checklist),
    }


@dataclass(frozen=True)
class Submission:
    """The key of a download, and whether it was requested before."""

    key: str
    is_earlier: bool


def submit_request(
    api: GbifApi, path: Path, request: Mapping[str, Any], credentials: Credentials, pauses: Pauses
) -> Submission:
    """Submit the request in a file, unless the user has an equal download that is ready or being made.

    The key is recorded beside the file. A submission is never repeated by itself, because GBIF might have accepted it.

    Raises:
        FetchError: GBIF refuses the request, is busy, or does not answer.
    """
    key = find_sent_key(path, request)
    if not (key and _is_usable(api, key, pauses)):
        key = _find_equal(api, request, credentials, pauses)
    submission = Submission(key or _submit(api, request, credentials), bool(key))
    save_sent(path, request, submission.key)
    return submission


def _is_usable(api: GbifApi, key: str, pauses: Pauses) -> bool:
    """Whether a download is ready or being made."""
    try:
        return pauses.retry(lambda: api.find_download(key)).status in USABLE
    except (NotFoundError, GoneError):
        return False


def _find_equal(api: GbifApi, request: Mapping[str, Any], credentials: Credentials, pauses: Pauses) -> str:
    """Return the key of the newest of the user's downloads that has the same request; empty if there is none."""
    path = f"{DOWNLOADS}/user/{quote(credentials.user, safe='')}"
    for page in range(MAX_PAGES):
        query = [("limit", str(PAGE)), ("offset", str(page * PAGE)), *(("status", status) for status in USABLE)]
        answer = pauses.retry(partial(api.read_json, path, query, credentials))
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise FetchError.at(api.base, "the answer does not list your downloads", "run the same command again later")
        for values in results:
            download = _parse_listed(values)
            if download and download.status in USABLE and digest_request(download.request) == digest_request(request):
                return download.key
        if answer.get("endOfRecords", True) or not results:
            break
    return ""


def _parse_listed(values: Any) -> GbifDownload | None:
    """Return a download of the user's list; None for an entry that does not describe one."""
    try:
        return GbifDownload.parse(values)
    except (TemporaryError, FetchError, NotFoundError):
        return None


def _submit(api: GbifApi, request: Mapping[str, Any], credentials: Credentials) -> str:
    try:
        return api.submit(request, credentials)
    except TemporaryError as error:
        if error.status in TOO_MANY:
            problem = "GBIF has not accepted the request, because it makes one to three downloads of a user at a time"
            raise FetchError.at(str(error), problem, "run the same command again when a download is ready") from error
        remedy = "run the same command again later: it first looks whether GBIF has received the request"
        raise FetchError.at(str(error), "it is not certain that GBIF has accepted the request", remedy) from error
