"""RequestDownload: from a list of names to a download request at GBIF."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.obtain.count_occurrences import count_occurrences, format_counts, name_species, write_counts
from gbif_webdataset.obtain.credentials import find_credentials
from gbif_webdataset.obtain.gbif_api import GBIF_API, GbifApi
from gbif_webdataset.obtain.http_client import HttpClient
from gbif_webdataset.obtain.occurrence_filters import (
    BASES,
    LICENSES,
    OccurrenceFilters,
    parse_choices,
    parse_countries,
    parse_years,
)
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.obtain.request_download import make_request, submit_request
from gbif_webdataset.obtain.request_file import read_request, send_command, write_request
from gbif_webdataset.obtain.species_list import MatchJournal, format_matches, match_names, read_names, write_matches
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE
from tasks.framework.messages import print_note, print_text
from tasks.framework.parameters import Choice, FilePath, Flag, InputFile, Real, Text, WebAddress, split_list
from tasks.framework.worker_processes import RunTask

TAXONOMIES = {"catalogue-of-life": CATALOGUE_OF_LIFE, "backbone": BACKBONE}
WAIT_HOURS = 1.0
PROGRESS_STEP = 100
Item = TypeVar("Item")


class RequestDownload(RunTask):
    """Write a request for a GBIF download of occurrences with photos, and show how many occurrences it matches.

    With --send it submits the request, also one that an earlier command wrote. This needs a user name and password at
    GBIF, in GBIF_USER and GBIF_PWD or in ~/.netrc. A request is not submitted if the user has an equal download that is
    ready or being made.
    """

    request: str = FilePath(default="request.json", description="The file with the request.")
    names: str = InputFile(
        default="",
        description="File of scientific names, one per line, or a CSV with scientificName, rank, kingdom. A higher "
        "taxon includes all taxa below it. Empty: the request was written before.",
    )
    country: str = Text(default="", description="Country codes, separated by commas, such as DK,SE. Empty: all.")
    year: str = Text(default="", description="A year, or the first and the last year: 2015,2026. Empty: all years.")
    licenses: str = Text(
        default="",
        description=f"Licences of the occurrences, separated by commas: {', '.join(LICENSES)}. Single photos can have "
        "others, which --ReadArchive-licenses selects. Empty: all.",
    )
    basis: str = Text(
        default="", description="Values of basisOfRecord, separated by commas, such as HUMAN_OBSERVATION. Empty: all."
    )
    taxonomy: str = Choice(
        default="catalogue-of-life",
        choices=tuple(TAXONOMIES),
        description="Checklist of the names and of the taxon keys in the download. backbone: GBIF's older one, which "
        "is not updated any more.",
    )
    send: bool = Flag(default=False, description="true: submit the request to GBIF. false: only write and count it.")
    api: str = WebAddress(default=GBIF_API, description="Address of GBIF's API, or of a server that offers the same.")
    request_timeout: float = Real(
        default=60.0, minimum=0.1, description="Maximum time without a byte from GBIF, in seconds."
    )
    allow_addresses: str = Text(
        default="",
        description="CIDR blocks, separated by commas, that `api` may be in although they are not public. Empty: none.",
    )

    _has_run = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.filters = OccurrenceFilters(
            countries=parse_countries(split_list(self.country), "--RequestDownload-country"),
            years=parse_years(split_list(self.year), "--RequestDownload-year"),
            licenses=parse_choices(split_list(self.licenses), tuple(LICENSES), "--RequestDownload-licenses"),
            bases=parse_choices(split_list(self.basis), BASES, "--RequestDownload-basis"),
        )
        if not self.names and (self.filters != OccurrenceFilters() or not self.send):
            remedy = "give --names FILE (with make: NAMES=FILE), or only --send to submit a request"
            raise ParameterError.at("--RequestDownload-names", "there is no list of names", remedy)
        self.path = Path(self.request)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago

    def complete(self) -> bool:
        """Whether this process has made the request, so that every command makes it again."""
        return self._has_run

    def run(self) -> None:
        """Write and count the request, and submit it with `send`."""
        guard = AddressGuard(split_list(self.allow_addresses), "--RequestDownload-allow-addresses")
        api = GbifApi(HttpClient(guard, self.request_timeout), self.api)
        pauses = Pauses(time.sleep, WAIT_HOURS, print_note)
        credentials = find_credentials(self.api) if self.send else None
        if self.names:
            self._write_request(api, pauses)
        request = read_request(self.path)
        if credentials:
            submission = submit_request(api, self.path, request, credentials, pauses)
            done = "you have this download already" if submission.is_earlier else "the request is submitted"
            print_text(f"{submission.key}: {done}. Make the dataset with")
            print_text(f"  make dataset DWCA={submission.key}")
        else:
            print_text(f"{self.path} is written and not submitted. Submit it with\n  {send_command(self.path)}")
        self._has_run = True

    def _write_request(self, api: GbifApi, pauses: Pauses) -> None:
        checklist, names = TAXONOMIES[self.taxonomy], read_names(Path(self.names))
        print_note(f"looking up {len(names):,} names and their occurrences at {self.api} ...")
        journal = MatchJournal(self.path.with_suffix(".matches.jsonl"), checklist)
        matches = list(_show_progress("names looked up", match_names(api, names, pauses, journal), len(names)))
        table = self.path.with_suffix(".names.csv")
        write_matches(table, matches)
        print_text(format_matches(matches, table))
        write_request(self.path, make_request(self.filters, matches, checklist))
        counts = count_occurrences(api, self.filters, matches, checklist, pauses)
        named = name_species(api, counts, checklist, pauses)
        counts = list(_show_progress("species counted", named, len(counts)))
        table = self.path.with_suffix(".counts.csv")
        write_counts(table, counts)
        print_text(format_counts(counts, table))
        journal.path.unlink(missing_ok=True)


def _show_progress(done: str, items: Iterator[Item], total: int) -> Iterator[Item]:
    """Yield the items, and print how many are done after every PROGRESS_STEP of them."""
    for number, item in enumerate(items, 1):
        if number % PROGRESS_STEP == 0:
            print_note(f"{number:,} of {total:,} {done}")
        yield item
