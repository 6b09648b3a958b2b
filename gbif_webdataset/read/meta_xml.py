"""meta.xml, the descriptor of a Darwin Core Archive, and the layout that it gives to the data files.

Source: the Darwin Core text guide, https://dwc.tdwg.org/text/.
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from dwca.descriptors import ArchiveDescriptor, DataFileDescriptor
from dwca.exceptions import InvalidArchive

from gbif_webdataset.errors import ArchiveError


@dataclass(frozen=True)
class Column:
    """A term of a data file, by its short name.

    Attributes:
        index: its position in the file, from 0; None if only the default gives it a value.
        default: its value where the field is empty; None if there is no default.
    """

    name: str
    index: int | None
    default: str | None


@dataclass(frozen=True)
class FileLayout:
    """The layout of the files that have rows of one type.

    Attributes:
        row_type: URI of the type of the rows, in lower case.
        locations: paths of the files, relative to meta.xml.
        quote: the character that encloses fields; empty if fields are not enclosed.
        header_lines: number of lines before the first row.
        id_index: position of the core record's id.
    """

    row_type: str
    locations: tuple[str, ...]
    encoding: str
    separator: str
    quote: str
    header_lines: int
    id_index: int
    columns: tuple[Column, ...]

    def find_column(self, name: str) -> Column | None:
        """The column of a term; of several terms with this short name, the first that is in the file."""
        found = [column for column in self.columns if column.name == name]
        return min(found, key=lambda column: column.index is None, default=None)


@dataclass(frozen=True)
class Descriptor:
    """The content of a meta.xml. `metadata` is the path of the metadata document; None if there is none."""

    core: FileLayout
    extensions: tuple[FileLayout, ...]
    metadata: str | None


def parse_descriptor(path: Path, data: bytes) -> Descriptor:
    """Parse the meta.xml of the archive `path`.

    Raises:
        ArchiveError: it declares entities, is not a valid descriptor, or has a layout that this tool cannot read.
    """
    try:
        text = decode_xml(data)
        if text is None:
            raise ArchiveError(f"{path}: meta.xml declares entities, which are a risk; download the archive again")
        found = ArchiveDescriptor(_simplify_xml(text))
        extensions = tuple(_parse_layout(path, extension) for extension in found.extensions)
        return Descriptor(_parse_layout(path, found.core), extensions, found.metadata_filename)
    except (ElementTree.ParseError, InvalidArchive, AttributeError, TypeError, ValueError, LookupError) as error:
        raise ArchiveError(
            f"{path}: meta.xml is not a valid descriptor ({error}); download the archive again"
        ) from error


def decode_xml(data: bytes) -> str | None:
    """The text of an XML document without its XML declaration; None if it declares entities.

    Raises:
        ValueError, LookupError: the document is not in the encoding that it names, or that encoding does not exist.
    """
    encoding = "utf-8-sig"
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    elif declared := re.match(rb"""\s*<\?xml[^>]*encoding=["']([A-Za-z0-9._-]+)["']""", data):
        name = declared[1].decode().lower()
        # A declaration that is readable byte by byte is not in UTF-16, even if it says so.
        encoding = encoding if name.startswith(("utf-8", "utf8", "utf-16")) else name
    text = data.decode(encoding)
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return None
    return text[text.index("?>") + 2 :] if text.lstrip().startswith("<?xml") else text


def _simplify_xml(text: str) -> str:
    """The descriptor without namespaces, with an encoding for each file: dwca-reader fails without these changes."""
    archive = ElementTree.fromstring(text)  # noqa: S314 - a document with entities has been refused before
    for element in archive.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag in ("core", "extension") and not element.get("encoding"):
            element.set("encoding", "UTF-8")
    return ElementTree.tostring(archive, encoding="unicode")


def _parse_layout(path: Path, part: DataFileDescriptor) -> FileLayout:
    separator, quote = (
        _parse_character(part, "fieldsTerminatedBy", "\t"),
        _parse_character(part, "fieldsEnclosedBy", ""),
    )
    if len(separator) != 1 or len(quote) > 1 or not separator.isascii() or {separator, quote} & set("\r\n\0"):
        raise ArchiveError(
            f"{path}: meta.xml separates fields by {separator!r} and encloses them by {quote!r}, but this tool reads "
            "files with one ASCII character as separator; inform the publisher, or convert the archive"
        )
    columns = tuple(
        Column(re.split("[/#]", field["term"].rstrip("/"))[-1], field["index"], field["default"] or None)
        for field in part.fields
        if field["index"] is not None or field["default"]
    )
    layout = FileLayout(
        row_type=(part.type or "").lower(),
        locations=_parse_locations(path, part),
        encoding=part.file_encoding,
        separator=separator,
        quote=quote,
        header_lines=part.lines_to_ignore,
        id_index=part.id_index if part.represents_corefile else part.coreid_index,
        columns=columns,
    )
    indexes = [column.index for column in columns if column.index is not None]
    if not layout.locations or separator == quote or min(layout.id_index, layout.header_lines, *indexes) < 0:
        raise ValueError(f"no file, equal separators or a negative index in {part.type}")
    _check_encoding(path, layout.encoding)
    return layout


def _parse_locations(path: Path, part: DataFileDescriptor) -> tuple[str, ...]:
    """The paths of the files. Raises ArchiveError for a path that is outside the archive."""
    locations = tuple(
        re.sub(r"\s", " ", node.text.strip()) for node in part.raw_element.iterfind("files/location") if node.text
    )
    for location in locations:
        if ".." in PurePosixPath(location.replace("\\", "/")).parts or re.match(r"[/\\]|[A-Za-z]+:", location):
            raise ArchiveError(
                f"{path}: meta.xml names {location}, which is outside the archive; download the archive again"
            )
    return locations


def _check_encoding(path: Path, encoding: str) -> None:
    """Raise ArchiveError if Python has no text encoding with this name."""
    try:
        codecs.getincrementaldecoder(encoding)("replace").decode("a".encode(encoding))
    except (LookupError, ValueError, TypeError) as error:
        raise ArchiveError(
            f"{path}: meta.xml names the encoding {encoding}, which does not exist; inform the publisher, or correct "
            "meta.xml"
        ) from error


def _parse_character(part: DataFileDescriptor, attribute: str, default: str) -> str:
    """A separator or quote. The descriptor may write it as an escape, such as `\\t`."""
    escaped = part.raw_element.get(attribute) or default
    return escaped.encode("latin-1", "backslashreplace").decode("unicode-escape")
