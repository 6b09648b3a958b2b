from collections.abc import Mapping
from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read.archive_checklist import find_checklist
from gbif_webdataset.read.dwca import open_archive
from tests.support.archives import (
    AC,
    DWC,
    GBIF,
    OCCURRENCE,
    PHOTO,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_meta_xml,
    make_occurrence,
    make_part,
    read_zip,
    write_download,
    write_folder,
    write_zip,
)
from tests.support.manifests import make_manifest

EVENT, OF_EVENT = ("eventID", "country"), ("eventID", "occurrenceID", "scientificName")
EVENT_FILES = {
    "event.txt": make_lines(EVENT, [{"eventID": "e1"}, {"eventID": "e2"}]),
    "occurrence.txt": "eventID\toccurrenceID\tscientificName\ne1\to1\tAus\ne1\to2\tBus\ne2\to3\tCus\n",
}
EVENT_CORE = make_part("core", f"{DWC}Event", "event.txt", EVENT)
OCCURRENCES = make_part("extension", f"{DWC}Occurrence", "occurrence.txt", OF_EVENT)
MULTIMEDIA = f"{GBIF}Multimedia"
TWO_TYPES = {"m.txt": (MULTIMEDIA, f"1\t{PHOTO}m\n"), "a.txt": (f"{AC}Multimedia", f"2\t{PHOTO}a\n")}
IMAGES = {"i.txt": (f"{GBIF}Image", f"3\t{PHOTO}i\n")}


def write_event_archive(path: Path, columns: tuple[str, ...], media: str, *parts: str) -> Path:
    """An archive of two events with three occurrences, and media with these columns."""
    extension = make_part("extension", MULTIMEDIA, "m.txt", columns)
    descriptor = make_meta_xml(EVENT_CORE, *parts, extension)
    return write_zip(path, {**EVENT_FILES, "meta.xml": descriptor, "m.txt": media})


def test_media_of_events_are_matched_by_occurrence_if_they_name_it(tmp_path: Path) -> None:
    media = f"eventID\toccurrenceID\tidentifier\ne1\to2\t{PHOTO}2\ne1\to1\t{PHOTO}1\ne2\to9\t{PHOTO}9\n"
    path = write_event_archive(tmp_path / "a.zip", ("eventID", "occurrenceID", "identifier"), media, OCCURRENCES)
    manifest = make_manifest(path, tmp_path)
    assert manifest.values("scientificName") == {"o1": "Aus", "o2": "Bus"}
    assert manifest.reasons == {"orphaned": 1}


def test_media_of_events_are_otherwise_matched_by_events_that_have_one_occurrence(tmp_path: Path) -> None:
    media = f"eventID\tidentifier\ne1\t{PHOTO}1\ne2\t{PHOTO}2\ne3\t{PHOTO}3\n"
    path = write_event_archive(tmp_path / "a.zip", ("eventID", "identifier"), media, OCCURRENCES)
    manifest = make_manifest(path, tmp_path)
    assert manifest.values("scientificName") == {"e2": "Cus"}
    assert manifest.reasons == {"orphaned": 1, "several-occurrences": 1}


def test_events_without_occurrences_are_an_error(tmp_path: Path) -> None:
    path = write_event_archive(tmp_path / "a.zip", ("eventID", "identifier"), "")
    with (
        pytest.raises(ArchiveError, match=r"its core has events, but meta\.xml names no occurrences of them"),
        open_archive(path),
    ):
        pass


@pytest.mark.parametrize("row_type", ["Image", "Multimedia"])
def test_media_of_taxa_have_the_columns_of_the_taxon(tmp_path: Path, row_type: str) -> None:
    members = {
        "meta.xml": make_meta_xml(
            make_part("core", f"{DWC}Taxon", "t.txt", ("taxonID", "scientificName", "family")),
            make_part("extension", f"{GBIF}{row_type}", "m.txt", ("taxonID", "identifier")),
        ),
        "t.txt": "id\tn\tf\nt1\tAus bus\tAidae\n",
        "m.txt": f"id\tu\nt1\t{PHOTO}1\n",
    }
    [row] = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path).rows
    assert (row["coreid"], row["scientificName"], row["family"]) == ("t1", "Aus bus", "Aidae")


def write_several_types(path: Path, files: Mapping[str, tuple[str, str]]) -> Path:
    """Three occurrences, and media extensions by file name: a row type, and the lines after the header."""
    extensions = [
        make_part("extension", row_type, name, ("gbifID", "identifier")) for name, (row_type, _) in files.items()
    ]
    members = {
        "meta.xml": make_meta_xml(make_part("core", f"{DWC}Occurrence", "occurrence.txt", OCCURRENCE), *extensions),
        "occurrence.txt": make_lines(OCCURRENCE, [make_occurrence(n) for n in (1, 2, 3)]),
        **{name: "gbifID\tidentifier\n" + lines for name, (_, lines) in files.items()},
    }
    return write_zip(path, members)


