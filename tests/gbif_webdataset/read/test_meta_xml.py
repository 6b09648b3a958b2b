from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read.meta_xml import Column, parse_descriptor
from tests.support.archives import (
    DC,
    DWC,
    GBIF,
    find_real_archive,
    make_download,
    make_gbif_meta_xml,
    make_medium,
    make_occurrence,
    write_zip,
)
from tests.support.manifests import make_manifest

PATH = Path("a.zip")
DESCRIPTOR = make_gbif_meta_xml()
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
BOMB = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>' + DESCRIPTOR.replace("occurrence.txt", "&l11;")


def test_a_descriptor_gives_the_layout_of_each_file() -> None:
    extra = (
        f'<field term="{DWC}country" default="Namibia"/><field term="{DWC}sex"/>'
        f'<field term="http://other.example/lifeStage/" index="9"/>'
    )
    text = make_gbif_meta_xml(extra=extra).replace("<archive ", '<archive metadata="metadata.xml" ')
    descriptor = parse_descriptor(PATH, text.encode())
    core, [media] = descriptor.core, descriptor.extensions
    assert descriptor.metadata == "metadata.xml"
    assert (core.row_type, core.locations) == (f"{DWC}occurrence".lower(), ("occurrence.txt",))
    assert (core.encoding, core.separator, core.quote, core.header_lines, core.id_index) == ("UTF-8", "\t", "", 1, 0)
    assert (media.row_type, media.locations) == (f"{GBIF}multimedia".lower(), ("multimedia.txt",))
    assert core.find_column("country") == Column("country", None, "Namibia")
    assert core.find_column("lifeStage") == Column("lifeStage", 3, None)
    assert core.find_column("sex") is None


def test_of_two_terms_with_one_short_name_the_one_in_the_file_is_used() -> None:
    extra = (
        f'<field term="{DC}creator" default="x"/><field term="http://other.example/creator" index="1"/>'
        f'<field term="http://third.example/creator" index="2"/>'
    )
    core = parse_descriptor(PATH, make_gbif_meta_xml(extra=extra).encode()).core
    assert core.find_column("creator") == Column("creator", 1, None)


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + DESCRIPTOR).encode(),
        b"\xff\xfe" + BOMB.replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16-le"),
    ],
    ids=["bomb", "external", "utf-16"],
)
def test_a_descriptor_with_entities_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^a\.zip: meta\.xml declares entities or a document type, which are a r"):
        parse_descriptor(PATH, data)


@pytest.mark.parametrize(
    "location",
    ["../multimedia.txt", "/etc/passwd", "a/../../x", r"..\x", r"\\host\x", "http://h.example/x", "file:///etc/passwd",
     "C:/x", "C:x", "ftp:x"],
)  # fmt: skip
def test_a_location_outside_the_archive_is_refused(tmp_path: Path, location: str) -> None:
    for name in ("occurrence.txt", "multimedia.txt"):
        members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=DESCRIPTOR.replace(name, location))
        with pytest.raises(
            ArchiveError, match=r"meta\.xml: the <.* names .*, which is outside the archive; correct me"
        ):
            make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)


@pytest.mark.parametrize("encoding", ["base64", "rot13", "zip", "hex", "idna", "undefined", "klingon", "ü", "punycode"])
def test_an_encoding_that_does_not_exist_is_one_sentence(tmp_path: Path, encoding: str) -> None:
    descriptor = DESCRIPTOR.replace('encoding="UTF-8"', f'encoding="{encoding}"')
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor)
    with pytest.raises(DatasetError, match=r"a\.zip: ") as raised:
        make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<coreid index="0"/>', '<coreid index="-1"/>'),
        ('<field index="3"', '<field index="-3"'),
        ('<field index="3"', '<field index="300000000000"'),
        ('<field index="3"', '<field index="3x"'),
        ('ignoreHeaderLines="1"', 'ignoreHeaderLines="-1"'),
        ('ignoreHeaderLines="1"', 'ignoreHeaderLines="one"'),
        ("<location>multimedia.txt</location>", "<location/>"),
        ("<location>multimedia.txt</location>", ""),
        ("<files>", "<file>"),
        (f'term="{DC}type"', ""),
        ('<coreid index="0"/>', ""),
        ("</archive>", ""),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="||"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\n"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\x"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="¬"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\u0000"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="\\t"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="\\r"'),
        ('fieldsEnclosedBy=""', 'fieldsEnclosedBy="ab"'),
        ("<core ", "<kern "),
        ("<archive ", "<archiv "),
        ("Occurrence", "Occur\0rence"),
    ],
)
def test_a_descriptor_that_is_not_valid_is_one_sentence(tmp_path: Path, old: str, new: str) -> None:
    assert old in DESCRIPTOR
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=DESCRIPTOR.replace(old, new))
    with pytest.raises(ArchiveError, match=r"a\.zip: .*meta\.xml|multimedia\.txt: has 7 columns") as raised:
        make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert "\n" not in str(raised.value)


def test_a_descriptor_may_be_in_latin_1_or_declare_utf_16_and_be_in_utf_8() -> None:
    text = make_gbif_meta_xml(extra=f'<field term="{DWC}country" default="Curaçao"/>')
    declaration = '<?xml version="1.0" encoding="%s"?>\n'
    for data in (
        (declaration % "ISO-8859-1" + text).encode("latin-1"), (declaration % "utf-16" + text).encode(),
        (declaration % "UTF-16" + text).encode("utf-16"), (declaration % "UTF-16BE" + text).encode("utf-16"),
        text.encode(), text.encode("utf-8-sig"),
    ):  # fmt: skip
        assert parse_descriptor(PATH, data).core.find_column("country") == Column("country", None, "Curaçao")


def test_a_real_descriptor_in_utf_16_is_parsed() -> None:
    data = find_real_archive("meta-utf16le.xml").read_bytes()
    column = parse_descriptor(PATH, b"\xff\xfe" + data.removeprefix(b"\xff\xfe")).core.find_column("institutionCode")
    assert column is not None
    assert column.default == "INHS"
