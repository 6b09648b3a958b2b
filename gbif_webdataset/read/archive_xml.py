"""XML documents of an archive, parsed within limits, because an archive may be made to do harm."""

import codecs
import re
from xml.parsers import expat

from gbif_webdataset.read.text_encodings import ENCODINGS, find_codec

DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([^"'>]*)["']""")
DECLARATION_BYTES = 1 << 10
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
"""The first bytes of a document that give its encoding, whatever its declaration names."""


class XmlError(Exception):
    """A document cannot be used. The text says why; the name of the document stands before it."""


class BoundedXml:
    """Calls its methods for the elements and texts of a document.

    Attributes:
        path: names of the open elements, from the root, without their namespaces.
    """

    MAX_DEPTH = 100
    MAX_ELEMENTS = 200_000

    def __init__(self) -> None:
        self.path: list[str] = []
        self._elements = 0

    def start_element(self, attributes: dict[str, str]) -> None:
        """The last element of `path` has started."""

    def end_element(self) -> None:
        """The last element of `path` ends."""

    def add_characters(self, text: str) -> None:
        """A piece of text in the last element of `path`."""

    def parse(self, text: str, is_complete: bool = True) -> None:
        """Parse a document without its XML declaration.

        Raises:
            XmlError: the document is not well-formed, declares entities, or has too many or too deep elements.
        """
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start_element, self._end_element
        parser.CharacterDataHandler = self.add_characters
        parser.StartDoctypeDeclHandler = _refuse_entities
        try:
            parser.Parse(text.encode(errors="replace"), is_complete)
        except expat.ExpatError as error:
            raise XmlError(f"is not well-formed XML in line {error.lineno:,}") from error

    def _start_element(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self.path) == self.MAX_DEPTH:
            raise XmlError(f"has elements that are nested more than {self.MAX_DEPTH} deep")
        if self._elements > self.MAX_ELEMENTS:
            raise XmlError(f"has more than {self.MAX_ELEMENTS:,} elements")
        self.path.append(tag.rpartition(":")[2])
        self.start_element(attributes)

    def _end_element(self, _: str) -> None:
        self.end_element()
        self.path.pop()


def decode_xml(data: bytes, is_complete: bool = True) -> str:
    """The text of an XML document, or of the beginning of one, without its XML declaration.

    Raises:
        XmlError: the document names an encoding that this tool does not read, or is not in the encoding.
    """
    codec = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    declared = DECLARATION.match(data[:DECLARATION_BYTES])
    if declared and codec == "utf-8":
        label = declared[1].decode("ascii", "replace")
        named = find_codec(label)
        if named is None:
            raise XmlError(f"names the encoding {label[:40]!r}, but this tool reads {ENCODINGS}")
        # A declaration that is readable byte by byte is not in UTF-16, even if it says so.
        codec = "utf-8" if named.startswith("utf-16") else named
    try:
        text = codecs.getincrementaldecoder(codec)().decode(data, is_complete)
    except UnicodeError as error:
        raise XmlError(f"has bytes that are not in its encoding, {codec}") from error
    end = text.find("?>", 0, DECLARATION_BYTES)
    return text[end + 2 :] if end >= 0 and text.lstrip().startswith("<?xml") else text


def _refuse_entities(*_: object) -> None:
    raise XmlError("has a document type declaration (<!DOCTYPE ...>), which may do harm and has to be removed")
