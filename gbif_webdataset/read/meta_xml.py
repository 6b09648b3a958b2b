"""meta.xml, the descriptor of a Darwin Core Archive, and the layout that it gives to the data files.

Source: the Darwin Core text guide, https://dwc.tdwg.org/text/.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from dwca.descriptors import DataFileDescriptor

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.archive_xml import BoundedXml, XmlError, decode_xml
from gbif_webdataset.read.text_encodings import ENCODINGS, find_codec

MAX_ATTRIBUTE_CHARACTERS = 1 << 12
ID_TERMS = {
    "http://rs.tdwg.org/dwc/terms/occurrence": ("gbifID", "occurrenceID"),
    "http://rs.tdwg.org/dwc/terms/event": ("eventID",),
    "http://rs.tdwg.org/dwc/terms/taxon": ("taxonID",),
}
"""By row type of the core: the terms that can stand for an id that meta.xml does not name, in this order."""
CORRECT_IT = "correct meta.xml, or inform the publisher"


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
        encoding: as meta.xml names it.
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

    @property
    def width(self) -> int:
        """The smallest number of columns with which a line has every column of meta.xml."""
        return 1 + max((column.index for column in self.columns if column.index is not None), default=self.id_index)

    def find_column(self, name: str) -> Column | None:
        """The column of a term; of several terms with this short name, the first that is in the file."""
        found = [column for column in self.columns if column.name == name]
        return min(found, key=lambda column: column.index is None, default=None)


@dataclass(frozen=True)
class BrokenPart:
    """An extension whose layout cannot be read, and the sentence that says why."""

    row_type: str
    problem: str


@dataclass(frozen=True)
class Descriptor:
    """The content of a meta.xml. `metadata` is the path of the metadata document; None if there is none."""

    core: FileLayout
    extensions: tuple[FileLayout, ...]
    broken: tuple[BrokenPart, ...]
    metadata: str | None


def parse_descriptor(path: Path, data: bytes) -> Descriptor:
    """Parse the meta.xml of the archive `path`. An extension with a fault is in `broken`.

    Raises:
        ArchiveError: it is not a valid descriptor, or the core has a layout that this tool cannot read.
    """
    document = _DescriptorXml()
    try:
        document.parse(decode_xml(data))
    except XmlError as error:
        raise ArchiveError(f"{path}: meta.xml {error}; {CORRECT_IT}") from error
    cores = [part for part in document.parts if part.tag == "core"]
    if not cores:
        others = " and ".join(f"<{name}>" for name in document.other_parts)
        found = f", only {others}" if others else ""
        raise ArchiveError(
            f"{path}: meta.xml has no element <core>{found}, so it does not say which file has the records; "
            f"{CORRECT_IT}"
        )
    extensions = [part for part in document.parts if part.tag == "extension"]
    core = _CoreElement(cores[0], extensions)
    try:
        layout = core.parse_layout()
    except _PartError as error:
        raise ArchiveError(f"{path}: meta.xml: {error}") from error
    layouts, broken = [], []
    for extension in extensions:
        try:
            layouts.append(_ExtensionElement(extension, layout).parse_layout())
        except _PartError as error:
            broken.append(BrokenPart(_read_row_type(extension), f"meta.xml: {error}"))
    return Descriptor(layout, tuple(layouts), tuple(broken), document.metadata)


class _DescriptorXml(BoundedXml):
    """The parts of a descriptor that describe files, as elements without namespaces.

    Attributes:
        other_parts: names of the first elements beside them.
    """

    MAX_DEPTH = 100
    MAX_ELEMENTS = 100_000
    MAX_OTHER_PARTS = 3
    CHILDREN = ("files", "id", "coreid", "field")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Element] = []
        self.other_parts: dict[str, None] = {}
        self.metadata: str | None = None
        self._open: list[Element] = []

    def start_element(self, attributes: dict[str, str]) -> None:
        depth, name = len(self.path), self.path[-1]
        for attribute, value in attributes.items():
            if len(value) > MAX_ATTRIBUTE_CHARACTERS or len(attribute) > MAX_ATTRIBUTE_CHARACTERS:
                raise XmlError(f"has an attribute of more than {MAX_ATTRIBUTE_CHARACTERS:,} characters")
        element = Element(name, attributes)
        element.text = ""
        if depth == 1:
            self.metadata = element.get("metadata")
        elif depth == 2 and name in ("core", "extension"):
            self.parts.append(element)
        elif depth == 2 and len(self.other_parts) < self.MAX_OTHER_PARTS:
            self.other_parts[name[:MAX_ATTRIBUTE_CHARACTERS]] = None
        is_child = (depth == 3 and name in self.CHILDREN) or (depth == 4 and self.path[2:] == ["files", "location"])
        if is_child and self.path[1] in ("core", "extension"):
            self._open[-1].append(element)
        self._open.append(element)

    def end_element(self) -> None:
        self._open.pop()

    def add_characters(self, text: str) -> None:
        element = self._open[-1]
        if element.tag == "location" and len(element.text or "") <= MAX_ATTRIBUTE_CHARACTERS:
            element.text = (element.text or "") + text


class _PartError(Exception):
    """A part has a fault. The text names the part, says what is wrong and what to do."""


class _PartElement:
    """A <core> or an <extension>."""

    ID_ELEMENTS: tuple[str, ...] = ()

    def __init__(self, element: Element) -> None:
        self.element = element
        self.row_type = _read_row_type(element)
        locations = (re.sub(r"\s", " ", (node.text or "").strip()) for node in element.iterfind("files/location"))
        self.locations = tuple(location for location in locations if location)

    def parse_layout(self) -> FileLayout:
        """The layout of the part's files."""
        self._check_locations()
        encoding = self.element.get("encoding") or "UTF-8"
        if find_codec(encoding) is None:
            raise self.fault(f"names the encoding {encoding[:40]!r}, but this tool reads {ENCODINGS}")
        separator, quote = self._parse_characters()
        id_index = self._find_id()
        part = DataFileDescriptor.make_from_metafile_section(self._prepare_element(id_index))
        columns = tuple(
            Column(_shorten_term(field["term"]), field["index"], field["default"] or None)
            for field in part.fields
            if field["index"] is not None or field["default"]
        )
        header_lines = part.lines_to_ignore
        return FileLayout(self.row_type, self.locations, encoding, separator, quote, header_lines, id_index, columns)

    def fault(self, problem: str, remedy: str = CORRECT_IT) -> _PartError:
        """An error that names the part."""
        tag, where = self.element.tag, self.row_type or "an unnamed row type"
        files = f" (file {', '.join(self.locations)[:200]})" if self.locations else ""
        return _PartError(f"the <{tag}> of {where[:200]}{files} {problem}; {remedy}")

    def _check_locations(self) -> None:
        if not self.locations:
            raise self.fault("has no <location> of a file in <files>")
        for location in self.locations:
            if len(location) > MAX_ATTRIBUTE_CHARACTERS:
                raise self.fault(f"has a <location> of more than {MAX_ATTRIBUTE_CHARACTERS:,} characters")
            if ".." in PurePosixPath(location.replace("\\", "/")).parts or re.match(r"[/\\]|[A-Za-z]+:", location):
                raise self.fault(f"names {location[:200]}, which is outside the archive")

    def _parse_characters(self) -> tuple[str, str]:
        """The separator and the quote. The descriptor may write them as escapes, such as `\\t`."""
        found = []
        for attribute, default in (("fieldsTerminatedBy", "\t"), ("fieldsEnclosedBy", "")):
            escaped = self.element.get(attribute) or default
            try:
                found.append(escaped.encode("latin-1", "backslashreplace").decode("unicode-escape"))
            except UnicodeError:
                raise self.fault(f'has {attribute}="{escaped[:40]}", which is not a character') from None
        separator, quote = found
        is_bad = len(separator) != 1 or not separator.isascii() or len(quote) > 1 or separator == quote
        if is_bad or {separator, quote} & set("\r\n\0"):
            raise self.fault(
                f"separates fields by {separator[:40]!r} and encloses them by {quote[:40]!r}, but this tool reads "
                "files with one ASCII character as separator, and one other character around fields or none",
                "inform the publisher, or convert the file",
            )
        return separator, quote

    def _find_id(self) -> int:
        """The position of the id, or of a column that can stand for it."""
        for name in self.ID_ELEMENTS:
            node = self.element.find(name)
            if node is not None and (node.get("index") or "").strip():
                return self._parse_number(node, "index")
        columns, terms = self._find_terms(), self._list_id_terms()
        if found := [columns[term] for term in terms if term in columns]:
            return found[0]
        name = self.ID_ELEMENTS[0]
        missing = f"no <{name}>" if self.element.find(name) is None else f"a <{name}> without an index"
        raise self.fault(f"has {missing}" + (f", and no column {' or '.join(terms)} in its place" if terms else ""))

    def _find_terms(self) -> dict[str, int]:
        """The position of each term by its short name."""
        fields = [field for field in self.element.iterfind("field") if (field.get("index") or "").strip()]
        return {_shorten_term(field.get("term")): self._parse_number(field, "index") for field in reversed(fields)}

    def _list_id_terms(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _parse_number(self, node: Element, attribute: str) -> int:
        text = node.get(attribute) or ""
        if not re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
            raise self.fault(f'has {attribute}="{text[:40]}" in <{node.tag}>, which is not a number from 0')
        return int(text)

    def _prepare_element(self, id_index: int) -> Element:
        """A copy of the element that python-dwca-reader can read: checked numbers, an id, no escapes."""
        prepared = Element(self.element.tag, {"rowType": self.row_type, "encoding": "utf-8"})
        if (self.element.get("ignoreHeaderLines") or "").strip():
            prepared.set("ignoreHeaderLines", str(self._parse_number(self.element, "ignoreHeaderLines")))
        files, location = Element("files"), Element("location")
        location.text = self.locations[0]
        files.append(location)
        prepared.extend([files, Element("id" if prepared.tag == "core" else "coreid", {"index": str(id_index)})])
        for field in self.element.iterfind("field"):
            if not (field.get("term") or "").strip():
                raise self.fault("has a <field> without a term")
            if (field.get("index") or "").strip():
                field.set("index", str(self._parse_number(field, "index")))
            else:
                field.attrib.pop("index", None)
            prepared.append(field)
        return prepared


class _CoreElement(_PartElement):
    """A <core>."""

    ID_ELEMENTS = ("id", "coreid")

    def __init__(self, element: Element, extensions: list[Element]) -> None:
        super().__init__(element)
        self._extensions = extensions

    def _list_id_terms(self) -> tuple[str, ...]:
        """First the terms of the columns that extensions name as the core's id."""
        terms = _list_id_terms(self.row_type)
        named = (term for term in self._list_terms_of_extensions() if term in terms)
        return tuple(dict.fromkeys([*named, *terms]))

    def _list_terms_of_extensions(self) -> Iterator[str]:
        for extension in self._extensions:
            nodes = (extension.find(name) for name in _ExtensionElement.ID_ELEMENTS)
            index = next((node.get("index") for node in nodes if node is not None), None)
            for field in extension.iterfind("field"):
                if index is not None and field.get("index") == index:
                    yield _shorten_term(field.get("term"))


class _ExtensionElement(_PartElement):
    """An <extension> of a core."""

    ID_ELEMENTS = ("coreid", "id")

    def __init__(self, element: Element, core: FileLayout) -> None:
        super().__init__(element)
        self._core = core

    def _list_id_terms(self) -> tuple[str, ...]:
        """The terms of the core's id column, or those that it may have if meta.xml does not say."""
        terms = _list_id_terms(self._core.row_type)
        of_id = {column.name for column in self._core.columns if column.index == self._core.id_index}
        others = {column.name for column in self._core.columns} - of_id
        return tuple(term for term in terms if term in of_id) or tuple(term for term in terms if term not in others)


def _read_row_type(element: Element) -> str:
    return (element.get("rowType") or "").strip().lower()


def _list_id_terms(row_type: str) -> tuple[str, ...]:
    return ID_TERMS.get(row_type) or tuple(term for terms in ID_TERMS.values() for term in terms)


def _shorten_term(uri: str | None) -> str:
    return re.split("[/#]", (uri or "").rstrip("/"))[-1]
