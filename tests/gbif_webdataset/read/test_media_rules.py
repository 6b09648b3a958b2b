import re
from collections import Counter
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.read.selection_options import SelectionOptions
from tests.support.archives import (
    AC,
    DWC,
    OCCURRENCE,
    PHOTO,
    find_case,
    find_real_archive,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_meta_xml,
    make_occurrence,
    make_part,
    read_zip,
    write_download,
    write_zip,
)
from tests.support.manifests import make_manifest

PARTIAL = "partial-2023-dl.pafy54-multimedia.txt"
PARTIAL_COLUMNS = (
    "gbifID", "type", "format", "identifier", "references", "title", "description", "source", "audience", "created",
    "creator", "contributor", "publisher", "license", "rightsHolder",
)  # fmt: skip
LICENCES = ("CC0_1_0", "http://creativecommons.org/licenses/by/4.0/", "© all rights reserved", "")


def test_each_photo_gives_a_row_and_each_other_medium_a_reason(tmp_path: Path) -> None:
    media = [
        make_medium(1), make_medium(1, f"{PHOTO}1b.jpg"), make_medium(1, f"{PHOTO}1b.jpg"), make_medium(2, ""),
        make_medium(2, "ftp://photos.example/2.jpg"), make_medium(2, "images/2.jpg"),
        make_medium(2, type="Sound", format="audio/mpeg"), make_medium(2, format="text/html"), make_medium(9),
        make_medium(2, type="", format=""), make_medium(2, "HTTP://photos.example/x", format="jpeg"),
    ]  # fmt: skip
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1), make_occurrence(2)], media)
    manifest = make_manifest(archive, tmp_path)
    assert {row["line"]: row["reason"] for row in manifest.rejected} == {
        4: "duplicate-medium", 5: "no-url", 6: "not-http", 7: "not-http", 8: "not-still-image", 9: "not-still-image",
        10: "orphaned",
    }  # fmt: skip
    assert len(manifest.rows) == 4


def test_media_of_many_publishers_are_decided_as_a_simple_count_does(tmp_path: Path) -> None:
    text = find_real_archive(PARTIAL).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.split("\n")[1:] if line]
    assert text.split("\n", 1)[0].split("\t") == list(PARTIAL_COLUMNS)
    occurrences = [{"gbifID": key, "datasetKey": "d1"} for key in sorted({fields[0] for fields in rows})]
    members = make_download(
        occurrences, [], meta_xml=make_gbif_meta_xml(OCCURRENCE, PARTIAL_COLUMNS), multimedia_txt=text
    )
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
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert manifest.reasons == expected
    assert Counter(row["coreid"] for row in manifest.rows) == images
    assert expected["not-still-image"] > 0
    assert max(Counter(fields[0] for fields in rows).values()) == 23
    assert {row["raw"] for row in manifest.rejected} <= set(text.split("\n"))


def test_licences_that_are_unknown_or_reserved_are_rejected_once_licences_are_named(tmp_path: Path) -> None:
    media = [make_medium(number, license=licence) for number, licence in enumerate(LICENCES)]
    archive = write_download(tmp_path / "a.zip", [make_occurrence(number) for number in range(4)], media)
    manifest = make_manifest(archive, tmp_path)
    assert manifest.values("licenseCode") == {"0": "cc0", "1": "cc-by", "2": "all-rights-reserved", "3": "unknown"}
    options = SelectionOptions("acceptedTaxonKey", licenses=("cc0", "cc-by", "cc-by-nc"))
    manifest = make_manifest(archive, tmp_path, options)
    assert manifest.values("licenseCode") == {"0": "cc0", "1": "cc-by"}
    assert manifest.reasons == {"unusable-licence": 2}


def test_a_condition_may_name_any_column_of_the_occurrences_in_any_case(tmp_path: Path) -> None:
    occurrences = [make_occurrence(n, countryCode="NA", occurrenceRemarks=str(n)) for n in range(4)]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(n) for n in range(4)])
    for where in ("occurrenceRemarks = '2'", "COUNTRYCODE = 'NA' AND occurrenceremarks = '2'"):
        manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", where=where))
        assert [row["coreid"] for row in manifest.rows] == ["2"]
        assert manifest.reasons == {"not-where": 3}


