"""A Darwin Core Archive: the layout that its meta.xml gives its data files.

Source: the Darwin Core text guide, https://dwc.tdwg.org/text/.
"""

import codecs
import html
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree import ElementTree

from dwca.descriptors import ArchiveDescriptor, DataFileDescriptor
from dwca.exceptions import InvalidArchive

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import containers
from gbif_webdataset.read.containers import Container, plain

MULTIMEDIA = "http://rs.gbif.org/terms/1.0/multimedia"
AUDUBON = "http://rs.tdwg.org/ac/terms/multimedia"
IMAGE = "http://rs.gbif.org/terms/1.0/image"
DOCUMENT = "http://eol.org/schema/media/document"
OCCURRENCE = "http://rs.tdwg.org/dwc/terms/occurrence"
EVENT = "http://rs.tdwg.org/dwc/terms/event"
KINDS = (MULTIMEDIA, AUDUBON, IMAGE, DOCUMENT)  # of media, the plainest first
CHECKLIST = re.compile(r"(?i)checklist_?key\W{1,40}(?:is )?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
LARGEST_DESCRIPTOR = 16 << 20
LOOKED_AT = 1 << 16
MAX_EXPANSION = 200.0
GET_THE_RIGHT_ONE = (
    "search occurrences with images on gbif.org and download them in the format 'Darwin Core Archive' (not 'Simple')"
)


@dataclass(frozen=True)
class Column:
    """A term of a data file by its short name: the column it stands in (None: nowhere), and its default."""

    name: str
    index: int | None
    default: str | None


@dataclass(frozen=True)
class DataFile:
    """How the rows of one kind are laid out. `key_index` is the column of the core record's id."""

    row_type: str
    locations: tuple[str, ...]
    encoding: str
    separator: str
    quote: str
    header_lines: int
    key_index: int
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """The column of a term; where two terms share the short name, the first that stands in the file."""
        found = [column for column in self.columns if column.name == name]
        return min(found, key=lambda column: column.index is None, default=None)


class Archive:
    """An open archive. `records` are the occurrences, or the taxa, that its `media` belong to.

    `passed_over` are the files of other media extensions that hold lines, too, by the kind of their rows.
    """

    def __init__(self, path: Path, files: Container) -> None:
        self.path, self._files = path, files
        self._names = set(files.names())
        descriptor_name = self._descriptor_name()
        self._prefix = PurePosixPath(descriptor_name).parent
        core, extensions, self.metadata = self._described(descriptor_name)
        self.media, self.passed_over = self._media(extensions)
        self.records = core
        self.of_events = core.row_type == EVENT
        if self.of_events:
            self.records, self.media = _by_occurrence(path, extensions, self.media)
        for location in (*self.records.locations, *self.media.locations):
            if self._member(location) not in self._names:
                raise ArchiveError(f"{path}: meta.xml names {location}, which is not in the archive; download it again")

    @property
    def size_in_all(self) -> int:
        """Bytes of all data files that are read, inflated."""
        return self.bytes_of(self.records) + self.bytes_of(self.media)

    @property
    def checklist(self) -> str | None:
        """The key of the checklist that the download's query names, if its metadata document says so."""
        text = (self.document(self.metadata, LARGEST_DESCRIPTOR) if self.metadata else None) or b""
        found = CHECKLIST.search(html.unescape(text.decode(errors="replace")))
        return found[1] if found else None

    def document(self, name: str, most: int) -> bytes | None:
        """At most so many bytes of a file that lies beside meta.xml; None where there is none."""
        if self._member(name) not in self._names:
            return None
        with self.open(name) as file:
            return file.read(most)

    def bytes_of(self, layout: DataFile) -> int:
        """Bytes of a layout's files, inflated."""
        return sum(self.size(location) for location in layout.locations)

    def open(self, location: str) -> IO[bytes]:
        """A data file's bytes, read straight out of the archive."""
        return self._files.open(self._member(location))

    def size(self, location: str) -> int:
        """Bytes of a data file once inflated, as the archive declares it."""
        return self._files.size(self._member(location))

    def _member(self, location: str) -> str:
        return plain(str(self._prefix / location.replace("\\", "/")))

    def _descriptor_name(self) -> str:
        names = [name for name in self._names if "__MACOSX" not in PurePosixPath(name).parts]
        found = [name for name in names if PurePosixPath(name).name == "meta.xml"]
        if found:
            return min(found, key=lambda name: (name.count("/"), name))
        if len(names) == 1 and names[0].lower().endswith((".csv", ".txt", ".tsv")):
            raise ArchiveError(
                f"{self.path}: this is GBIF's simple CSV, which holds no photo addresses; {GET_THE_RIGHT_ONE}"
            )
        raise ArchiveError(f"{self.path}: no meta.xml in it, so it is no Darwin Core Archive; {GET_THE_RIGHT_ONE}")

    def _described(self, name: str) -> tuple[DataFile, list[DataFile], str | None]:
        """The layouts of the core and of the extensions, and the name of the metadata document."""
        with self._files.open(name) as file:
            data = file.read(LARGEST_DESCRIPTOR + 1)
        if len(data) > LARGEST_DESCRIPTOR:
            raise ArchiveError(f"{self.path}: its meta.xml is larger than 16 MiB; it is not trusted")
        try:
            text = xml_text(data)
            if text is None:
                raise ArchiveError(f"{self.path}: its meta.xml declares entities; it is not trusted")
            found = ArchiveDescriptor(_plain_xml(text))
            extensions = [_layout(self.path, part) for part in found.extensions]
            return _layout(self.path, found.core), extensions, found.metadata_filename
        except (ElementTree.ParseError, InvalidArchive, AttributeError, TypeError, ValueError, LookupError) as error:
            raise ArchiveError(f"{self.path}: its meta.xml can't be understood ({error}); download it again") from error

    def _media(self, extensions: list[DataFile]) -> tuple[DataFile, dict[str, str]]:
        """The plainest kind of media that has data lines, or where none has the plainest; and the others that have."""
        found = [layout for kind in KINDS for layout in extensions if layout.row_type == kind]
        if not found:
            raise ArchiveError(f"{self.path}: its meta.xml names no media (Multimedia or Image); {GET_THE_RIGHT_ONE}")
        files = [(layout, location) for layout in found for location in layout.locations]
        filled = [file for file in files if self._is_filled(*file)] if len(found) > 1 else []
        media = filled[0][0] if filled else found[0]
        others = {location: layout.row_type for layout, location in filled if layout is not media}
        return media, {location: kind for location, kind in others.items() if self._member(location) in self._names}

    def _is_filled(self, layout: DataFile, location: str) -> bool:
        """Whether a line that isn't blank follows a file's header lines. A file that is missing counts, to be told."""
        name = self._member(location)
        if name not in self._names:
            return True
        blank, header = f" \n\ufeff{layout.separator}{layout.quote}", layout.header_lines
        with decoding(location, layout), io.TextIOWrapper(self._files.open(name), layout.encoding, "replace") as text:
            while header and (piece := text.readline(LOOKED_AT)):
                header -= piece.endswith("\n")
            return any(piece.strip(blank) for piece in iter(lambda: text.readline(LOOKED_AT), ""))


@contextmanager
def opened(path: Path, max_expansion: float = MAX_EXPANSION) -> Iterator[Archive]:
    """Open a Darwin Core Archive: a zip, a tar or a folder.

    Raises ArchiveError where it is missing, damaged, expands more than `max_expansion` times, or holds no media.
    """
    with containers.opened(path, max_expansion) as files:
        yield Archive(path, files)


@contextmanager
def decoding(location: str, layout: DataFile) -> Iterator[None]:
    """Tell of a data file that its encoding's decoder gives up on, as UTF-16's does where no byte order is marked."""
    try:
        yield
    except UnicodeError as error:
        raise ArchiveError(
            f"{location}: is not in {layout.encoding}, which meta.xml names ({error}); "
            "download it again, or tell its publisher"
        ) from error


def xml_text(data: bytes) -> str | None:
    """A document as text, without the XML declaration, whose encoding no longer holds; None if it declares entities.

    Raises ValueError or LookupError where it is not in the encoding that it names, or that doesn't exist.
    """
    encoding = "utf-8-sig"
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    elif declared := re.match(rb"""\s*<\?xml[^>]*encoding=["']([A-Za-z0-9._-]+)["']""", data):
        told = declared[1].decode().lower()  # what could be read byte for byte is no UTF-16, whatever it says
        encoding = encoding if told.startswith(("utf-8", "utf8", "utf-16")) else told
    text = data.decode(encoding)
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return None
    return text[text.index("?>") + 2 :] if text.lstrip().startswith("<?xml") else text


def _plain_xml(text: str) -> str:
    """The descriptor as dwca-reader wants it: no namespaces, and an encoding named for each file."""
    archive = ElementTree.fromstring(text)  # noqa: S314 - one that declares entities has been refused
    for element in archive.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag in ("core", "extension") and not element.get("encoding"):
            element.set("encoding", "UTF-8")
    return ElementTree.tostring(archive, encoding="unicode")


def _by_occurrence(path: Path, extensions: list[DataFile], media: DataFile) -> tuple[DataFile, DataFile]:
    """The occurrences of an Event core and its media, matched by occurrenceID where both have it, else by event."""
    occurrences = [layout for layout in extensions if layout.row_type == OCCURRENCE]
    if not occurrences:
        raise ArchiveError(f"{path}: its core is events, and it has no occurrences of them; {GET_THE_RIGHT_ONE}")
    ours, theirs = occurrences[0].column("occurrenceID"), media.column("occurrenceID")
    if ours and theirs and ours.index is not None and theirs.index is not None:
        return replace(occurrences[0], key_index=ours.index), replace(media, key_index=theirs.index)
    return occurrences[0], media


def _layout(path: Path, part: DataFileDescriptor) -> DataFile:
    locations = tuple(
        re.sub(r"\s", " ", node.text.strip()) for node in part.raw_element.iterfind("files/location") if node.text
    )
    for location in locations:
        if ".." in PurePosixPath(location.replace("\\", "/")).parts or re.match(r"[/\\]|[A-Za-z]+:", location):
            raise ArchiveError(f"{path}: meta.xml names {location}, which leads out of the archive; it is not trusted")
    separator, quote = _character(part, "fieldsTerminatedBy", "\t"), _character(part, "fieldsEnclosedBy", "")
    if len(separator) != 1 or len(quote) > 1 or not separator.isascii() or {separator, quote} & set("\r\n\0"):
        raise ArchiveError(f"{path}: meta.xml separates fields by {separator!r}; this tool reads single characters")
    columns = tuple(
        Column(re.split("[/#]", field["term"].rstrip("/"))[-1], field["index"], field["default"] or None)
        for field in part.fields
        if field["index"] is not None or field["default"]
    )
    key_index = part.id_index if part.represents_corefile else part.coreid_index
    if not locations or separator == quote or min(key_index, part.lines_to_ignore, *_indexes(columns)) < 0:
        raise ValueError(f"the files, separators and indexes of {part.type}")
    encoding = part.file_encoding
    try:
        codecs.getincrementaldecoder(encoding)("replace").decode("a".encode(encoding))
    except (LookupError, ValueError, TypeError) as error:
        raise ArchiveError(f"{path}: meta.xml names an encoding that doesn't exist, {encoding}") from error
    return DataFile(
        row_type=(part.type or "").lower(),
        locations=locations,
        encoding=encoding,
        separator=separator,
        quote=quote,
        header_lines=part.lines_to_ignore,
        key_index=key_index,
        columns=columns,
    )


def _indexes(columns: Iterable[Column]) -> list[int]:
    return [column.index for column in columns if column.index is not None]


def _character(part: DataFileDescriptor, attribute: str, default: str) -> str:
    """A separator or quote of the descriptor, which may stand in it as an escape such as `\\t`."""
    escaped = part.raw_element.get(attribute) or default
    return escaped.encode("latin-1", "backslashreplace").decode("unicode-escape")
