"""Real archives of every kind, and small ones of each oddity; what is expected of them was counted by hand."""

import csv
import io
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read import dwca, read_archive
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.select_media import Selection
from tests.support.archives import DC, DWC, GBIF, MEDIA, OCCURRENCE, gbif, lines, meta, part, write

SHARED = Path(__file__).parents[3].parent / "shared" / "archives"
AC = "http://rs.tdwg.org/ac/terms/"
Row = dict[str, Any]


class Read:
    """A manifest, read back; media and images add up."""

    def __init__(self, archive: Path, tmp_path: Path, *extra: str) -> None:
        folder = tmp_path / "manifest"
        selection = Selection("scientificName", extra_columns=extra)
        self.counts = read_archive.build(
            archive, folder, 3, selection, Resources(256 << 20, tmp_path / "scratch"), lambda done, total: None
        )
        self.rows: list[Row] = [
            row for n in range(3) for row in pq.read_table(folder / f"chunk-{n:05d}.parquet").to_pylist()
        ]
        self.rejected: list[Row] = pq.read_table(folder / "rejected.parquet").to_pylist()
        self.reasons = dict(Counter(row["reason"] for row in self.rejected))
        media = [row for row in self.rejected if row["file"] in self.counts.media_files]
        assert self.counts.media_lines == len(self.rows) + len(media)

    @property
    def urls(self) -> Counter[str]:
        return Counter(row["identifier"] for row in self.rows)

    def of(self, url: str) -> Row:
        """The image of a URL."""
        [row] = [row for row in self.rows if row["identifier"] == url]
        return row


def real(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip("the real archives (../shared/archives) are not here")
    return SHARED / name


def content(archive: str, member: str) -> bytes:
    """A file of a real archive, by the plainest means."""
    path = real(archive)
    if path.is_dir():
        return (path / member).read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as members:
            return members.read(member)
    with tarfile.open(path) as tar:
        file = tar.extractfile(member)
        assert file is not None
        return file.read()


@dataclass
class Right:
    """The media file of a real archive as a reader of text sees it: its URLs stand in column `url` from 0."""

    media: str
    url: int
    lines: int
    occurrences: int
    separator: str = "\t"
    enclosed: bool = False
    header: bool = True
    values: Mapping[str, str | None] = field(default_factory=dict)
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def rows(self, archive: str) -> list[list[str]]:
        text = content(archive, self.media).decode("utf-8-sig")
        if self.enclosed and self.header:
            text = text.split("\n", 1)[1]  # a header's quotes need not be balanced
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator))
        if self.enclosed:
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator))
        return [line.split(self.separator) for line in text.splitlines()[1:] if line.strip()]


