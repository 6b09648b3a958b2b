import csv
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError, SelectionError
from gbif_webdataset.read.provenance import load_sources
from gbif_webdataset.read.read_archive import outline_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.read.subset_taxonomy import REMEDY
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
from gbif_webdataset.terms.downloads import NO_STATEMENT, DownloadStatement
from gbif_webdataset.terms.reasons import MEANINGS
from tests.support.archives import (
    MEDIA,
    OCCURRENCE,
    PHOTO,
    find_real_archive,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_occurrence,
    read_zip,
    write_download,
    write_folder,
    write_tar,
    write_zip,
)
from tests.support.manifest_process import read_in_process
from tests.support.manifests import EVERYTHING, make_manifest
from tests.support.several_archives import medium, occurrence, write_archive


def test_every_medium_gives_a_row_or_a_rejected_line(tmp_path: Path) -> None:
    media = [make_medium(1), make_medium(2, ""), make_medium(9)]
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1), make_occurrence(2), make_occurrence(3)], media)
    manifest = make_manifest(archive, tmp_path)
    assert [row["coreid"] for row in manifest.rows] == ["1"]
    counts = manifest.counts
    assert (counts.media_files, counts.media_lines, counts.record_lines) == (("multimedia.txt",), 3, 3)
    assert counts.rejected == {"media": {"no-url": 1, "orphaned": 1}, "records": {}}
    assert {path.name for path in manifest.folder.iterdir()} == {
        "chunk-00000.parquet", "chunk-00001.parquet", "chunk-00002.parquet", "rejected.parquet", "source.json",
    }  # fmt: skip


def test_an_empty_selection_is_an_error_that_names_the_options_to_change(tmp_path: Path) -> None:
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1), make_medium(1, "")])
    with pytest.raises(SelectionError) as raised:
        listed = SubsetList.of(("a", "b"))
        make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", listed, subset_list="keys.txt"))
    assert str(raised.value) == (
        f"--ReadArchive-subset-list keys.txt: none of its 2 keys is the acceptedTaxonKey of an image in {archive} "
        "(1 images); check subset_list and subset_key; keys of another taxonomy do not match (checklist of the archive: "
        f"unknown): {REMEDY}"
    )
    options = SelectionOptions(
        "acceptedTaxonKey", SubsetList.of(("5WZLF",)), where="lifeStage = 'Adult'", licenses=("cc0",)
    )
    with pytest.raises(SelectionError) as raised:
        make_manifest(archive, tmp_path, options)
    assert str(raised.value) == (
        f"{archive}: none of its 2 media is an image to fetch: 1 no-url ({MEANINGS['no-url']}), 1 not-where "
        f"({MEANINGS['not-where']}); change --ReadArchive-where"
    )


def test_the_subset_list_is_not_blamed_if_another_option_rejects_images_of_it(tmp_path: Path) -> None:
    occurrences = [make_occurrence(n, acceptedTaxonKey=f"T{n}", lifeStage="Larva") for n in (1, 2, 3)]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(n) for n in (1, 2, 3)])
    options = SelectionOptions("acceptedTaxonKey", SubsetList.of(("T1", "T2")), where="lifeStage = 'Adult'")
    with pytest.raises(
        SelectionError, match=r"2 not-where .*; change --ReadArchive-subset-list or --ReadArchive-where"
    ):
        make_manifest(archive, tmp_path, options)


def test_an_archive_without_images_is_an_error_that_says_which_download_to_get(tmp_path: Path) -> None:
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1, ""), make_medium(2)])
    with pytest.raises(
        SelectionError,
        match=r"none of its 2 media is an image to fetch: 1 no-url \(.*\), 1 orphaned \(.*\); search occurr",
    ):
        make_manifest(archive, tmp_path)
    with pytest.raises(SelectionError, match=r"c\.zip: its media file has no rows; search occurrences with images"):
        make_manifest(write_download(tmp_path / "c.zip", [make_occurrence(1)], []), tmp_path)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    numbers = range(5000)
    archive = write_download(
        tmp_path / "a.zip", [make_occurrence(n) for n in numbers], [make_medium(n) for n in numbers]
    )
    with zipfile.ZipFile(archive) as members:
        offset = members.getinfo("multimedia.txt").header_offset
    data = bytearray(archive.read_bytes())
    data[offset + 2000] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.zip: the archive is damaged .*download it again"):
        make_manifest(archive, tmp_path)


def test_the_bytes_to_read_are_those_of_the_two_data_files(tmp_path: Path) -> None:
    path = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1)])
    members = read_zip(path)
    data_bytes = sum(len(members[name]) for name in ("occurrence.txt", "multimedia.txt"))
    assert outline_archives({path: NO_STATEMENT}, EVERYTHING).total_bytes == data_bytes


