"""GBIF's API: JSON answers, and the metadata of downloads. See https://techdocs.gbif.org/en/openapi/v1/occurrence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, urlencode

import requests

from gbif_webdataset.errors import DatasetError, FetchError, shorten_text
from gbif_webdataset.obtain.credentials import VARIABLES, Credentials
from gbif_webdataset.obtain.http_client import HttpClient, TemporaryError
from gbif_webdataset.obtain.sources import is_download_key

GBIF_API = "https://api.gbif.org"
DOWNLOADS = "/v1/occurrence/download"
MAX_ANSWER_BYTES = 32 << 20
MAX_QUOTED_CHARACTERS = 300
PERSONAL = ("creator", "notificationAddresses", "notification_address", "sendNotification", "created")
"""What a request says of its user."""

Query = Sequence[tuple[str, str]]


class NotFoundError(DatasetError):
    """GBIF knows nothing by this name."""


class GoneError(DatasetError):
    """GBIF has deleted what was asked for."""


@dataclass(frozen=True)
class GbifDownload:
    """The metadata of a download. What GBIF does not state is empty or 0; `size` is in bytes."""

    key: str
    status: str
    doi: str = ""
    license: str = ""
    size: int = 0
    link: str = ""
    created: str = ""
    request: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Any) -> Self:
        """Return the metadata in an answer of the API.

        Raises:
            FetchError: the answer describes several downloads.
            NotFoundError: the answer describes no download.
            TemporaryError: the answer does not describe a download.
        """
        several = values.get("results") if isinstance(values, dict) else values
        if isinstance(several, list):
            if not several:
                raise NotFoundError.at("the answer of GBIF", "there is no download in it", "check the key or DOI")
            if len(several) > 1:
                keys = [str(one.get("key")) for one in several if isinstance(one, dict)]
                problem = f"GBIF has {len(several)} downloads for it"
                raise FetchError.at(", ".join(keys[:10]) or "no key", problem, "give the key of one of them")
            [values] = several
        if not isinstance(values, dict) or not is_download_key(str(values.get("key"))):
            raise TemporaryError("the answer of GBIF does not describe a download")
        request = values.get("request")
        size = values.get("size")
        return cls(
            key=str(values["key"]),
            status=str(values.get("status") or ""),
            doi=str(values.get("doi") or "").lower().removeprefix("https://doi.org/"),
            license=str(values.get("license") or ""),
            size=size if type(size) is int and size > 0 else 0,
            link=str(values.get("downloadLink") or ""),
            created=str(values.get("created") or ""),
            request=remove_personal(request) if isinstance(request, dict) else {},
        )


class GbifApi:
    """Requests to the API at the address `base`, which may end with /v1."""

    def __init__(self, client: HttpClient, base: str) -> None:
        self._client, self.base = client, base.rstrip("/").removesuffix("/v1")

    def find_download(self, key_or_doi: str) -> GbifDownload:
        """Return the metadata of a download.

        Raises:
            TemporaryError: the request failed, and may succeed later.
            NotFoundError, GoneError, FetchError: there is no such download, or the request was refused.
        """
        return GbifDownload.parse(self.read_json(f"{DOWNLOADS}/{quote(key_or_doi)}"))

    def read_json(self, path: str, query: Query = (), credentials: Credentials | None = None) -> Any:
        """Return the JSON at a path. Raises what `find_download` raises."""
        url = self.base + path + (f"?{urlencode(query)}" if query else "")
        with self._client.open(url, {"Accept": "application/json"}, credentials=credentials) as response:
            body = _read_body(response)
            self._check_status(response.status_code, url, body, credentials)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise TemporaryError(f"{self.base} answers with a page that is not JSON") from None

    def submit(self, request: Mapping[str, Any], credentials: Credentials) -> str:
        """Submit a request for a download. Return the key of the new download."""
        url = f"{self.base}{DOWNLOADS}/request"
        body = json.dumps(request).encode()
        with self._client.open(url, {"Accept": "text/plain"}, body=body, credentials=credentials) as response:
            answer = _read_body(response).decode(errors="replace").strip().strip('"')
            self._check_status(response.status_code, url, answer.encode(), credentials)
        if not is_download_key(answer):
            raise FetchError.at(url, "the answer is not the key of a download", "look at your downloads on gbif.org")
        return answer

    def _check_status(self, status: int, url: str, body: bytes, credentials: Credentials | None) -> None:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and credentials:
            names = " and ".join(VARIABLES)
            remedy = f"correct {names} or the entry in ~/.netrc; the user name is not the e-mail address"
            raise FetchError.at(self.base, f"user name or password is refused (status {status})", remedy)
        if status == HTTPStatus.NOT_FOUND:
            raise NotFoundError.at(url, "GBIF has nothing there (status 404)", "check the key or DOI")
        if status == HTTPStatus.GONE:
            raise GoneError.at(url, "GBIF has deleted it (status 410)", "request it again")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            quoted = shorten_text(" ".join(body.decode(errors="replace").split()), MAX_QUOTED_CHARACTERS)
            raise FetchError.at(url, f"the request is refused (status {status}: {quoted})", "correct the request")


def remove_personal(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without what it says of its user."""
    return {name: value for name, value in request.items() if name not in PERSONAL and value not in (None, [], "")}


def _read_body(response: requests.Response) -> bytes:
    body: bytes = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    if len(body) > MAX_ANSWER_BYTES:
        raise TemporaryError(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
    return body