NO_MEDIA = r": its meta\.xml names no media .*Darwin Core Archive"
EMPTY = r": its media file is empty; .*Darwin Core Archive"
ALL: dict[str, Right | str] = {
    "ala-image-service-dr893": Right(
        "image.csv", 1, 5, 5, ",", True, False,
        {"coreid": "not-an-uuid-2", "scientificName": "Scoparia crocospila", "eventDate": "2/10/15"},
    ),
    "archive-dwc": EMPTY,
    "archive-tax.zip": NO_MEDIA,
    "checklist_980.zip": EMPTY,
    "dwca-orphaned-rows.zip": NO_MEDIA,
    "dwca-partial-default.zip": NO_MEDIA,
    "fldnum-tsv-less.tar.gz": NO_MEDIA,
    "gbif-2020-dl.4gbcs6.zip": Right(
        "multimedia.txt", 3, 1362, 1310,
        values={"datasetKey": "cca13f2c-0d2c-4c2f-93b9-4446c0cc1629", "mediaType": "StillImage", "countryCode": "US"},
    ),
    "gbif-2023-dl.jjj8vj.zip": EMPTY,
    "gbif-2024-dl.npd2js.zip": EMPTY,
    "gbif-2025-0009886-250127130748423.SIMPLE_CSV.zip": r": this is GBIF's simple CSV, .*'Darwin Core Archive'",
    "idigbio-ac-extension": Right("multimedia.txt", 61, 74, 916, ",", True, True, {"kingdom": "Chlorobionta"}),
    "importer-15": Right(
        "media.txt", 3, 2, 53,
        values={
            "coreid": "2768", "scientificName": "Achillea millefolium Linnaeus", "kingdom": "Plantae",
            "rightsHolder": "Université de Montréal Biodiversity Centre", "mediaLicense": "by-nc-sa/2.0",
            "mediaRightsHolder": "James Dean", "licenseCode": "cc-by-nc-sa",
        },
    ),
    "invalid__extension-missing": r": meta\.xml names media\.txt, which is not in the archive; download it again",
    "ipttest-dwca-inside-parent.zip": Right(
        "dwca-inside-parent/image.txt", 2, 2, 2, values={"scientificName": "Batis crypta", "lifeStage": "Adult"}
    ),
    "issues__csv-json-escaped-quotes": Right(
        "multimedia.csv", 5, 4, 1, ",", True, True,
        {"coreid": "779", "mediaRightsHolder": "The Trustees of the Natural History Museum, London",
         "licenseCode": "cc-by", "order": "Pterosauria"},
    ),
    "livingnorway-event.zip": NO_MEDIA,
    "multifile-psv": r": none of its 6 media is left: 6 whose URL is not http or https; ",
    "plazi-6632D815.zip": r": none of its 9 media is left: 9 whose URL is not http or https; ",
    "plazi-dwca.zip": Right(
        "multimedia.txt", 3, 14, 18,
        values={"mediaPublisher": "Zenodo", "order": "Diptera", "mediaFormat": "image/png"},
        passed_over={"media.txt": "http://eol.org/schema/media/document"},
    ),
    "rb-broken.tar.gz": r": damaged \(.*\); download it again",
    "rb-latin1.tar.gz": NO_MEDIA,
}  # fmt: skip
BUILT_UPON = {"meta-utf16le.xml", "partial-2023-dl.pafy54-multimedia.txt", "README.md"}


def test_every_real_archive_is_in_the_table() -> None:
    assert {path.name for path in real("README.md").parent.iterdir()} == {*ALL, *BUILT_UPON}


@pytest.mark.parametrize("name", ALL)
def test_a_real_archive_gives_the_right_rows_or_the_right_sentence(tmp_path: Path, name: str) -> None:
    expected = ALL[name]
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=re.escape(name) + expected) as raised:
            Read(real(name), tmp_path)
        assert "\n" not in str(raised.value)
        return
    read = Read(real(name), tmp_path)
    rows = expected.rows(name)
    assert len(rows) == expected.lines == read.counts.media_lines
    assert read.counts.record_lines == expected.occurrences
    assert read.counts.passed_over == expected.passed_over
    assert not read.rejected
    assert read.urls == Counter(fields[expected.url] for fields in rows)
    assert any(expected.values.items() <= row.items() for row in read.rows)


def test_quotes_and_backslashes_in_a_field_come_as_they_were_meant(tmp_path: Path) -> None:
    read = Read(real("issues__csv-json-escaped-quotes"), tmp_path, "dynamicProperties")
    told = {row["dynamicProperties"] for row in read.rows}
    [row] = list(csv.reader(io.StringIO(content("issues__csv-json-escaped-quotes", "occurrence.csv").decode())))[1:]
    assert told == {row[2]}
    assert 'says \\"fragments of bone\\"' in row[2]


PARTIAL = "partial-2023-dl.pafy54-multimedia.txt"
PARTIAL_COLUMNS = (
    "gbifID", "type", "format", "identifier", "references", "title", "description", "source", "audience", "created",
    "creator", "contributor", "publisher", "license", "rightsHolder",
)  # fmt: skip


def test_media_of_many_publishers_are_told_apart_as_a_plain_count_does(tmp_path: Path) -> None:
    text = real(PARTIAL).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.split("\n")[1:] if line]
    assert text.split("\n", 1)[0].split("\t") == list(PARTIAL_COLUMNS)
    occurrences = [{"gbifID": key, "datasetKey": "d1"} for key in sorted({fields[0] for fields in rows})]
    members = {
        "meta.xml": meta(OCCURRENCE, PARTIAL_COLUMNS),
        "occurrence.txt": lines(OCCURRENCE, occurrences),
        "multimedia.txt": text,
    }
    expected: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    images: Counter[str] = Counter()
    for fields in rows:
        key, kind, media_type, url = fields[:4]
        if not url:
            expected["no-url"] += 1
        elif not url.startswith(("http://", "https://")):
            expected["not-http"] += 1
        elif kind not in ("", "StillImage") or media_type.split("/")[0] in ("text", "audio", "video", "application"):
            expected["not-still-image"] += 1
        elif (key, url) in seen:
            expected["duplicate-medium"] += 1
        else:
            images[key] += 1
            seen.add((key, url))
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    assert read.reasons == dict(expected)
    assert Counter(row["coreid"] for row in read.rows) == images
    assert expected["not-still-image"] > 0
    assert max(Counter(fields[0] for fields in rows).values()) == 23
    assert {row["raw"] for row in read.rejected} <= set(text.split("\n"))


