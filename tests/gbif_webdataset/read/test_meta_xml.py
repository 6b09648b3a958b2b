from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read.meta_xml import Column, parse_descriptor
from gbif_webdataset.read.selection_options import SelectionOptions
from tests.support.archives import (
    DC,
    DWC,
    GBIF,
    MEDIA,
    find_case,
    find_real_archive,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_meta_xml,
    make_occurrence,
    make_part,
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
    with pytest.raises(ArchiveError, match=r"^a\.zip: meta\.xml has a document type declaration"):
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


MANY_CASES = SelectionOptions("scientificName")


@pytest.mark.parametrize(
    ("name", "images", "notes"),
    [
        ("extension-id-for-coreid", 1, []),
        ("core-without-id", 6, []),
        ("unread-extension-broken-b1", 6, []),
        ("unread-extension-broken-b2", 6, ["has no <location> of a file in <files>; correct meta.xml, or inform"]),
        ("unread-extension-broken-b3", 6, []),
        ("unread-extension-broken-b5", 6, ["names the encoding 'ANSI', but this tool reads UTF-8, UTF-16, ISO-8859-x"]),
        ("unread-extension-broken-b6", 6, ["separates fields by '||' and encloses them by ''"]),
        ("unread-extension-coreid-without-index", 1, ["has a <coreid> without an index"]),
        ("header-trailing-tab-core", 1, []),
    ],
)
def test_a_small_fault_that_does_no_harm_is_a_note_at_most(
    tmp_path: Path, name: str, images: int, notes: list[str]
) -> None:
    manifest = make_manifest(find_case(f"archives/{name}.zip"), tmp_path, MANY_CASES)
    assert (len(manifest.rows), manifest.reasons) == (images, {})
    found = [note for note in manifest.counts.notes if "DOI" not in note]
    assert len(found) == len(notes)
    for note, words in zip(found, notes, strict=True):
        assert note.startswith("meta.xml: the <extension> of http")
        assert words in note


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tables-instead-of-core", "meta.xml has no element <core>, only <table>, so it does not say which file"),
        ("meta-punycode", "meta.xml names the encoding 'punycode', but this tool reads UTF-8, UTF-16"),
        ("meta-nested-2000-deep", "meta.xml has elements that are nested more than 100 deep; correct meta.xml"),
        ("location-c1-controls", r"meta.xml names mm\x9b31mRED\x9d0;x.txt, which is not in the archive; download"),
        ("member-name-terminal-escapes", r"\x1b]0;PWNED\x07\x1b[31mRED expands 1,027 times, more than --ReadArchive"),
    ],
)
def test_a_fault_of_what_is_read_is_one_sentence_that_is_safe_to_print(
    tmp_path: Path, name: str, sentence: str
) -> None:
    archive = find_case(f"archives/{name}.zip")
    with pytest.raises(ArchiveError) as raised:
        make_manifest(archive, tmp_path, MANY_CASES)
    assert str(raised.value).startswith(f"{archive}: {sentence}")
    assert str(raised.value).isprintable()


REFERENCES = ("gbifID", "bibliographicCitation")
UNREAD = make_part("extension", f"{GBIF}Reference", "references.txt", REFERENCES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<coreid index="0"/>', '<coreid index="-1"/>'),
        ('<coreid index="0"/>', '<coreid index="x"/>'),
        ('index="1"', 'index="-1"'),
        ("<location>references.txt</location>", "<location>../../etc/passwd</location>"),
        ("<location>references.txt</location>", "<location/>"),
        ("<files>", "<file>"),
        ('ignoreHeaderLines="1"', 'ignoreHeaderLines="one"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\x"'),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\n"'),
        ('encoding="UTF-8"', 'encoding="klingon"'),
        (f'term="{DWC}bibliographicCitation"', ""),
        ("references.txt", "missing.txt"),
        ("Reference", "verzögert"),
    ],
)
def test_any_fault_of_an_extension_that_is_not_read_does_not_refuse_the_archive(
    tmp_path: Path, old: str, new: str
) -> None:
    assert old in UNREAD
    extension = UNREAD.replace(old, new).replace("</files>" if new == "<file>" else "\0", "</file>")
    descriptor = DESCRIPTOR.replace("</archive>", f"{extension}</archive>")
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor)
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert len(manifest.rows) == 1
    assert len(manifest.counts.notes) in (1, 2)