def test_a_condition_may_name_the_records_id_as_coreid(tmp_path: Path) -> None:
    occurrences = [{"gbifID": key} for key in ("1", " 2 ", "3")]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(n) for n in (1, 2, 3)])
    where = "coreid IN ('2', '3') AND CoreID <> '3'"
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", where=where))
    assert [row["coreid"] for row in manifest.rows] == ["2"]
    assert manifest.reasons == {"not-where": 2}


@pytest.mark.parametrize("name", ["line", "part", "file", "hash", "coreid", "record", "category"])
def test_a_column_of_the_archive_may_have_the_name_of_a_column_of_this_tool(tmp_path: Path, name: str) -> None:
    columns = (*OCCURRENCE, name)
    files = {
        "meta_xml": make_gbif_meta_xml(columns),
        "occurrence_txt": make_lines(columns, [{"gbifID": n, name: f"v{n}"} for n in "12"]),
    }
    members = make_download([], [make_medium(1), make_medium(2)], **files)
    options = SelectionOptions("acceptedTaxonKey", where=f"{name} = 'v2'")
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path, options)
    assert [row["coreid"] for row in manifest.rows] == ["2"]


@pytest.mark.parametrize("row_type", [f"{AC}Multimedia", f"{AC}multimedia", "http://rs.tdwg.org/ac/terms/MULTIMEDIA"])
def test_audubon_core_gives_the_url_of_the_best_quality(tmp_path: Path, row_type: str) -> None:
    columns = ("coreid", "accessURI", "bestQualityAccessURI", "UsageTerms", "format")
    fields = "".join(f'<field index="{n}" term="{AC}{name}"/>' for n, name in enumerate(columns) if n)
    media = re.sub("<field.*/>", fields, make_part("extension", row_type, "m.txt", columns))
    members = {
        "meta.xml": make_meta_xml(make_part("core", f"{DWC}Occurrence", "occurrence.txt", OCCURRENCE), media),
        "occurrence.txt": make_lines(OCCURRENCE, [{"gbifID": "1"}]),
        "m.txt": f"c\ta\tb\tu\tf\n1\t{PHOTO}small\t{PHOTO}best\tCC BY 4.0\timage/jpeg\n1\t{PHOTO}only\t\t\t\n1\t\t\tCC0\t\n",
    }
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert {(row["identifier"], row["licenseCode"]) for row in manifest.rows} == {
        (f"{PHOTO}best", "cc-by"), (f"{PHOTO}only", "unknown"),
    }  # fmt: skip
    assert manifest.reasons == {"no-url": 1}


def test_documents_of_eol_that_are_images_give_their_access_uri(tmp_path: Path) -> None:
    members = read_zip(find_real_archive("checklist_980.zip"))
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
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert set(manifest.urls) == {f"{PHOTO}1.jpg", f"{PHOTO}2.jpg", f"{PHOTO}5.jpg"}
    assert [(row["line"], row["reason"]) for row in manifest.rejected] == [(4, "not-still-image"), (5, "not-http")]
    stated = ("genus", "mediaRightsHolder", "mediaReferences", "mediaLicense", "licenseCode")
    assert {tuple(row[name] for name in stated) for row in manifest.rows} == {
        ("Agelena", "M. Kuntner", f"{PHOTO}page", "CC BY 3.0", "cc-by")
    }


