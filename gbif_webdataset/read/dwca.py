"""An open Darwin Core Archive: which files hold its records and its media."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import containers
from gbif_webdataset.read.containers import Container, normalize_name
from gbif_webdataset.read.event_keys import match_occurrences
from gbif_webdataset.read.meta_xml import CORRECT_IT, BrokenPart, FileLayout, parse_descriptor
from gbif_webdataset.read.text_encodings import get_codec
from gbif_webdataset.terms.downloads import NO_STATEMENT, DownloadStatement

MULTIMEDIA = "http://rs.gbif.org/terms/1.0/multimedia"
AUDUBON = "http://rs.tdwg.org/ac/terms/multimedia"
IMAGE = "http://rs.gbif.org/terms/1.0/image"
DOCUMENT = "http://eol.org/schema/media/document"
OCCURRENCE = "http://rs.tdwg.org/dwc/terms/occurrence"
EVENT = "http://rs.tdwg.org/dwc/terms/event"
VERNACULAR_NAME = "http://rs.gbif.org/terms/1.0/vernacularname"
ASSOCIATED_MEDIA = "http://rs.tdwg.org/dwc/terms/associatedmedia"
URL_COLUMNS = {
    MULTIMEDIA: ("identifier", "accessURI", "bestQualityAccessURI", "goodQualityAccessURI"),
    AUDUBON: ("bestQualityAccessURI", "accessURI", "goodQualityAccessURI", "identifier"),
    IMAGE: ("identifier", "accessURI", "bestQualityAccessURI", "goodQualityAccessURI"),
    DOCUMENT: ("accessURI", "bestQualityAccessURI", "goodQualityAccessURI", "identifier"),
    ASSOCIATED_MEDIA: ("associatedMedia",),
}
"""The row types of media, and the terms that may hold a medium's URL.

