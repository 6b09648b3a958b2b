"""What is known of an obtained archive: archive/<name>.json beside archive/<name>.zip."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from gbif_webdataset.obtain.gbif_api import GbifDownload
from gbif_webdataset.obtain.sources import ArchiveUrl, DownloadDoi, DownloadKey
from gbif_webdataset.storage.atomic import file_sha256
from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json

RemoteArchive = DownloadKey | DownloadDoi | ArchiveUrl
CHECKLIST_KEY = "checklistKey"


@dataclass(frozen=True)
class ArchiveEntry:
    """An archive that is or will be in the folder `archive`.

    Attributes:
        name: of its files, without ending: the key of the download, or a name made from the address.
        source: what the user gave.
        status: GBIF's word, such as SUCCEEDED; empty for an address.
        size, sha256: of the zip; 0 and empty until they are known.
        url: where the zip comes from.
        checklistKey: of the taxonomy that was requested; empty if the request states none.
        request: the predicate and format of the download, without the user's name and address.
        created: when the download was requested. time: when the zip was complete here.
    """

    name: str
    source: str
    key: str = ""
    doi: str = ""
    license: str = ""
    status: str = ""
    size: int = 0
    sha256: str = ""
    url: str = ""
    checklistKey: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    time: str = ""

    @classmethod
    def of_download(cls, source: str, download: GbifDownload) -> "ArchiveEntry":
        """Return the entry of a download of GBIF."""
        return cls(
            name=download.key,
            source=source,
            key=download.key,
            doi=download.doi,
            license=download.license,
            status=download.status,
            size=download.size,
            url=download.link,
            checklistKey=str(download.request.get(CHECKLIST_KEY) or ""),
            request=download.request,
            created=download.created,
        )

    @classmethod
    def of_url(cls, source: ArchiveUrl) -> "ArchiveEntry":
        """Return the entry of a zip at an address."""
        name = f"{source.folder_name}-{sha256(source.url.encode()).hexdigest()[:8]}"
        return cls(name, source=source.url, url=source.url)

    @property
    def zip_name(self) -> str:
        """The name of the zip."""
        return f"{self.name}.zip"

    @property
    def json_name(self) -> str:
        """The name of the file with this entry."""
        return f"{self.name}.json"

    def is_of(self, source: RemoteArchive) -> bool:
        """Whether this is the archive that a source names."""
        match source:
            case DownloadKey(key):
                return self.key == key
            case DownloadDoi(doi):
                return self.doi == doi
            case ArchiveUrl(url):
                return self.source == url

    def is_complete(self, folder: Path) -> bool:
        """Whether the zip is there, byte for byte."""
        path = folder / self.zip_name
        return bool(self.sha256) and path.is_file() and file_sha256(path) == self.sha256

    def save(self, folder: Path) -> None:
        """Write the entry."""
        folder.mkdir(parents=True, exist_ok=True)
        write_checked_json(folder / self.json_name, asdict(self))


def find_entry(folder: Path, source: RemoteArchive) -> ArchiveEntry | None:
    """Return the entry of an archive that an earlier run began to obtain; None if there is none."""
    return next((entry for entry in _load_entries(folder) if entry.is_of(source)), None)


def _load_entries(folder: Path) -> Iterator[ArchiveEntry]:
    """Yield the entries in a folder. Damaged files and those of another kind count as absent."""
    for path in sorted(folder.glob("*.json")):
        try:
            entry = ArchiveEntry(**read_checked_json(path)[0])
        except (DamagedJsonError, TypeError, OSError):
            continue
        if entry.json_name == path.name and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", entry.name):
            yield entry