def test_a_real_download_keeps_every_medium(tmp_path: Path) -> None:
    archive = find_real_archive("gbif-2020-dl.4gbcs6.zip")
    media = [line.split("\t") for line in read_zip(archive)["multimedia.txt"].decode().split("\n")[1:] if line]
    manifest = make_manifest(archive, tmp_path)
    assert len(manifest.rows) == manifest.counts.media_lines == len(media) == 1362
    assert not manifest.rejected
    assert manifest.urls == Counter(fields[3] for fields in media)
    assert {row["coreid"] for row in manifest.rows} == {fields[0].strip() for fields in media}
    assert json.dumps(manifest.counts.rejected) == '{"media": {}, "records": {}}'


@pytest.mark.parametrize("quote", ["", "&quot;"])
def test_the_same_files_give_the_same_manifest_from_every_container(tmp_path: Path, quote: str) -> None:
    descriptor = make_gbif_meta_xml().replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{quote}"')
    media = [make_medium(n % 7, f"{PHOTO}{n}") for n in range(20)]
    files = make_download([make_occurrence(n) for n in range(6)], media, meta_xml=descriptor)
    prefixed = {f"export/{name}": data for name, data in files.items()}
    mac = {f"__MACOSX/export/._{name}": b"\0\5\26\7" for name in files} | {"__MACOSX/meta.xml": b"\0"}
    with zipfile.ZipFile(tmp_path / "zip64.zip", "w") as archive:
        for name, data in files.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                file.write(data)
    archives = [
        write_zip(tmp_path / "deflated.zip", files), write_zip(tmp_path / "stored.zip", files, zipfile.ZIP_STORED),
        write_zip(tmp_path / "bzip2.zip", files, zipfile.ZIP_BZIP2), tmp_path / "zip64.zip",
        write_zip(tmp_path / "prefixed.zip", {**mac, **prefixed}),
        write_zip(tmp_path / "backslashes.zip", {name.replace("/", "\\"): data for name, data in prefixed.items()}),
        write_tar(tmp_path / "a.tar", files, "w"), write_tar(tmp_path / "a.tar.gz", files),
        write_tar(tmp_path / "dots.tar.gz", {f"./{name}": data for name, data in prefixed.items()}),
        write_folder(tmp_path / "folder", files),
    ]  # fmt: skip
    first, *others = [make_manifest(archive, tmp_path).files for archive in archives]
    assert all(other == first for other in others)
    manifest = make_manifest(archives[0], tmp_path)
    assert len(manifest.rows) == 18
    assert {row["coreid"] for row in manifest.rejected} == {"6"}


@pytest.mark.parametrize(("separator", "ends"), [(",", "\n"), (";", "\r\n"), ("|", "\n"), ("\t", "\r\n")])
@pytest.mark.parametrize(("encoding", "bom"), [("UTF-8", "\ufeff"), ("UTF-8", ""), ("ISO-8859-1", ""), ("UTF-16", "")])
def test_enclosed_fields_may_contain_quotes_separators_and_line_ends(
    tmp_path: Path, separator: str, ends: str, encoding: str, bom: str
) -> None:
    remarks = ['say "ah"', "one\ntwo", f"a{separator}b", "é", '"', "a\r\nb", "plain"]
    escaped = {"\t": "\\t"}.get(separator, separator)
    descriptor = make_gbif_meta_xml().replace('fieldsEnclosedBy=""', 'fieldsEnclosedBy="&quot;"')
    descriptor = descriptor.replace('"\\t"', f'"{escaped}"').replace('encoding="UTF-8"', f'encoding="{encoding}"')
    tables = {
        "occurrence.txt": [(str(n), "d1", "", "", "", remark) for n, remark in enumerate(remarks)],
        "multimedia.txt": [(str(n), "", "", f"{PHOTO}{n}", "", "", remark) for n, remark in enumerate(remarks)],
    }
    members: dict[str, str | bytes] = {"meta.xml": descriptor.replace('HeaderLines="1"', 'HeaderLines="0"')}
    for name, rows in tables.items():
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator=ends).writerows(rows)
        members[name] = (bom + text.getvalue()).encode(encoding)
    options = SelectionOptions("acceptedTaxonKey", extra_columns=("occurrenceRemarks",))
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path, options)
    expected = {str(n): remark for n, remark in enumerate(remarks)}
    assert manifest.values("occurrenceRemarks") == manifest.values("mediaCreator") == expected
    assert not manifest.rejected