def test_a_descriptor_in_utf16_and_its_data_are_read(tmp_path: Path) -> None:
    descriptor = real("meta-utf16le.xml").read_bytes().decode("utf-16")
    media = part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA)
    core = ["1", "net", "2019-07-01"] + [""] * 16 + ["Ädult"] + [""] * 4 + ["76", *[""] * 4, "Fossil"] + [""] * 14
    assert len(core) == 44
    text = "\t".join(core) + "\n" + "\t".join(["2"] + [""] * 43) + "\n"
    photos = [{"gbifID": str(n), "identifier": f"https://photos.example/{n}"} for n in (1, 2, 3)]
    members: dict[str, str | bytes] = {
        "meta.xml": b"\xff\xfe" + descriptor.replace("</archive>", media + "</archive>").encode("utf-16-le"),
        "multimedia.txt": lines(MEDIA, photos),
    }
    for encoded in (text.encode("utf-16-le"), b"\xff\xfe" + text.encode("utf-16-le")):
        read = Read(write(tmp_path / "a.zip", {**members, "occurrence.txt": encoded}), tmp_path, "institutionID")
        one, two = read.of("https://photos.example/1"), read.of("https://photos.example/2")
        assert (one["lifeStage"], one["institutionID"], one["basisOfRecord"]) == ("Ädult", "76", "Fossil")
        assert (two["lifeStage"], two["institutionID"], two["basisOfRecord"]) == (None, "75", "Preserved Specimen")
        assert one["institutionCode"] == "INHS"
        assert read.reasons == {"orphaned": 1}


def test_latin1_data_in_a_tar_keep_their_accents(tmp_path: Path) -> None:
    names = ("meta.xml", "irmng.csv", "eml.xml")
    members = {name: content("rb-latin1.tar.gz", f"./{name}") for name in names}
    media = part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA)
    members["meta.xml"] = members["meta.xml"].replace(b"</archive>", media.encode() + b"</archive>")
    taxa = list(csv.reader(io.StringIO(members["irmng.csv"].decode("latin-1"), newline="")))[1:]
    photos = [{"gbifID": fields[0], "identifier": f"https://photos.example/{fields[0]}"} for fields in taxa]
    members["multimedia.txt"] = lines(MEDIA, photos).encode()
    read = Read(tarred(tmp_path / "a.tar.gz", members, "w:gz"), tmp_path)
    assert {row["coreid"]: row["scientificName"] for row in read.rows} == {fields[0]: fields[1] for fields in taxa}
    assert "Tinissa ruwenzorica Gozmány" in {row["scientificName"] for row in read.rows}


