import pytest

from gbif_webdataset.read.archive_xml import BoundedXml, XmlError, decode_xml

LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'


class Names(BoundedXml):
    """The paths of all elements."""

    MAX_DEPTH = 5
    MAX_ELEMENTS = 10

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def start_element(self, attributes: dict[str, str]) -> None:
        self.found.append("/".join(self.path))


def test_elements_have_their_paths_without_namespaces() -> None:
    names = Names()
    names.parse('<x:a xmlns:x="http://x.example"><x:b><c/></x:b><d/></x:a>')
    assert names.found == ["a", "a/b", "a/b/c", "a/d"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<a>" * 6, "nested more than 5 deep"),
        ("<a>" + "<b/>" * 10 + "</a>", "more than 10 elements"),
        (LAUGHS, "document type declaration"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type declaration"),
        ("<a>\n<b>&</b></a>", "not well-formed XML in line 2"),
        ("<a", "not well-formed XML in line 1"),
        ("", "not well-formed XML in line 1"),
    ],
)
def test_a_document_beyond_the_limits_is_an_error_without_words_of_python(text: str, problem: str) -> None:
    with pytest.raises(XmlError, match=problem):
        Names().parse(text)


def test_a_document_is_decoded_by_its_byte_order_mark_or_its_declaration() -> None:
    declared = '<?xml version="1.0" encoding="%s"?><a>é</a>'
    for data in (
        (declared % "utf-8").encode(),
        (declared % "utf-8").encode("utf-8-sig"),
        (declared % "ISO-8859-1").encode("latin-1"),
        (declared % "windows-1252").encode("cp1252"),
        (declared % "utf-16").encode("utf-16"),
        (declared % "utf-16").encode("utf-16-be"),
        (declared % "utf-16").encode(),
        "<a>é</a>".encode(),
    ):
        assert decode_xml(data) == "<a>é</a>"


@pytest.mark.parametrize("encoding", ["punycode", "utf-7", "klingon", "ü" * 100])
def test_an_encoding_outside_the_list_is_not_used(encoding: str) -> None:
    document = f'<?xml version="1.0" encoding="{encoding}"?><a>{"b" * 2_000_000}</a>'
    with pytest.raises(XmlError, match=r"names the encoding .*, but this tool reads UTF-8"):
        decode_xml(document.encode())


def test_bytes_that_are_not_in_the_encoding_are_an_error_except_at_the_end_of_a_beginning() -> None:
    with pytest.raises(XmlError, match="has bytes that are not in its encoding, utf-8"):
        decode_xml(b"<a>\xff</a>", is_complete=False)
    with pytest.raises(XmlError, match="has bytes that are not in its encoding, utf-8"):
        decode_xml(b"<a>\xc3")
    assert decode_xml(b"<a>\xc3", is_complete=False) == "<a>"