def test_the_strictest_licence_of_all_terms_counts_in_a_public_archive(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/symbiota-audubon-core.zip"), tmp_path)
    assert manifest.values("licenseCode") == {
        "1": "cc0", "2": "cc-by-nc", "3": "cc-by-nc", "4": "cc-by", "5": "all-rights-reserved",
    }  # fmt: skip
    assert manifest.values("mediaLicense")["4"] == "http://creativecommons.org/licenses/by/4.0/"
    assert manifest.values("identifier")["2"].endswith("/sy/2.jpg")


def test_a_medium_with_two_licences_has_the_stricter_one(tmp_path: Path) -> None:
    columns = ("gbifID", "identifier", "license", "rights")
    media = [
        {"gbifID": "1", "identifier": f"{PHOTO}1", "license": "CC0", "rights": "CC BY-NC"},
        {"gbifID": "2", "identifier": f"{PHOTO}2", "license": "CC BY-NC-ND 4.0", "rights": "CC BY"},
        {"gbifID": "3", "identifier": f"{PHOTO}3", "license": "CC BY", "rights": "All rights reserved"},
        {"gbifID": "4", "identifier": f"{PHOTO}4", "rights": "CC BY"},
        {"gbifID": "5", "identifier": f"{PHOTO}5"},
    ]
    files = {"meta_xml": make_gbif_meta_xml(media=columns), "multimedia_txt": make_lines(columns, media)}
    archive = write_zip(tmp_path / "a.zip", make_download([make_occurrence(n) for n in range(1, 6)], [], **files))
    manifest = make_manifest(archive, tmp_path)
    assert manifest.values("licenseCode") == {
        "1": "cc-by-nc",
        "2": "cc-by-nc-nd",
        "3": "all-rights-reserved",
        "4": "cc-by",
        "5": "unknown",
    }
    assert manifest.values("mediaLicense") == {
        "1": "CC BY-NC",
        "2": "CC BY-NC-ND 4.0",
        "3": "All rights reserved",
        "4": "CC BY",
        "5": None,
    }
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", licenses=("cc-by",)))
    assert set(manifest.values("coreid")) == {"4"}


def test_a_term_of_dublin_core_in_both_namespaces_is_read_twice(tmp_path: Path) -> None:
    columns = ("gbifID", "identifier", "rights")
    elements = "http://purl.org/dc/elements/1.1/"
    descriptor = make_meta_xml(
        make_part("core", f"{DWC}Occurrence", "occurrence.txt", OCCURRENCE),
        make_part(
            "extension",
            "http://rs.gbif.org/terms/1.0/Multimedia",
            "multimedia.txt",
            columns,
            f'<field index="3" term="{elements}rights"/><field index="4" term="{elements}identifier"/>',
        ),
    )
    lines = f"id\ti\tr\tr\ti\n1\turn:x\tCC BY\tCC BY-NC\t{PHOTO}1\n2\t{PHOTO}2\t\tCC0\t\n"
    occurrences = [make_occurrence(1), make_occurrence(2)]
    members = make_download(occurrences, [], meta_xml=descriptor, multimedia_txt=lines)
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert manifest.values("licenseCode") == {"1": "cc-by-nc", "2": "cc0"}
    assert manifest.values("mediaLicense") == {"1": "CC BY-NC", "2": "CC0"}
    assert manifest.values("identifier") == {"1": f"{PHOTO}1", "2": f"{PHOTO}2"}


def test_no_medium_of_a_public_archive_is_freer_than_its_text(tmp_path: Path) -> None:
    options = SelectionOptions("acceptedTaxonKey", licenses=("cc0", "cc-by", "public-domain"))
    manifest = make_manifest(find_case("archives/licences-too-permissive.zip"), tmp_path, options)
    assert {row["mediaLicense"] for row in manifest.rows} == {"http://creativecommons.org/licenses/by/4.0/"}


def test_media_are_selected_by_a_condition_on_their_columns(tmp_path: Path) -> None:
    archive = find_case("archives/sonogram-as-still-image.zip")
    where = "coalesce(description, '') NOT ILIKE '%sonogram%'"
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", media_where=where))
    assert list(manifest.urls) == ["http://127.0.0.1:18765/photo.jpg"]
    assert manifest.reasons == {"not-still-image": 1, "not-media-where": 1}
    with pytest.raises(ParameterError, match=r"^--ReadArchive-media-where .* the media have no column titel"):
        make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", media_where="titel = 'x'"))
