import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from gbif_webdataset.read.partition_archives import Resources
from tests.support.archives import (
    DWC,
    GBIF,
    MEDIA,
    PHOTO,
    Row,
    find_case,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_meta_xml,
    make_part,
    write_zip,
)
from tests.support.manifests import EVERYTHING, make_manifest

OCCURRENCE = ("gbifID", "occurrenceID", "datasetKey")


def write_occurrences(path: Path, occurrences: Sequence[Row], media: Sequence[Row]) -> Path:
    files = {"meta_xml": make_gbif_meta_xml(OCCURRENCE), "occurrence_txt": make_lines(OCCURRENCE, occurrences)}
    return write_zip(path, make_download([], media, **files))


def make_media(ids: Sequence[str]) -> list[Row]:
    return [{"gbifID": key, "identifier": f"{PHOTO}{number}"} for number, key in enumerate(ids)]


def write_event_download(path: Path, shared: Sequence[str], events: Sequence[Row], occurrences: Sequence[Row]) -> Path:
    """A download of GBIF whose core has events; occurrences share these columns with them. An event has one photo."""
    columns = ("gbifID", *shared)
    descriptor = make_meta_xml(
        make_part("core", f"{DWC}Event", "event.txt", columns, f'<field index="0" term="{GBIF}gbifID"/>'),
        make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA),
        make_part(
            "extension", f"{DWC}Occurrence", "occurrence.txt", columns, f'<field index="0" term="{GBIF}gbifID"/>'
        ),
    )
    return write_zip(
        path,
        {
            "meta.xml": descriptor,
            "event.txt": make_lines(columns, events),
            "occurrence.txt": make_lines(columns, occurrences),
            "multimedia.txt": make_lines(MEDIA, make_media([event["gbifID"] for event in events])),
        },
    )


