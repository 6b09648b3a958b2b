"""A Darwin Core Archive: its files, and the layout that its meta.xml gives them.

Source: the Darwin Core text guide, https://dwc.tdwg.org/text/.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree.ElementTree import ParseError

from dwca.descriptors import ArchiveDescriptor, DataFileDescriptor

from tasks.core.errors import ArchiveError

OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
MEDIA = (
    "http://rs.gbif.org/terms/1.0/Multimedia",
    "http://rs.tdwg.org/ac/terms/Multimedia",
    "http://rs.gbif.org/terms/1.0/Image",
)
LARGEST_DESCRIPTOR = 16 << 20
GET_THE_RIGHT_ONE = "on GBIF choose the download format 'Darwin Core Archive' of occurrences that have images"


@dataclass(frozen=True)
class Column:
    """A term of a data file: the column it stands in (None: nowhere), and its default."""

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
        """The column of a term by its short name; where two terms share it, the one that has an index."""
        found = [column for column in self.columns if column.name == name]
        return min(found, key=lambda column: column.index is None, default=None)


class Archive:
    """An open archive; `occurrence` and `media` are the data files that this tool reads."""

    def __init__(self, path: Path, members: zipfile.ZipFile) -> None:
        self.path = path
        self._members = members
        self._names = {_plain(name): name for name in members.namelist()}
        descriptor = self._descriptor()
        self._prefix = str(PurePosixPath(self._descriptor_name()).parent)
        layouts = [_layout(path, part) for part in (descriptor.core, *descriptor.extensions)]
        self.occurrence = layouts[0]
        if self.occurrence.row_type != OCCURRENCE:
            raise ArchiveError(f"{path}: its core is {self.occurrence.row_type}, not occurrences; {GET_THE_RIGHT_ONE}")
        media = [layout for layout in layouts[1:] if layout.row_type.lower() in {kind.lower() for kind in MEDIA}]
        if not media:
            raise ArchiveError(f"{path}: holds no media (no Multimedia extension in its meta.xml); {GET_THE_RIGHT_ONE}")
        self.media = media[0]
        for location in (*self.occurrence.locations, *self.media.locations):
            if self._member(location) not in self._names:
                raise ArchiveError(f"{path}: meta.xml names {location}, which is not in the archive; download it again")

    def open(self, location: str) -> IO[bytes]:
        """A data file's bytes, read straight out of the archive."""
        return self._members.open(self._names[self._member(location)])

    def size(self, location: str) -> int:
        """Bytes of a data file once inflated, as the archive declares it."""
        return self._members.getinfo(self._names[self._member(location)]).file_size

    def _member(self, location: str) -> str:
        return _plain(f"{self._prefix}/{location}")

    def _descriptor_name(self) -> str:
        found = [name for name in self._names if PurePosixPath(name).name == "meta.xml" and "__MACOSX" not in name]
        if not found:
            raise ArchiveError(f"{self.path}: no meta.xml in it, so it is no Darwin Core Archive; {GET_THE_RIGHT_ONE}")
        return min(found, key=lambda name: (name.count("/"), name))

    def _descriptor(self) -> ArchiveDescriptor:
        with self._members.open(self._names[self._descriptor_name()]) as file:
            data = file.read(LARGEST_DESCRIPTOR + 1)
        if len(data) > LARGEST_DESCRIPTOR or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ArchiveError(f"{self.path}: its meta.xml is oversized or declares entities; it is not trusted")
        try:
            return ArchiveDescriptor(_decoded(data))
        except (ParseError, AttributeError, TypeError, ValueError, LookupError) as error:
            raise ArchiveError(f"{self.path}: its meta.xml can't be understood ({error}); download it again") from error


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a Darwin Core Archive.

    Raises ArchiveError where it is missing, damaged, or holds no occurrences with media.
    """
    with _zip(path) as members:
        try:
            yield Archive(path, members)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ArchiveError(f"{path}: damaged ({error}); download it again") from error


def identity(path: Path) -> str:
    """A digest of what the archive holds: each member's name, size and CRC-32, without inflating any."""
    with _zip(path) as members:
        listing = sorted((info.filename, info.file_size, info.CRC) for info in members.infolist())
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.exists():
        raise ArchiveError(f"{path}: no such archive; give the path of a GBIF download with --dwca")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ArchiveError(f"{path}: not a zip file; give the Darwin Core Archive as GBIF sends it")
    try:
        with zipfile.ZipFile(path) as members:
            yield members
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ArchiveError(f"{path}: damaged ({error}); download it again") from error


def _plain(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _decoded(data: bytes) -> str:
    """The descriptor as text, without the XML declaration, whose encoding no longer holds."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding)
    return text[text.index("?>") + 2 :] if text.lstrip().startswith("<?xml") else text


def _layout(path: Path, part: DataFileDescriptor) -> DataFile:
    locations = tuple(node.text.strip() for node in part.raw_element.iterfind("files/location") if node.text)
    key = part.id_index if part.represents_corefile else part.coreid_index
    separator = part.fields_terminated_by
    if len(separator) != 1 or len(part.fields_enclosed_by) > 1:
        raise ArchiveError(f"{path}: meta.xml separates fields by {separator!r}; this tool reads single characters")
    columns = tuple(
        Column(re.split("[/#]", field["term"].rstrip("/"))[-1], field["index"], field["default"] or None)
        for field in part.fields
    )
    encoding = part.file_encoding or "utf-8"
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    except LookupError as error:
        raise ArchiveError(f"{path}: meta.xml names an encoding that doesn't exist, {encoding}") from error
    return DataFile(
        part.type or "", locations, encoding, separator, part.fields_enclosed_by, part.lines_to_ignore, key, columns
    )