@pytest.mark.parametrize("stated", ["\\r", "\\n"])
@pytest.mark.parametrize(("enclosed", "quote"), [("", ""), ("&quot;", '"')])
def test_carriage_returns_may_end_all_lines_whatever_meta_xml_states(
    tmp_path: Path, stated: str, enclosed: str, quote: str
) -> None:
    descriptor = make_gbif_meta_xml().replace('linesTerminatedBy="\\n"', f'linesTerminatedBy="{stated}"')
    descriptor = descriptor.replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    media = [(n, f"{PHOTO}{n}") for n in "1239"]
    occurrences = make_lines(OCCURRENCE, [{"gbifID": n, "lifeStage": f"{quote}é{quote}"} for n in "123"])
    photos = make_lines(MEDIA, [{"gbifID": n, "identifier": f"{quote}{url}{quote}"} for n, url in media])
    orphan = photos.split("\n")[4]
    members = {
        "meta.xml": descriptor,
        "occurrence.txt": occurrences.replace("\n", "\r"),
        "multimedia.txt": (photos + "\n1\tshort\n").replace("\n", "\r"),
    }
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert {(row["coreid"], row["identifier"], row["lifeStage"]) for row in manifest.rows} == {
        (n, url, "é") for n, url in media[:3]
    }
    assert [(row["line"], row["reason"], row["raw"]) for row in manifest.rejected] == [
        (5, "orphaned", orphan), (6, "blank-line", ""), (7, "ragged-line", "1\tshort"),
    ]  # fmt: skip


DIALECTS = {
    "plain": ("", make_lines(MEDIA, [make_medium(1)])),
    "irregular": ("", make_lines(MEDIA, [make_medium(1)]) + "1\tshort\n\n2\ta\0b\t\t\t\t\t\n"),
    "wrapped": ("", make_lines(MEDIA, [make_medium(1, creator='"say ""ah"""')])),
    "enclosed": ("&quot;", make_lines(MEDIA, [make_medium(1, creator='"say ""ah"""')]) + "1\tshort\n"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_reading_imports_no_pandas_because_that_takes_half_a_second(tmp_path: Path, dialect: str) -> None:
    quote, media = DIALECTS[dialect]
    descriptor = make_gbif_meta_xml().replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{quote}"')
    members = make_download([make_occurrence(1)], [], meta_xml=descriptor, multimedia_txt=media)
    report = read_in_process(write_zip(tmp_path / "a.zip", members), tmp_path, 1 << 30)
    assert sum(report.images) == 1
    assert not report.imports_pandas


def test_checklists_that_gbif_states_are_compared_before_a_row_is_read(tmp_path: Path) -> None:
    paths = [
        write_archive(tmp_path / f"{n}.zip", [occurrence(n)], [medium(n, f"{n}")], date=f"2024-01-0{n}") for n in (1, 2)
    ]
    keys = dict(zip(paths, (BACKBONE, CATALOGUE_OF_LIFE), strict=True))
    stated = {path: DownloadStatement(checklist=key) for path, key in keys.items()}
    with pytest.raises(ArchiveError, match=r"1\.zip and 2\.zip: their taxon keys belong to different checklists"):
        outline_archives(stated, EVERYTHING)
    with pytest.raises(ArchiveError, match="different checklists"):
        make_manifest(stated, tmp_path)


def test_a_checklist_and_a_doi_that_gbif_states_are_those_of_the_manifest(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "1.zip", [occurrence(1)], [medium(1, "1")], date="2024-01-01")
    stated = DownloadStatement("10.15468/dl.stated", CATALOGUE_OF_LIFE)
    manifest = make_manifest({path: stated}, tmp_path)
    assert manifest.counts.full_checklist == Checklist(CATALOGUE_OF_LIFE, "2024-01-01")
    assert manifest.chunks[0].schema.metadata[b"checklistKey"].decode() == CATALOGUE_OF_LIFE
    assert [source.doi for source in load_sources(manifest.folder)] == ["10.15468/dl.stated"]
    assert manifest.counts.notes == []
    local = make_manifest(path, tmp_path)
    assert (local.counts.checklist, [source.doi for source in load_sources(local.folder)]) == (None, [""])
    assert local.rows == manifest.rows


def test_what_an_archive_names_itself_counts_and_a_contradiction_is_a_note(tmp_path: Path) -> None:
    path = write_archive(
        tmp_path / "1.zip", [occurrence(1)], [medium(1, "1")], doi="10.15468/dl.named", checklist=BACKBONE
    )
    manifest = make_manifest({path: DownloadStatement("10.15468/dl.stated", CATALOGUE_OF_LIFE)}, tmp_path)
    assert manifest.counts.checklist == BACKBONE
    assert [source.doi for source in load_sources(manifest.folder)] == ["10.15468/dl.named"]
    of_checklist, of_doi = manifest.counts.notes
    assert of_checklist.startswith("it names the checklist GBIF Backbone Taxonomy")
    assert of_doi.startswith("it names the DOI 10.15468/dl.named, but GBIF states 10.15468/dl.stated")
