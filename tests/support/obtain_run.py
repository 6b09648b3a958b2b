"""A folder into which archives are obtained from the imitation of GBIF's API, with a clock that only tests move."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.obtain import gbif_api as client_side
from gbif_webdataset.obtain.archive_entry import ArchiveEntry
from gbif_webdataset.obtain.fetch_archive import Obtaining, Reports, fetch_archives
from gbif_webdataset.obtain.http_client import HttpClient
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.obtain.sources import LocalArchive, RemoteSource, parse_sources
from gbif_webdataset.storage.atomic import TEMPORARY
from tests.support.gbif_api import GbifApi

LOOPBACK = "127.0.0.1/32"


@dataclass
class ManualClock:
    """A clock whose pauses take no time; `pauses` are their lengths in seconds."""

    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class ObtainRun:
    """A folder for archives; `sentences` and `bytes` are what was reported."""

    def __init__(self, server: GbifApi, folder: Path, wait_hours: float = 24.0, request_timeout: float = 5.0) -> None:
        self.folder, self.wait_hours = folder, wait_hours
        self.clock = ManualClock()
        self.sentences: list[str] = []
        self.bytes: list[tuple[str, int, int]] = []
        self.client = HttpClient(AddressGuard([LOOPBACK]), request_timeout)
        self.api = client_side.GbifApi(self.client, server.url)
        self.pauses = Pauses(self.clock.sleep, wait_hours, self.sentences.append)

    def obtain(self, value: str) -> list[ArchiveEntry]:
        """Obtain what a value of --dwca names."""
        return self.obtain_sources([source for source in parse_sources(value) if not isinstance(source, LocalArchive)])

    def obtain_sources(self, sources: Sequence[RemoteSource]) -> list[ArchiveEntry]:
        """Obtain the archives of some sources."""
        reports = Reports(self.sentences.append, lambda *numbers: self.bytes.append(numbers))
        obtaining = Obtaining(self.folder, self.client, self.api, self.clock.sleep, self.wait_hours, reports)
        return fetch_archives(sources, obtaining)

    def zip_of(self, key: str) -> bytes:
        return (self.folder / f"{key}.zip").read_bytes()

    def list_files(self) -> set[str]:
        """The files, without temporary ones of killed processes, which the next run of a task deletes."""
        return {path.name for path in self.folder.iterdir() if not path.name.startswith(TEMPORARY)}
