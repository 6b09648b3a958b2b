"""Real archives of all kinds. What is expected of them was counted by hand."""

import csv
import io
import re
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.read.selection_options import SelectionOptions
from tests.support.archives import (
    DC,
    DWC,
    GBIF,
    MEDIA,
    PHOTO,
    find_real_archive,
    make_lines,
    make_meta_xml,
    make_part,
    read_zip,
    write_tar,
    write_zip,
)
from tests.support.manifests import make_manifest

BY_NAME = SelectionOptions("scientificName")


def read_member(archive: str, member: str) -> bytes:
    """A file of a real archive, read by simple means."""
    path = find_real_archive(archive)
    if path.is_dir():
        return (path / member).read_bytes()
    if path.suffix == ".zip":
        return read_zip(path)[member]
    with tarfile.open(path) as tar:
        file = tar.extractfile(member)
        assert file is not None
        return file.read()


@dataclass
class Expected:
    """The media file of a real archive, counted by hand. `url` is the position of its URLs, from 0."""

    media: str
    url: int
    lines: int
    occurrences: int
    separator: str = "\t"
    enclosed: bool = False
    header: bool = True
    values: Mapping[str, str | None] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def read_rows(self, archive: str) -> list[list[str]]:
        text = read_member(archive, self.media).decode("utf-8-sig")
        if self.enclosed and self.header:
            text = text.split("\n", 1)[1]  # quotes in a header need not be balanced
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator))
        if self.enclosed:
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator))
        return [line.split(self.separator) for line in text.splitlines()[1:] if line.strip()]


NO_MEDIA = r": meta\.xml names no media .*Darwin Core Archive"
EMPTY = r": its media file has no rows; .*Darwin Core Archive"
REAL: dict[str, Expected | str] = {
    "ala-image-service-dr893": Expected(
        "image.csv", 1, 5, 5, ",", True, False,
        {"coreid": "not-an-uuid-2", "scientificName": "Scoparia crocospila", "eventDate": "2/10/15"},
    ),
    "archive-dwc": EMPTY,
    "archive-tax.zip": NO_MEDIA,
    "checklist_980.zip": EMPTY,
    "dwca-orphaned-rows.zip": NO_MEDIA,
    "dwca-partial-default.zip": NO_MEDIA,
    "fldnum-tsv-less.tar.gz": NO_MEDIA,
    "gbif-2020-dl.4gbcs6.zip": Expected(
        "multimedia.txt", 3, 1362, 1310,
        values={"datasetKey": "cca13f2c-0d2c-4c2f-93b9-4446c0cc1629", "mediaType": "StillImage", "countryCode": "US"},
    ),
    "gbif-2023-dl.jjj8vj.zip": EMPTY,
    "gbif-2024-dl.npd2js.zip": EMPTY,
    "gbif-2025-0009886-250127130748423.SIMPLE_CSV.zip": r": this is a GBIF simple CSV, .*'Darwin Core Archive'",
    "idigbio-ac-extension": Expected("multimedia.txt", 61, 74, 916, ",", True, True, {"kingdom": "Chlorobionta"}),
    "importer-15": Expected(
        "media.txt", 3, 2, 53,
        values={
            "coreid": "2768", "scientificName": "Achillea millefolium Linnaeus", "kingdom": "Plantae",
            "rightsHolder": "Université de Montréal Biodiversity Centre", "mediaLicense": "by-nc-sa/2.0",
            "mediaRightsHolder": "James Dean", "licenseCode": "cc-by-nc-sa",
        },
    ),
    "invalid__extension-missing": r": meta\.xml names media\.txt, which is not in the archive; download the archive again",
    "ipttest-dwca-inside-parent.zip": Expected(
        "dwca-inside-parent/image.txt", 2, 2, 2, values={"scientificName": "Batis crypta", "lifeStage": "Adult"}
    ),
    "issues__csv-json-escaped-quotes": Expected(
        "multimedia.csv", 5, 4, 1, ",", True, True,
        {"coreid": "779", "mediaRightsHolder": "The Trustees of the Natural History Museum, London",
         "licenseCode": "cc-by", "order": "Pterosauria"},
    ),
    "livingnorway-event.zip": NO_MEDIA,
    "multifile-psv": r": none of its 6 media is an image to fetch: 6 not-http \(.*\); ",
    "plazi-6632D815.zip": r": none of its 9 media is an image to fetch: 9 not-http \(.*\); ",
    "plazi-dwca.zip": Expected(
        "multimedia.txt", 3, 14, 18,
        values={"mediaPublisher": "Zenodo", "order": "Diptera", "mediaFormat": "image/png"},
        skipped={"media.txt": "http://eol.org/schema/media/document"},
    ),
    "rb-broken.tar.gz": r": the archive is damaged \(.*\); download it again",
    "rb-latin1.tar.gz": NO_MEDIA,
}  # fmt: skip
OTHER_FILES = {"meta-utf16le.xml", "partial-2023-dl.pafy54-multimedia.txt", "README.md"}