def test_many_faults_give_few_notes(tmp_path: Path) -> None:
    extension = UNREAD.replace("<location>references.txt</location>", "")
    descriptor = DESCRIPTOR.replace("</archive>", f"{extension * 50}</archive>")
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor)
    notes = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path).counts.notes
    assert len(notes) == 22
    assert "30 further faults in meta.xml" in notes


@pytest.mark.parametrize(("broken", "images"), [("Image", 1), ("Multimedia", 0)])
def test_broken_media_are_an_error_only_if_they_would_be_read(tmp_path: Path, broken: str, images: int) -> None:
    extension = make_part("extension", f"{GBIF}Image", "image.txt", ("gbifID", "identifier"))
    descriptor = DESCRIPTOR.replace("</archive>", f"{extension}</archive>")
    before, after = descriptor.split(f"{GBIF}{broken}")
    descriptor = (
        f"{before}{GBIF}{broken}{after.replace('<location>', '<place>', 1).replace('</location>', '</place>', 1)}"
    )
    image = "gbifID\tidentifier\n1\thttps://photos.example/i.jpg\n"
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor, image_txt=image)
    archive = write_zip(tmp_path / "a.zip", members)
    if images:
        assert len(make_manifest(archive, tmp_path).rows) == images
    else:
        with pytest.raises(ArchiveError, match=r"a\.zip: meta\.xml: the <extension> of .*multimedia has no <location>"):
            make_manifest(archive, tmp_path)


@pytest.mark.parametrize(
    ("row_type", "term", "reads"),
    [
        ("Occurrence", "gbifID", True),
        ("Occurrence", "occurrenceID", True),
        ("Taxon", "taxonID", True),
        ("Occurrence", "taxonID", False),
        ("Occurrence", "catalogNumber", False),
    ],
)
def test_a_term_with_the_ids_stands_for_an_id_that_is_missing(
    tmp_path: Path, row_type: str, term: str, reads: bool
) -> None:
    core = make_part("core", f"{DWC}{row_type}", "o.txt", ("x", term, "scientificName")).replace('<id index="0"/>', "")
    media = make_part("extension", f"{GBIF}Multimedia", "m.txt", ("x", "identifier", term))
    media = media.replace('<coreid index="0"/>', "<coreid/>")
    members = {
        "meta.xml": make_meta_xml(core, media),
        "o.txt": "x\tid\tname\nz\t1\tAus\nz\t2\tBus\n",
        "m.txt": "x\turl\tid\ny\thttps://photos.example/1\t2\n",
    }
    archive = write_zip(tmp_path / "a.zip", members)
    if reads:
        assert make_manifest(archive, tmp_path, MANY_CASES).values("scientificName") == {"2": "Bus"}
    else:
        with pytest.raises(
            ArchiveError, match=r"meta\.xml: the <core> of .* has no <id>, and no column .* in its place"
        ):
            make_manifest(archive, tmp_path, MANY_CASES)


@pytest.mark.parametrize(("label", "codec"), [("latin1", "latin-1"), ("Cp1252", "cp1252"), ("macintosh", "mac-roman")])
def test_a_data_file_in_an_encoding_of_the_list_keeps_its_accents(tmp_path: Path, label: str, codec: str) -> None:
    descriptor = DESCRIPTOR.replace('encoding="UTF-8"', f'encoding="{label}"')
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor)
    members["multimedia.txt"] = make_lines(MEDIA, [make_medium(1, creator="Gozmány")]).encode(codec)
    [row] = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path).rows
    assert row["mediaCreator"] == "Gozmány"


@pytest.mark.parametrize("part", ["<core ", "<extension "])
def test_a_data_file_in_another_encoding_is_one_sentence(tmp_path: Path, part: str) -> None:
    before, after = DESCRIPTOR.split(part)
    after = after.replace('encoding="UTF-8"', 'encoding="punycode"', 1)
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=f"{before}{part}{after}")
    with pytest.raises(
        ArchiveError, match=r"a\.zip: meta\.xml: the <.*> of .* names the encoding 'punycode', but this"
    ):
        make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)


def test_a_descriptor_with_too_many_elements_or_too_long_values_is_one_sentence() -> None:
    for text, problem in (
        (DESCRIPTOR.replace("</core>", "<a/>" * 100_001 + "</core>"), "more than 100,000 elements"),
        (DESCRIPTOR.replace('index="1"', f'index="{"1" * 5_000}"', 1), "an attribute of more than 4,096 characters"),
        (DESCRIPTOR.replace("occurrence.txt", "x" * 5_000), "a <location> of more than 4,096 characters"),
    ):
        with pytest.raises(ArchiveError, match=problem):
            parse_descriptor(PATH, text.encode())