def test_a_medium_without_occurrence_belongs_to_the_single_occurrence_of_its_event(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/event-media-some-occurrenceid.zip"), tmp_path)
    assert {row["identifier"][-8:]: row["coreid"] for row in manifest.rows} == {
        "/ev0.jpg": "O0", "/ev1.jpg": "O1", "ev2a.jpg": "O2a",
    }  # fmt: skip
    [rejected] = manifest.rejected
    assert (rejected["reason"], rejected["coreid"], rejected["line"]) == ("several-occurrences", "E2", 5)


def test_media_whose_occurrences_are_all_empty_are_matched_by_event(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/event-media-empty-occurrenceid.zip"), tmp_path)
    assert {row["identifier"][-8:]: row["coreid"] for row in manifest.rows} == {"/ev0.jpg": "O0", "/ev1.jpg": "O1"}


def test_media_of_an_event_download_are_matched_through_its_events(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/gbif-event-download.zip"), tmp_path)
    assert {row["identifier"][-9:]: row["coreid"] for row in manifest.rows} == {
        f"/gev{number}.jpg": f"400000000{number}" for number in range(3)
    }


def test_events_of_two_datasets_may_have_the_same_id(tmp_path: Path) -> None:
    events = [
        {"gbifID": "700", "eventID": "E", "datasetKey": "d1"}, {"gbifID": "701", "eventID": "E", "datasetKey": "d2"},
        {"gbifID": "702", "eventID": "F", "datasetKey": "d1"}, {"gbifID": "703", "eventID": "G", "datasetKey": "d1"},
    ]  # fmt: skip
    occurrences = [
        {"gbifID": "1", "eventID": "E", "datasetKey": "d1"}, {"gbifID": "2", "eventID": "E", "datasetKey": "d2"},
        {"gbifID": "3", "eventID": "F", "datasetKey": "d1"}, {"gbifID": "4", "eventID": "F", "datasetKey": "d1"},
    ]  # fmt: skip
    path = write_event_download(tmp_path / "a.zip", ("eventID", "datasetKey"), events, occurrences)
    manifest = make_manifest(path, tmp_path)
    assert manifest.values("identifier") == {"1": f"{PHOTO}0", "2": f"{PHOTO}1"}
    assert {row["coreid"]: row["reason"] for row in manifest.rejected} == {
        "702": "several-occurrences",
        "703": "orphaned",
    }


def test_events_are_matched_by_event_id_alone_if_the_occurrences_have_no_dataset(tmp_path: Path) -> None:
    events, occurrences = [{"gbifID": "700", "eventID": "E"}], [{"gbifID": "1", "eventID": "E"}]
    manifest = make_manifest(write_event_download(tmp_path / "a.zip", ("eventID",), events, occurrences), tmp_path)
    assert manifest.values("identifier") == {"1": f"{PHOTO}0"}


def test_a_coreid_that_is_an_occurrence_id_finds_its_occurrence(tmp_path: Path) -> None:
    occurrences = [{"gbifID": str(n), "occurrenceID": f"urn:o:{n}"} for n in range(5)]
    occurrences += [{"gbifID": "8", "occurrenceID": "twice"}, {"gbifID": "9", "occurrenceID": "twice"}]
    occurrences += [{"gbifID": "10", "occurrenceID": "1"}]  # the id of another record
    media = make_media(["urn:o:0", "1", " urn:o:2", "urn:o:9", "twice"])
    manifest = make_manifest(write_occurrences(tmp_path / "a.zip", occurrences, media), tmp_path)
    assert manifest.values("identifier") == {"0": f"{PHOTO}0", "1": f"{PHOTO}1", "2": f"{PHOTO}2"}
    assert {row["coreid"]: row["reason"] for row in manifest.rejected} == {"urn:o:9": "orphaned", "twice": "orphaned"}


@pytest.mark.parametrize("memory", [32 << 20, 256 << 20])
def test_links_do_not_depend_on_the_order_of_the_rows_or_on_memory(tmp_path: Path, memory: int) -> None:
    occurrences = [{"gbifID": str(n), "occurrenceID": f"urn:o:{n}", "datasetKey": "d" * 50} for n in range(30_000)]
    media = make_media([f"urn:o:{n}" if n % 2 else str(n) for n in range(30_000)])
    media = [{**medium, "creator": f"{number:0200}"} for number, medium in enumerate(media)]  # spilled if memory is low
    random.Random(1).shuffle(occurrences)
    path = write_occurrences(tmp_path / "a.zip", [*occurrences, {"occurrenceID": "no id"}], media)
    manifest = make_manifest(path, tmp_path, EVERYTHING, 3, Resources(memory, tmp_path / "scratch"))
    assert manifest.reasons == {"no-id": 1}
    assert {row["coreid"]: row["identifier"] for row in manifest.rows} == {str(n): f"{PHOTO}{n}" for n in range(30_000)}


def test_associated_media_are_read_if_there_is_no_media_extension_and_reported(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/associatedmedia-only.zip"), tmp_path)
    assert {row["identifier"][-9:] for row in manifest.rows} == {
        f"/am{n}{letter}.jpg" for n in range(3) for letter in "ab"
    }
    assert {row["licenseCode"] for row in manifest.rows} == {"unknown"}
    assert manifest.counts.media_files == ("occurrence.txt (associatedMedia)",)
    assert "associatedMedia" in manifest.counts.notes[0]


def test_occurrences_without_associated_media_are_not_media(tmp_path: Path) -> None:
    columns = ("gbifID", "associatedMedia")
    rows = [
        {"gbifID": "1", "associatedMedia": f"{PHOTO}1"}, {"gbifID": "2"}, {"gbifID": "3", "associatedMedia": "yes"},
        {"associatedMedia": f"{PHOTO}4"}, {"gbifID": "1", "associatedMedia": f"{PHOTO}5|{PHOTO}1"},
    ]  # fmt: skip
    members = {
        "meta.xml": make_meta_xml(make_part("core", f"{DWC}Occurrence", "occurrence.txt", columns)),
        "occurrence.txt": make_lines(columns, rows) + "ragged\n",
    }
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert manifest.counts.media_lines == 5
    assert [(row["coreid"], row["identifier"]) for row in manifest.rows] == [("1", f"{PHOTO}1"), ("1", f"{PHOTO}5")]
    assert {(row["file"], row["line"], row["reason"]) for row in manifest.rejected} == {
        ("occurrence.txt (associatedMedia)", 4, "not-http"), ("occurrence.txt (associatedMedia)", 5, "orphaned"),
        ("occurrence.txt (associatedMedia)", 6, "duplicate-medium"), ("occurrence.txt", 5, "no-id"),
        ("occurrence.txt", 6, "duplicate-id"), ("occurrence.txt", 7, "ragged-line"),
    }  # fmt: skip
