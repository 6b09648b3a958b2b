"""FetchArchive: from a download key, a DOI, an address or a request to the archive."""

import time
from contextlib import ExitStack, suppress
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError, ParameterError, option_text
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.obtain.archive_entry import ArchiveEntry, find_entry
from gbif_webdataset.obtain.fetch_archive import Obtaining, Reports, fetch_archives, find_archive
from gbif_webdataset.obtain.gbif_api import GBIF_API, GbifApi
from gbif_webdataset.obtain.http_client import HttpClient
from gbif_webdataset.obtain.request_file import digest_request, find_sent_key, read_request
from gbif_webdataset.obtain.sources import LocalArchive, RemoteSource, RequestFile, parse_sources
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.terms.downloads import DownloadStatement
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note
from tasks.framework.parameters import Real, Text, WebAddress, split_list
from tasks.framework.progress import Progress


class FetchArchive(DatasetTask):
    """Wait for the GBIF downloads that --dwca names, download and check them, and put them into the folder `archive`.

    It never submits a request. Archives on this machine need no download. A download that is in the folder and complete
    needs no request to GBIF. Run it alone on a machine with internet access if the other stages have none.
    """

    api: str = WebAddress(
        default=GBIF_API, significant=False, description="Address of GBIF's API, or of a server that offers the same."
    )
    wait_hours: float = Real(
        default=24.0,
        significant=False,
        description="Maximum time to wait for a download, and for a transfer without progress, in hours. Afterwards "
        "the task fails, and the same command continues.",
    )
    request_timeout: float = Real(
        default=60.0,
        minimum=0.1,
        significant=False,
        description="Maximum time without a byte from the host, in seconds; after it the request is repeated.",
    )
    allow_addresses: str = Text(
        default="",
        significant=False,
        description="CIDR blocks, separated by commas, that archives may be downloaded from although the addresses are "
        "not public, such as 10.1.0.0/16. Empty: public addresses only.",
    )

    def requires(self) -> list[DatasetTask]:
        """Nothing."""
        return []

    @property
    def sources(self) -> list[RemoteSource]:
        """The archives that --dwca names and that are not on this machine."""
        return [source for source in parse_sources(self.dwca) if not isinstance(source, LocalArchive)]

    @property
    def is_needed(self) -> bool:
        """Whether an archive is not on this machine. A value that names nothing is reported when it is read."""
        with suppress(ParameterError):
            return bool(self.sources)
        return False

    def inputs(self) -> dict[str, str]:
        """A digest of the sources; of a request, the key under which it was submitted last."""
        named = [
            _name_request(source.path) if isinstance(source, RequestFile) else str(source) for source in self.sources
        ]
        return {"dwca": digest_of({"sources": named})}

    def list_archives(self) -> tuple[Path, ...]:
        """Return the path of each archive that --dwca names, in that order.

        Raises DatasetError if an archive was not obtained.
        """
        return tuple(
            source.path if isinstance(source, LocalArchive) else self.paths.archive / self._find_entry(source).zip_name
            for source in parse_sources(self.dwca)
        )

    def list_statements(self) -> dict[Path, DownloadStatement]:
        """Return what GBIF states of each archive that is not on this machine, by the path of its zip.

        Raises DatasetError if an archive was not obtained.
        """
        entries = map(self._find_entry, self.sources)
        return {
            self.paths.archive / entry.zip_name: DownloadStatement(entry.doi, entry.checklistKey) for entry in entries
        }

    def _find_entry(self, source: RemoteSource) -> ArchiveEntry:
        entry = find_entry(self.paths.archive, find_archive(source))
        if entry is None:
            problem = "the archive is not in the folder of the dataset"
            raise MissingPieceError.at(option_text("--dwca", source), problem, "run the task FetchArchive")
        return entry

    def run(self) -> None:
        """Obtain the archives."""
        guard = AddressGuard(split_list(self.allow_addresses), "--FetchArchive-allow-addresses")
        client = HttpClient(guard, self.request_timeout)
        with self.write_target() as target, ExitStack() as stack:
            shown: dict[str, Progress] = {}

            def report_bytes(name: str, done: int, total: int) -> None:
                if total and name not in shown:
                    shown[name] = stack.enter_context(self.progress(name, "bytes", total))
                if total:
                    shown[name].update(done, total)

            def report_sentence(sentence: str) -> None:
                for progress in shown.values():
                    progress.print_once(sentence)
                if not shown:
                    print_note(sentence)
                if self.set_status_message:
                    self.set_status_message(sentence)

            obtaining = Obtaining(
                folder=self.paths.archive,
                client=client,
                api=GbifApi(client, self.api),
                sleep=time.sleep,
                wait_hours=self.wait_hours,
                reports=Reports(report_sentence, report_bytes),
            )
            for entry in fetch_archives(self.sources, obtaining):
                target.add(self.paths.archive / entry.zip_name, entry.sha256)
                target.add(self.paths.archive / entry.json_name)


def _name_request(path: Path) -> str:
    request = read_request(path)
    return find_sent_key(path, request) or digest_request(request)