@pytest.mark.parametrize("blank", ["", "\n", "\r\n \r\n", "\t\n"])
def test_of_several_media_types_the_first_with_rows_is_read_and_the_others_recorded(tmp_path: Path, blank: str) -> None:
    image, audubon = f"{GBIF}image".lower(), f"{AC}multimedia".lower()
    for files, taken, skipped in (
        ({**IMAGES, **TWO_TYPES}, "m", {"a.txt": audubon, "i.txt": image}),
        ({**IMAGES, **TWO_TYPES, "m.txt": (MULTIMEDIA, blank)}, "a", {"i.txt": image}),
        ({"m.txt": (MULTIMEDIA, blank), "m2.txt": (MULTIMEDIA, f"1\t{PHOTO}2\n")}, "2", {}),
    ):
        manifest = make_manifest(write_several_types(tmp_path / "a.zip", files), tmp_path)
        assert set(manifest.urls) == {PHOTO + taken}
        assert manifest.counts.passed_over == skipped


def test_an_archive_whose_media_types_all_have_no_rows_is_an_error(tmp_path: Path) -> None:
    files = {"m.txt": (MULTIMEDIA, ""), "i.txt": (f"{GBIF}Image", "")}
    with pytest.raises(DatasetError, match=r"a\.zip: its media file has no rows; "):
        make_manifest(write_several_types(tmp_path / "a.zip", files), tmp_path)


def test_a_missing_media_file_is_an_error_only_if_it_comes_first(tmp_path: Path) -> None:
    members = read_zip(write_several_types(tmp_path / "a.zip", TWO_TYPES))
    without_first, without_second = (
        {name: text for name, text in members.items() if name != gone} for gone in ("m.txt", "a.txt")
    )
    with pytest.raises(ArchiveError, match=r"meta\.xml names m\.txt, which is not in the archive"):
        make_manifest(write_zip(tmp_path / "b.zip", without_first), tmp_path)
    assert make_manifest(write_zip(tmp_path / "b.zip", without_second), tmp_path).counts.passed_over == {}


@pytest.mark.parametrize(("quote", "encoding"), [("", "UTF-16"), ("&quot;", "UTF-8"), ("", "UTF-8")])
@pytest.mark.parametrize(
    ("header", "header_lines"),
    [("gbifID\tidentifier", 1), ("x" * 100_000 + "\r\na\tb\r\n", 2), ("\ufeff", 0), ("", 9**18)],
)
def test_a_file_that_has_only_a_header_has_no_rows(
    tmp_path: Path, header: str, header_lines: int, quote: str, encoding: str
) -> None:
    members = read_zip(write_several_types(tmp_path / "a.zip", TWO_TYPES))
    before, after = members["meta.xml"].decode().split("<extension ", 1)
    after = after.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{quote}"', 1)
    after = after.replace('"UTF-8"', f'"{encoding}"', 1).replace('HeaderLines="1"', f'HeaderLines="{header_lines}"', 1)
    members |= {"meta.xml": f"{before}<extension {after}".encode(), "m.txt": header.encode(encoding)}
    assert set(make_manifest(write_zip(tmp_path / "b.zip", members), tmp_path).urls) == {f"{PHOTO}a"}


def test_the_total_bytes_are_those_of_the_files_that_are_read(tmp_path: Path) -> None:
    path = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1)])
    members = read_zip(path)
    with open_archive(path) as archive:
        assert archive.total_bytes == sum(len(members[name]) for name in ("occurrence.txt", "multimedia.txt"))


def test_a_simple_csv_and_a_folder_without_meta_xml_are_errors_that_name_the_right_format(tmp_path: Path) -> None:
    simple, other = write_zip(tmp_path / "a.zip", {"0001.csv": "x"}), write_folder(tmp_path / "b", {"x.dat": "x"})
    for path, problem in ((simple, "this is a GBIF simple CSV"), (other, r"meta\.xml is missing")):
        with pytest.raises(ArchiveError, match=rf"{path}: {problem}.*'Darwin Core Archive'"), open_archive(path):
            pass


def test_a_metadata_document_outside_the_archive_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("checklistKey: d7dddbf4-2cf0-4f39-9b2a-bb099caae36c")
    descriptor = make_gbif_meta_xml().replace("<archive ", '<archive metadata="../secret.xml" ')
    members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=descriptor)
    with open_archive(write_folder(tmp_path / "folder", members)) as archive:
        assert find_checklist(archive).key == ""
        assert archive.read_document("../secret.xml", 100) is None


@pytest.mark.parametrize("quote", ["", "&quot;"])
def test_a_file_without_the_byte_order_mark_of_its_encoding_is_an_error(tmp_path: Path, quote: str) -> None:
    descriptor = make_gbif_meta_xml().replace('encoding="UTF-8"', 'encoding="UTF-16"')
    descriptor = descriptor.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{quote}"')
    images = make_part("extension", f"{GBIF}Image", "multimedia.txt", ("gbifID", "identifier"))
    for text in (descriptor, descriptor.replace("</archive>", images + "</archive>")):
        members = make_download([make_occurrence(1)], [make_medium(1)], meta_xml=text)
        with pytest.raises(
            ArchiveError, match=r"^multimedia\.txt: is not in UTF-16, the encoding that meta\.xml names"
        ):
            make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