def test_every_real_archive_is_in_the_table() -> None:
    assert {path.name for path in find_real_archive("README.md").parent.iterdir()} == {*REAL, *OTHER_FILES}


@pytest.mark.parametrize("name", REAL)
def test_a_real_archive_gives_its_rows_or_one_sentence(tmp_path: Path, name: str) -> None:
    expected, archive = REAL[name], find_real_archive(name)
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=re.escape(name) + expected) as raised:
            make_manifest(archive, tmp_path, BY_NAME)
        assert "\n" not in str(raised.value)
        return
    manifest = make_manifest(archive, tmp_path, BY_NAME)
    rows = expected.read_rows(name)
    assert len(rows) == expected.lines == manifest.counts.media_lines
    assert manifest.counts.record_lines == expected.occurrences
    assert manifest.counts.passed_over == expected.skipped
    assert not manifest.rejected
    assert manifest.urls == Counter(fields[expected.url] for fields in rows)
    assert any(expected.values.items() <= row.items() for row in manifest.rows)


def test_quotes_and_backslashes_in_a_field_are_kept(tmp_path: Path) -> None:
    name = "issues__csv-json-escaped-quotes"
    options = SelectionOptions("scientificName", extra_columns=("dynamicProperties",))
    manifest = make_manifest(find_real_archive(name), tmp_path, options)
    [row] = list(csv.reader(io.StringIO(read_member(name, "occurrence.csv").decode())))[1:]
    assert set(manifest.values("dynamicProperties").values()) == {row[2]}
    assert 'says \\"fragments of bone\\"' in row[2]


def test_a_descriptor_and_data_in_utf_16_are_read(tmp_path: Path) -> None:
    descriptor = find_real_archive("meta-utf16le.xml").read_bytes().decode("utf-16")
    media = make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA)
    core = ["1", "net", "2019-07-01"] + [""] * 16 + ["Ädult"] + [""] * 4 + ["76", *[""] * 4, "Fossil"] + [""] * 14
    assert len(core) == 44
    text = "\t".join(core) + "\n" + "\t".join(["2"] + [""] * 43) + "\n"
    photos = [{"gbifID": str(n), "identifier": f"{PHOTO}{n}"} for n in (1, 2, 3)]
    members: dict[str, str | bytes] = {
        "meta.xml": b"\xff\xfe" + descriptor.replace("</archive>", media + "</archive>").encode("utf-16-le"),
        "multimedia.txt": make_lines(MEDIA, photos),
    }
    options = SelectionOptions("scientificName", extra_columns=("institutionID",))
    for encoded in (text.encode("utf-16-le"), b"\xff\xfe" + text.encode("utf-16-le")):
        archive = write_zip(tmp_path / "a.zip", {**members, "occurrence.txt": encoded})
        manifest = make_manifest(archive, tmp_path, options)
        one, two = manifest.find(f"{PHOTO}1"), manifest.find(f"{PHOTO}2")
        assert (one["lifeStage"], one["institutionID"], one["basisOfRecord"]) == ("Ädult", "76", "Fossil")
        assert (two["lifeStage"], two["institutionID"], two["basisOfRecord"]) == (None, "75", "Preserved Specimen")
        assert one["institutionCode"] == "INHS"
        assert manifest.reasons == {"orphaned": 1}