An archive's first type with rows is read. Of the terms, the first is used that holds a URL. ASSOCIATED_MEDIA is no row
type, but a column of the occurrences, which is read if there is no media extension.
"""
MEDIA, RECORDS = "media", "records"
MAX_DESCRIPTOR_BYTES = 4 << 20
MAX_METADATA_BYTES = 16 << 20
MAX_NOTES = 20
PIECE_CHARACTERS = 1 << 16
MAX_EXPANSION = 200.0
GET_DWCA = (
    "search occurrences with images on gbif.org and download them in the format 'Darwin Core Archive' (not 'Simple')"
)


class Archive:
    """An open archive.

    Attributes:
        label: what distinguishes it from other archives of the dataset; empty if there is only one.
        statement: what GBIF states of it, if it was downloaded by this tool.
        layouts: MEDIA and RECORDS, the occurrences or taxa that the media belong to.
        is_of_events: whether its core has events, and the records are the occurrences of an extension.
        event_keys: how media name their event; None if they are matched by the records' id alone.
        vernacular_names: the extension of vernacular names; None without one.
        events: the core of an archive of events.
        skipped_media: files of other media extensions that have rows, too, with their row types.
        metadata: path of the metadata document; None if meta.xml names none.
        notes: what a user should know: faults in parts that are not read, and where the media come from.
    """

    def __init__(self, path: Path, files: Container, label: str, statement: DownloadStatement) -> None:
        self.path, self._files, self.label, self.statement = path, files, label, statement
        self._names = set(files.list_files())
        descriptor_name = _find_descriptor(path, self._names)
        self._folder = PurePosixPath(descriptor_name).parent
        with files.open(descriptor_name) as file:
            data = file.read(MAX_DESCRIPTOR_BYTES + 1)
        if len(data) > MAX_DESCRIPTOR_BYTES:
            raise ArchiveError(f"{path}: meta.xml is larger than {MAX_DESCRIPTOR_BYTES >> 20} MiB; {CORRECT_IT}")
        descriptor = parse_descriptor(path, data)
        self.metadata = descriptor.metadata
        records = descriptor.core
        self.is_of_events, self.event_keys = records.row_type == EVENT, None
        if self.is_of_events:
            records = _find_occurrences(path, descriptor.extensions)
        faults = self._list_faults(descriptor.broken)
        media, self.skipped_media = self._choose_media(descriptor.extensions, descriptor.broken, records)
        self.notes = (*faults, *_list_notes(media))
        if self.is_of_events:
            records, media, self.event_keys = match_occurrences(descriptor.core, records, media)
            self.events = descriptor.core
        vernacular = (layout for layout in descriptor.extensions if layout.row_type == VERNACULAR_NAME)
        self.vernacular_names = next(filter(self._has_files, vernacular), None) if not self.is_of_events else None
        self.layouts: Mapping[str, FileLayout] = {MEDIA: media, RECORDS: records}
        for location in (*records.locations, *media.locations):
            if self._member(location) not in self._names:
                raise ArchiveError(
                    f"{path}: meta.xml names {location}, which is not in the archive; download the archive again"
                )

    @property
    def media(self) -> FileLayout:
        """The layout of the media."""
        return self.layouts[MEDIA]

    @property
    def records(self) -> FileLayout:
        """The layout of the records."""
        return self.layouts[RECORDS]

    @property
    def media_files(self) -> tuple[str, ...]:
        """The names of the files of media, as reports and rejected.parquet have them."""
        return tuple(self.label_file(MEDIA, location) for location in self.media.locations)

    def label_file(self, kind: str, location: str) -> str:
        """The name of a file of MEDIA or RECORDS. The occurrences have another name if they are read as media, too."""
        is_column = kind == MEDIA and self.media.row_type == ASSOCIATED_MEDIA
        name = f"{self.label}/{location}" if self.label else location
        return f"{name} (associatedMedia)" if is_column else name

    def name_itself(self, notes: Sequence[str]) -> list[str]:
        """The notes, each after the label, if there is one."""
        return [f"{self.label}: {note}" if self.label else note for note in notes]

    @property
    def total_bytes(self) -> int:
        """Bytes of all data files that are read, decompressed."""
        return sum(map(self.count_bytes, self.layouts.values()))

    def read_document(self, location: str, max_bytes: int) -> bytes | None:
        """At most `max_bytes` of a file, by its path relative to meta.xml; None if it is not in the archive."""
        if self._member(location) not in self._names:
            return None
        with self.open(location) as file:
            return file.read(max_bytes)

    def count_bytes(self, layout: FileLayout) -> int:
        """Bytes of the files with this layout, decompressed, as the archive declares them."""
        return sum(self._files.count_bytes(self._member(location)) for location in layout.locations)

    def open(self, location: str) -> IO[bytes]:
        """A file of the archive for reading. Nothing is extracted to disk."""
        return self._files.open(self._member(location))

    def _member(self, location: str) -> str:
        return normalize_name(str(self._folder / location.replace("\\", "/")))

    def _list_faults(self, broken: tuple[BrokenPart, ...]) -> tuple[str, ...]:
        """A note for each part with a fault. Raises ArchiveError if the occurrences of events are one of them."""
        for part in broken:
            if self.is_of_events and part.row_type == OCCURRENCE:
                raise ArchiveError(f"{self.path}: {part.problem}")
        more = (f"{len(broken) - MAX_NOTES:,} further faults in meta.xml",) if len(broken) > MAX_NOTES else ()
        return (*(part.problem for part in broken[:MAX_NOTES]), *more)

    def _choose_media(
        self, extensions: tuple[FileLayout, ...], broken: tuple[BrokenPart, ...], records: FileLayout
    ) -> tuple[FileLayout, dict[str, str]]:
        """The media to read: the first type of URL_COLUMNS that has rows. And the files of others that have rows.

        Raises:
            ArchiveError: there are none, or media with a fault in meta.xml come before them.
        """
        found = [layout for row_type in URL_COLUMNS for layout in extensions if layout.row_type == row_type]
        types = list(URL_COLUMNS)
        broken_media = [part for row_type in types for part in broken if part.row_type == row_type]
        if not found and not broken_media and (associated := _find_associated_media(records)):
            return associated, {}
        if not found and broken_media:
            raise ArchiveError(f"{self.path}: {broken_media[0].problem}")
        if not found:
            raise ArchiveError(f"{self.path}: meta.xml names no media (Multimedia or Image); {GET_DWCA}")
        files = [(layout, location) for layout in found for location in layout.locations]
        with_rows = [file for file in files if self._has_rows(*file)] if len(found) > 1 else []
        media = with_rows[0][0] if with_rows else found[0]
        if broken_media and types.index(broken_media[0].row_type) < types.index(media.row_type):
            raise ArchiveError(f"{self.path}: {broken_media[0].problem}")
        others = {location: layout.row_type for layout, location in with_rows if layout is not media}
        return media, {location: row_type for location, row_type in others.items() if self._exists(location)}

    def _exists(self, location: str) -> bool:
        return self._member(location) in self._names

    def _has_files(self, layout: FileLayout) -> bool:
        return all(map(self._exists, layout.locations))

    def _has_rows(self, layout: FileLayout, location: str) -> bool:
        """Whether a line that is not blank follows the header. True for a missing file, which is reported later."""
        if not self._exists(location):
            return True
        blank, header = f" \n\ufeff{layout.separator}{layout.quote}", layout.header_lines
        with (
            report_decoding(location, layout),
            io.TextIOWrapper(self.open(location), get_codec(layout.encoding), "replace") as text,
        ):
            while header and (piece := text.readline(PIECE_CHARACTERS)):
                header -= piece.endswith("\n")
            return any(piece.strip(blank) for piece in iter(lambda: text.readline(PIECE_CHARACTERS), ""))


def number_files(archives: Iterable[Archive]) -> list[int]:
    """The number of the first file of each archive; files of MEDIA and of RECORDS are numbered through all archives."""
    counts = [max(len(layout.locations) for layout in archive.layouts.values()) for archive in archives]
    return [0, *itertools.accumulate(counts)][:-1]


@contextmanager
def open_archive(
    path: Path,
    max_expansion: float = MAX_EXPANSION,
    label: str = "",
    statement: DownloadStatement = NO_STATEMENT,
) -> Iterator[Archive]:
    """Open a Darwin Core Archive: a zip, a tar or a folder.

    Raises:
        ArchiveError: it is missing or damaged, expands more than `max_expansion` times, or has no media.
    """
    with containers.open_container(path, max_expansion) as files:
        yield Archive(path, files, label, statement)


@contextmanager
def report_decoding(location: str, layout: FileLayout) -> Iterator[None]:
    """Raise ArchiveError if the block fails to decode a data file, such as UTF-16 without a byte order mark."""
    try:
        yield
    except UnicodeError as error:
        raise ArchiveError(
            f"{location}: is not in {layout.encoding}, the encoding that meta.xml names; name the file's encoding in "
            "meta.xml (UTF-16LE or UTF-16BE if it has no byte order mark), or inform the publisher"
        ) from error


def _find_descriptor(path: Path, names: Iterable[str]) -> str:
    names = [name for name in names if "__MACOSX" not in PurePosixPath(name).parts]
    found = [name for name in names if PurePosixPath(name).name == "meta.xml"]
    if found:
        return min(found, key=lambda name: (name.count("/"), name))
    if len(names) == 1 and names[0].lower().endswith((".csv", ".txt", ".tsv")):
        raise ArchiveError(f"{path}: this is a GBIF simple CSV, which has no URLs of photos; {GET_DWCA}")
    raise ArchiveError(f"{path}: meta.xml is missing, so this is not a Darwin Core Archive; {GET_DWCA}")


def _find_occurrences(path: Path, extensions: tuple[FileLayout, ...]) -> FileLayout:
    occurrences = next((layout for layout in extensions if layout.row_type == OCCURRENCE), None)
    if occurrences is None:
        raise ArchiveError(f"{path}: its core has events, but meta.xml names no occurrences of them; {GET_DWCA}")
    return occurrences


def _find_associated_media(records: FileLayout) -> FileLayout | None:
    """The records as media whose only column with a URL is associatedMedia; None if they lack it."""
    columns = tuple(column for column in records.columns if column.name in ("associatedMedia", "occurrenceID"))
    column = records.find_column("associatedMedia")
    if column is None or column.index is None:
        return None
    return replace(records, row_type=ASSOCIATED_MEDIA, columns=columns)


def _list_notes(media: FileLayout) -> tuple[str, ...]:
    if media.row_type != ASSOCIATED_MEDIA:
        return ()
    return (
        f"{media.locations[0]}: the archive has no media extension, so the URLs are those of associatedMedia; "
        "their licences are unknown",
    )
