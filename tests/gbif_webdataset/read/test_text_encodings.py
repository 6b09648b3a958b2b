import codecs

import pytest

from gbif_webdataset.read.text_encodings import CODECS, find_codec, get_codec


def test_every_label_names_a_codec_of_python_that_decodes_in_pieces() -> None:
    for codec in CODECS.values():
        decoder = codecs.getincrementaldecoder(codec)("replace")
        assert decoder.decode("ab".encode(codec)) == "ab"


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        (" US-ASCII ", "utf-8"),
        ("latin1", "iso8859-1"),
        ("ISO8859_1", "iso8859-1"),
        ("iso_8859-1:1987", "iso8859-1"),
        ("Cp1252", "cp1252"),
        ("x-cp1251", "cp1251"),
        ("windows-1252", "cp1252"),
        ("macintosh", "mac-roman"),
        ("MacRoman", "mac-roman"),
        ("x-sjis", "shift-jis"),
        ("ks_c_5601-1987", "euc-kr"),
        ("GB18030", "gb18030"),
        ("Big5", "big5"),
        ("KOI8-R", "koi8-r"),
        ("utf-16le", "utf-16-le"),
    ],
)
def test_labels_of_the_web_and_of_java_name_the_codec_of_python(label: str, codec: str) -> None:
    assert find_codec(label) == codec
    assert codecs.lookup(codec)


@pytest.mark.parametrize(
    "label", ["punycode", "idna", "utf-7", "base64", "ANSI", "", "ü", "utf-8" * 100, "x-user-defined"]
)
def test_other_names_are_no_encoding(label: str) -> None:
    assert find_codec(label) is None
    with pytest.raises(LookupError):
        get_codec(label)