def test_data_in_latin_1_in_a_tar_keep_their_accents(tmp_path: Path) -> None:
    names = ("meta.xml", "irmng.csv", "eml.xml")
    members = {name: read_member("rb-latin1.tar.gz", f"./{name}") for name in names}
    media = make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA)
    members["meta.xml"] = members["meta.xml"].replace(b"</archive>", media.encode() + b"</archive>")
    taxa = list(csv.reader(io.StringIO(members["irmng.csv"].decode("latin-1"), newline="")))[1:]
    photos = [{"gbifID": fields[0], "identifier": f"{PHOTO}{fields[0]}"} for fields in taxa]
    members["multimedia.txt"] = make_lines(MEDIA, photos).encode()
    manifest = make_manifest(write_tar(tmp_path / "a.tar.gz", members), tmp_path, BY_NAME)
    assert manifest.values("scientificName") == {fields[0]: fields[1] for fields in taxa}
    assert "Tinissa ruwenzorica Gozmány" in manifest.values("scientificName").values()


def test_line_ends_byte_order_marks_defaults_and_faults_of_files_without_enclosed_fields(tmp_path: Path) -> None:
    occurrence = (
        f'<core encoding="UTF-8" fieldsTerminatedBy="|" linesTerminatedBy="\\n" ignoreHeaderLines="1" rowType="{DWC}Occurrence">'
        '<files><location>o1.txt</location><location>o2.txt</location></files><id index="2"/>'
        f'<field index="4" term="{DWC}lifeStage" default="Adult"/><field index="0" term="{DWC}scientificName"/>'
        f'<field term="{DWC}country" default="Namibia"/><field term="{DWC}sex"/>'
        f'<field term="{DC}creator" index="3"/><field term="http://other.example/creator" index="1"/></core>'
    )
    media = (
        f'<extension encoding="UTF-8" fieldsTerminatedBy="|" linesTerminatedBy="\\n" ignoreHeaderLines="0" rowType="{GBIF}Multimedia">'
        '<files><location>m.txt</location></files><coreid index="1"/>'
        f'<field index="0" term="{DC}identifier"/><field term="{DC}type" default="StillImage"/></extension>'
    )
    members: dict[str, str | bytes] = {
        "meta.xml": b"\xef\xbb\xbf" + make_meta_xml(occurrence, media).encode(),
        "o1.txt": "n|x|id|c|l\r\nAus|second|1|first|Larva\r\nBus||2||\r\n\r\nCus|short\r\n".encode("utf-8-sig"),
        "o2.txt": "n|x|id|c|l\nDus||4 |||too|long\nEus|| 5|first\n\nFus|\t|6||Egg",
        "m.txt": f"{PHOTO}1|1\r\n{PHOTO}2|2\r\n\r\n{PHOTO}6|6 \r\n{PHOTO}x|1|1\r\n{PHOTO}3|3".encode("utf-8-sig"),
    }
    options = SelectionOptions("scientificName", extra_columns=("creator", "country"))
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path, options)
    values = {row["coreid"]: (row["scientificName"], row["lifeStage"], row["creator"]) for row in manifest.rows}
    assert values == {"1": ("Aus", "Larva", "first"), "2": ("Bus", "Adult", None), "6": ("Fus", "Egg", None)}
    assert {row["country"] for row in manifest.rows} == {"Namibia"}
    assert {row["mediaType"] for row in manifest.rows} == {"StillImage"}
    assert {(row["file"], row["line"]): (row["reason"], row["raw"]) for row in manifest.rejected} == {
        ("o1.txt", 4): ("blank-line", ""), ("o1.txt", 5): ("ragged-line", "Cus|short"),
        ("o2.txt", 2): ("ragged-line", "Dus||4 |||too|long"), ("o2.txt", 3): ("ragged-line", "Eus|| 5|first"),
        ("o2.txt", 4): ("blank-line", ""), ("m.txt", 3): ("blank-line", ""),
        ("m.txt", 5): ("ragged-line", f"{PHOTO}x|1|1"), ("m.txt", 6): ("orphaned", f"{PHOTO}3|3"),
    }  # fmt: skip
    with pytest.raises(DatasetError, match=r"o1\.txt has no column sex"):
        make_manifest(tmp_path / "a.zip", tmp_path, SelectionOptions("scientificName", extra_columns=("sex",)))