def tarred(path: Path, members: Mapping[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, members: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED, zip64: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as file:
                file.write(data)
    return path


@pytest.mark.parametrize("enclosed", ["", "&quot;"])
def test_the_same_files_give_the_same_manifest_whatever_they_come_in(tmp_path: Path, enclosed: str) -> None:
    photos = [{"gbifID": str(n % 7), "identifier": f"https://photos.example/{n}"} for n in range(20)]
    occurrences = [{"gbifID": str(n), "datasetKey": "d1"} for n in range(6)]
    texts = {
        "meta.xml": meta(OCCURRENCE, MEDIA).replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"'),
        "occurrence.txt": lines(OCCURRENCE, occurrences),
        "multimedia.txt": lines(MEDIA, photos),
    }
    plain = {name: text.encode() for name, text in texts.items()}
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in plain.items():
        (folder / name).write_bytes(data)
    prefixed = {f"export/{name}": data for name, data in plain.items()}
    mac = {f"__MACOSX/export/._{name}": b"\0\5\26\7" for name in plain} | {"__MACOSX/meta.xml": b"\0"}
    archives = [
        zipped(tmp_path / "deflated.zip", plain), zipped(tmp_path / "stored.zip", plain, zipfile.ZIP_STORED),
        zipped(tmp_path / "zip64.zip", plain, zip64=True), zipped(tmp_path / "bzip2.zip", plain, zipfile.ZIP_BZIP2),
        zipped(tmp_path / "prefixed.zip", {**mac, **prefixed}),
        zipped(tmp_path / "backslashes.zip", {name.replace("/", "\\"): data for name, data in prefixed.items()}),
        tarred(tmp_path / "a.tar", plain, "w"), tarred(tmp_path / "a.tar.gz", plain, "w:gz"),
        tarred(tmp_path / "dots.tar.gz", {f"./{name}": data for name, data in prefixed.items()}, "w:gz"), folder,
    ]  # fmt: skip
    first, *others = [(read.rows, read.rejected) for read in (Read(archive, tmp_path) for archive in archives)]
    assert len(first[0]) == 18
    assert {row["coreid"] for row in first[1]} == {"6"}
    assert all(other == first for other in others)


def described(*parts: str) -> str:
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(parts)}</archive>'


PHOTO = "https://photos.example/"


def test_media_of_events_go_to_their_occurrence_where_they_name_it(tmp_path: Path) -> None:
    event, occurrence = ("eventID", "country"), ("eventID", "occurrenceID", "scientificName")
    by_occurrence, by_event = ("eventID", "occurrenceID", "identifier"), ("eventID", "identifier")
    members = {
        "event.txt": lines(event, [{"eventID": "e1"}, {"eventID": "e2"}]),
        "occurrence.txt": "eventID\toccurrenceID\tscientificName\ne1\to1\tAus\ne1\to2\tBus\ne2\to3\tCus\n",
    }
    core = part("core", f"{DWC}Event", "event.txt", event)
    of_events = part("extension", f"{DWC}Occurrence", "occurrence.txt", occurrence)
    media = part("extension", f"{GBIF}Multimedia", "m.txt", by_occurrence)
    members |= {
        "meta.xml": described(core, of_events, media),
        "m.txt": f"eventID\toccurrenceID\tidentifier\ne1\to2\t{PHOTO}2\ne1\to1\t{PHOTO}1\ne2\to9\t{PHOTO}9\n",
    }
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    assert {(row["coreid"], row["scientificName"]) for row in read.rows} == {("o1", "Aus"), ("o2", "Bus")}
    assert read.reasons == {"orphaned": 1}
    media = part("extension", f"{GBIF}Multimedia", "m.txt", by_event)
    members |= {
        "meta.xml": described(core, of_events, media),
        "m.txt": f"eventID\tidentifier\ne1\t{PHOTO}1\ne2\t{PHOTO}2\ne3\t{PHOTO}3\n",
    }
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    assert {(row["coreid"], row["scientificName"]) for row in read.rows} == {("e2", "Cus")}
    assert read.reasons == {"orphaned": 1, "several-occurrences": 1}
    members["meta.xml"] = described(core, media)
    with pytest.raises(ArchiveError, match="its core is events, and it has no occurrences of them"):
        Read(write(tmp_path / "a.zip", members), tmp_path)


@pytest.mark.parametrize("row_type", [f"{AC}Multimedia", f"{AC}multimedia", "http://rs.tdwg.org/ac/terms/MULTIMEDIA"])
def test_audubon_core_gives_the_best_quality_it_has(tmp_path: Path, row_type: str) -> None:
    columns = ("coreid", "accessURI", "bestQualityAccessURI", "UsageTerms", "format")
    fields = "".join(f'<field index="{n}" term="{AC}{name}"/>' for n, name in enumerate(columns) if n)
    media = re.sub("<field.*/>", fields, part("extension", row_type, "m.txt", columns))
    members = {
        "meta.xml": described(part("core", f"{DWC}Occurrence", "occurrence.txt", OCCURRENCE), media),
        "occurrence.txt": lines(OCCURRENCE, [{"gbifID": "1"}]),
        "m.txt": f"c\ta\tb\tu\tf\n1\t{PHOTO}small\t{PHOTO}best\tCC BY 4.0\timage/jpeg\n1\t{PHOTO}only\t\t\t\n1\t\t\tCC0\t\n",
    }
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    assert {(row["identifier"], row["licenseCode"]) for row in read.rows} == {
        (f"{PHOTO}best", "cc-by"), (f"{PHOTO}only", "unknown"),
    }  # fmt: skip
    assert read.reasons == {"no-url": 1}


def test_eols_documents_that_are_images_are_taken_by_their_access_uri(tmp_path: Path) -> None:
    with zipfile.ZipFile(real("checklist_980.zip")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = members["media.csv"].decode("utf-8-sig").strip().split(";")
    assert len(names) == 21
    image = {"Type": "http://purl.org/dc/dcmitype/StillImage", "Format": "image/jpeg", "License": "CC BY 3.0"}
    image |= {"Owner": "M. Kuntner", "FurtherInformationURL": f"{PHOTO}page"}
    text = {"Type": "http://purl.org/dc/dcmitype/Text", "Format": "text/html"}
    documents = [
        {"MediaID": "980.1", "AccessURI": f"{PHOTO}1.jpg", **image}, {"MediaID": f"{PHOTO}2.jpg", **image},
        {"MediaID": "980.3", "AccessURI": f"{PHOTO}3.html", **text}, {"MediaID": "980.4", **text},
        {"MediaID": f"{PHOTO}id", "AccessURI": f"{PHOTO}5.jpg", **image},
    ]  # fmt: skip
    rows = [";".join({**row, "TaxonID": "980-sp2"}.get(name, "") for name in names) for row in documents]
    members["media.csv"] += "".join(row + "\n" for row in rows).encode()
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    assert set(read.urls) == {f"{PHOTO}1.jpg", f"{PHOTO}2.jpg", f"{PHOTO}5.jpg"}
    assert [(row["line"], row["reason"]) for row in read.rejected] == [(4, "not-still-image"), (5, "not-http")]
    stated = ("genus", "mediaRightsHolder", "mediaReferences", "mediaLicense", "licenseCode")
    assert {tuple(row[name] for name in stated) for row in read.rows} == {
        ("Agelena", "M. Kuntner", f"{PHOTO}page", "CC BY 3.0", "cc-by")
    }


def test_media_of_taxa_and_gbifs_image_extension_take_the_cores_columns(tmp_path: Path) -> None:
    taxa, media = ("taxonID", "scientificName", "family"), ("taxonID", "identifier")
    for kind in ("Image", "Multimedia"):
        members = {
            "meta.xml": described(
                part("core", f"{DWC}Taxon", "t.txt", taxa), part("extension", f"{GBIF}{kind}", "m.txt", media)
            ),
            "t.txt": "id\tn\tf\nt1\tAus bus\tAidae\n",
            "m.txt": f"id\tu\nt1\t{PHOTO}1\n",
        }
        [row] = Read(write(tmp_path / "a.zip", members), tmp_path).rows
        assert (row["coreid"], row["scientificName"], row["family"]) == ("t1", "Aus bus", "Aidae")


def of_several_kinds(path: Path, files: Mapping[str, tuple[str, str]]) -> Path:
    """Three occurrences, and media extensions by their file's name: a row type, and the lines after the header."""
    columns = ("gbifID", "identifier")
    extensions = [part("extension", kind, name, columns) for name, (kind, _) in files.items()]
    members = {
        "meta.xml": described(part("core", f"{DWC}Occurrence", "occurrence.txt", OCCURRENCE), *extensions),
        "occurrence.txt": lines(OCCURRENCE, [{"gbifID": n} for n in "123"]),
        **{name: "gbifID\tidentifier\n" + text for name, (_, text) in files.items()},
    }
    return write(path, members)


MANY = f"{GBIF}Multimedia"
PLAINEST = {"m.txt": (MANY, f"1\t{PHOTO}m\n"), "a.txt": (f"{AC}Multimedia", f"2\t{PHOTO}a\n")}
IMAGES = {"i.txt": (f"{GBIF}Image", f"3\t{PHOTO}i\n")}


@pytest.mark.parametrize("nothing", ["", "\n", "\r\n \r\n", "\t\n"])
def test_of_several_kinds_of_media_the_plainest_that_has_lines_is_read(tmp_path: Path, nothing: str) -> None:
    for files, taken, passed in (
        ({**IMAGES, **PLAINEST}, "m", {"a.txt": f"{AC}multimedia".lower(), "i.txt": f"{GBIF}image".lower()}),
        ({**IMAGES, **PLAINEST, "m.txt": (MANY, nothing)}, "a", {"i.txt": f"{GBIF}image".lower()}),
        ({"m.txt": (MANY, nothing), "m2.txt": (MANY, f"1\t{PHOTO}2\n")}, "2", {}),
    ):
        read = Read(of_several_kinds(tmp_path / "a.zip", files), tmp_path)
        assert set(read.urls) == {PHOTO + taken}
        assert read.counts.passed_over == passed


def test_an_archive_is_empty_where_each_of_its_kinds_of_media_is(tmp_path: Path) -> None:
    files = {"m.txt": (MANY, ""), "i.txt": (f"{GBIF}Image", "")}
    with pytest.raises(DatasetError, match=r"a\.zip: its media file is empty; "):
        Read(of_several_kinds(tmp_path / "a.zip", files), tmp_path)


def test_a_media_file_that_is_missing_is_told_though_another_kind_has_lines(tmp_path: Path) -> None:
    with zipfile.ZipFile(of_several_kinds(tmp_path / "a.zip", PLAINEST)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    without = {gone: {name: text for name, text in members.items() if name != gone} for gone in PLAINEST}
    with pytest.raises(ArchiveError, match=r"meta\.xml names m\.txt, which is not in the archive"):
        Read(write(tmp_path / "b.zip", without["m.txt"]), tmp_path)
    assert Read(write(tmp_path / "b.zip", without["a.txt"]), tmp_path).counts.passed_over == {}


@pytest.mark.parametrize(("enclosed", "encoding"), [("", "UTF-16"), ("&quot;", "UTF-8"), ("", "UTF-8")])
def test_a_header_alone_is_no_line_whatever_it_is_written_in(tmp_path: Path, enclosed: str, encoding: str) -> None:
    for header, ignored in (("gbifID\tidentifier", 1), ("x" * 100_000 + "\r\na\tb\r\n", 2), ("\ufeff", 0), ("", 9**18)):
        with zipfile.ZipFile(of_several_kinds(tmp_path / "a.zip", PLAINEST)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        descriptor = members["meta.xml"].decode().split("<extension ", 1)
        one = descriptor[1].replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"', 1)
        one = one.replace('"UTF-8"', f'"{encoding}"', 1).replace('HeaderLines="1"', f'HeaderLines="{ignored}"', 1)
        changed = {"meta.xml": f"{descriptor[0]}<extension {one}", "m.txt": header.encode(encoding)}
        assert set(Read(write(tmp_path / "b.zip", {**members, **changed}), tmp_path).urls) == {f"{PHOTO}a"}


@pytest.mark.parametrize(("separator", "ends"), [(",", "\n"), (";", "\r\n"), ("|", "\n"), ("\t", "\r\n")])
@pytest.mark.parametrize(("encoding", "bom"), [("UTF-8", "\ufeff"), ("UTF-8", ""), ("ISO-8859-1", ""), ("UTF-16", "")])
def test_enclosed_fields_may_hold_quotes_separators_and_line_ends(
    tmp_path: Path, separator: str, ends: str, encoding: str, bom: str
) -> None:
    remarks = ['say "ah"', "one\ntwo", f"a{separator}b", "é", '"', "a\r\nb", "plain"]
    escaped = {"\t": "\\t"}.get(separator, separator)
    descriptor = meta(OCCURRENCE, MEDIA).replace('fieldsEnclosedBy=""', 'fieldsEnclosedBy="&quot;"')
    descriptor = descriptor.replace('"\\t"', f'"{escaped}"').replace('encoding="UTF-8"', f'encoding="{encoding}"')
    texts: dict[str, Sequence[Sequence[str]]] = {
        "occurrence.txt": [(str(n), "d1", "", "", "", remark) for n, remark in enumerate(remarks)],
        "multimedia.txt": [(str(n), "", "", f"{PHOTO}{n}", "", "", remark) for n, remark in enumerate(remarks)],
    }
    members: dict[str, str | bytes] = {"meta.xml": descriptor.replace('HeaderLines="1"', 'HeaderLines="0"')}
    for name, rows in texts.items():
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator=ends).writerows(rows)
        members[name] = (bom + text.getvalue()).encode(encoding)
    read = Read(write(tmp_path / "a.zip", members), tmp_path, "occurrenceRemarks")
    assert {row["coreid"]: row["occurrenceRemarks"] for row in read.rows} == {str(n): r for n, r in enumerate(remarks)}
    assert {row["coreid"]: row["mediaCreator"] for row in read.rows} == {str(n): r for n, r in enumerate(remarks)}
    assert not read.rejected


def test_line_ends_marks_gaps_defaults_and_odd_lines_of_a_plain_file(tmp_path: Path) -> None:
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
        "meta.xml": b"\xef\xbb\xbf" + described(occurrence, media).encode(),
        "o1.txt": "n|x|id|c|l\r\nAus|second|1|first|Larva\r\nBus||2||\r\n\r\nCus|short\r\n".encode("utf-8-sig"),
        "o2.txt": "n|x|id|c|l\nDus||4 |||too|long\nEus|| 5|first\n\nFus|\t|6||Egg",
        "m.txt": f"{PHOTO}1|1\r\n{PHOTO}2|2\r\n\r\n{PHOTO}6|6 \r\n{PHOTO}x|1|1\r\n{PHOTO}3|3".encode("utf-8-sig"),
    }
    read = Read(write(tmp_path / "a.zip", members), tmp_path, "creator", "country")
    told = {row["coreid"]: (row["scientificName"], row["lifeStage"], row["creator"]) for row in read.rows}
    assert told == {"1": ("Aus", "Larva", "first"), "2": ("Bus", "Adult", None), "6": ("Fus", "Egg", None)}
    assert {row["country"] for row in read.rows} == {"Namibia"}
    assert {row["mediaType"] for row in read.rows} == {"StillImage"}
    assert {(row["file"], row["line"]): (row["reason"], row["raw"]) for row in read.rejected} == {
        ("o1.txt", 4): ("blank-line", ""), ("o1.txt", 5): ("ragged-line", "Cus|short"),
        ("o2.txt", 2): ("ragged-line", "Dus||4 |||too|long"), ("o2.txt", 3): ("ragged-line", "Eus|| 5|first"),
        ("o2.txt", 4): ("blank-line", ""), ("m.txt", 3): ("blank-line", ""),
        ("m.txt", 5): ("ragged-line", f"{PHOTO}x|1|1"), ("m.txt", 6): ("orphaned", f"{PHOTO}3|3"),
    }  # fmt: skip
    with pytest.raises(DatasetError, match=r"o1\.txt has no column sex"):
        Read(tmp_path / "a.zip", tmp_path, "sex")


@pytest.mark.parametrize("told", ["\\r", "\\n"])
@pytest.mark.parametrize(("enclosed", "quote"), [("", ""), ("&quot;", '"')])
def test_an_old_macs_file_is_read_whatever_its_descriptor_says(
    tmp_path: Path, told: str, enclosed: str, quote: str
) -> None:
    descriptor = meta(OCCURRENCE, MEDIA).replace('linesTerminatedBy="\\n"', f'linesTerminatedBy="{told}"')
    descriptor = descriptor.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    media = [(n, f"{PHOTO}{n}") for n in "1239"]
    texts = {
        "occurrence.txt": lines(OCCURRENCE, [{"gbifID": n, "lifeStage": f"{quote}é{quote}"} for n in "123"]),
        "multimedia.txt": lines(MEDIA, [{"gbifID": n, "identifier": f"{quote}{url}{quote}"} for n, url in media]),
    }
    texts["multimedia.txt"] += "\n1\tshort\n"
    members = {name: text.replace("\n", "\r") for name, text in texts.items()}
    read = Read(write(tmp_path / "a.zip", {"meta.xml": descriptor, **members}), tmp_path)
    assert {(row["coreid"], row["identifier"], row["lifeStage"]) for row in read.rows} == {
        (n, url, "é") for n, url in media[:3]
    }
    orphan = texts["multimedia.txt"].split("\n")[4]
    assert [(row["line"], row["reason"], row["raw"]) for row in read.rejected] == [
        (5, "orphaned", orphan), (6, "blank-line", ""), (7, "ragged-line", "1\tshort"),
    ]  # fmt: skip


def test_a_descriptor_may_be_latin1_or_say_utf16_and_be_utf8(tmp_path: Path) -> None:
    extra = f'<field term="{DWC}country" default="Curaçao"/>'
    text = meta(OCCURRENCE, MEDIA, extra)
    gbif(tmp_path / "a.zip", [{"gbifID": "1"}], [{"gbifID": "1", "identifier": PHOTO + "1"}])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        data = {name: archive.read(name) for name in archive.namelist()}
    declared = '<?xml version="1.0" encoding="%s"?>\n'
    for descriptor in (
        (declared % "ISO-8859-1" + text).encode("latin-1"), (declared % "utf-16" + text).encode(),
        (declared % "UTF-16" + text).encode("utf-16"), (declared % "UTF-16BE" + text).encode("utf-16"), text.encode(),
    ):  # fmt: skip
        [row] = Read(write(tmp_path / "b.zip", {**data, "meta.xml": descriptor}), tmp_path, "country").rows
        assert row["country"] == "Curaçao"


KEY = "7ddf754f-d193-4cc9-b351-99906754a03b"
OTHER = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"


def with_checklists(path: Path, document: str = "", keys: Sequence[str] = (), default: str = "") -> Path:
    """An archive of two occurrences, told of their checklist by a metadata document, a column, or a default."""
    columns = (*OCCURRENCE[:-1], "checklistKey") if keys else OCCURRENCE
    extra = f'<field term="{GBIF}checklistKey" default="{default}"/>' if default and not keys else ""
    descriptor = meta(columns, MEDIA, extra).replace("<archive ", '<archive metadata="metadata.xml" ')
    if default and keys:
        descriptor = descriptor.replace('checklistKey"/>', f'checklistKey" default="{default}"/>')
    occurrences = [{"gbifID": n, "checklistKey": key} for n, key in zip("12", keys or ("", ""), strict=True)]
    members = {
        "meta.xml": descriptor,
        "metadata.xml": f"<eml><para>A dataset of all occurrences matching the query:\n{document}</para></eml>",
        "occurrence.txt": lines(columns, occurrences),
        "multimedia.txt": lines(MEDIA, [{"gbifID": "1", "identifier": f"{PHOTO}1"}]),
    }
    return write(path, members)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, None),
        ({"document": f'{{"checklistKey" : "{KEY}"}}'}, KEY),
        ({"document": f"{{\n  &quot;checklistKey&quot; : &quot;{KEY}&quot;\n}}"}, KEY),
        ({"document": f"{{&quot;ChecklistKey&quot; : [ &quot;is {KEY}&quot; ]}}"}, KEY),
        ({"document": f"<checklistKey>{KEY}</checklistKey>"}, KEY),
        ({"document": '{"ChecklistKey" : ["is Catalogue of Life"]}'}, None),
        ({"keys": (KEY, KEY)}, KEY),
        ({"keys": (KEY, "")}, KEY),
        ({"keys": (KEY, OTHER)}, None),
        ({"keys": ("", ""), "default": KEY}, KEY),
        ({"keys": ("", OTHER), "default": KEY}, None),
        ({"keys": ("x" * 1000,) * 2}, None),
        ({"default": KEY}, KEY),
        ({"default": KEY, "document": f'"checklistKey": "{OTHER}"'}, KEY),
    ],
)
def test_the_checklist_of_the_keys_is_recorded_with_the_manifest_where_the_archive_says_it(
    tmp_path: Path, told: dict[str, Any], expected: str | None
) -> None:
    read = Read(with_checklists(tmp_path / "a.zip", **told), tmp_path)
    assert read.counts.checklist == expected
    for chunk in range(3):
        recorded = pq.read_schema(tmp_path / "manifest" / f"chunk-{chunk:05d}.parquet").metadata
        assert (recorded or {}).get(b"checklistKey") == (expected.encode() if expected else None)


def test_the_bytes_of_an_archive_are_those_of_the_files_that_are_read(tmp_path: Path) -> None:
    gbif(tmp_path / "a.zip", [{"gbifID": "1"}], [{"gbifID": "1", "identifier": PHOTO + "1"}])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, dwca.opened(tmp_path / "a.zip") as archive_read:
        sizes = [len(archive.read(name)) for name in ("occurrence.txt", "multimedia.txt")]
        assert archive_read.size_in_all == sum(sizes)
