from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.errors import ArchiveError, ParameterError, SelectionError
from gbif_webdataset.read.dwca import MEDIA as MEDIA_KIND
from gbif_webdataset.read.dwca import open_archive
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.terms.columns import DARWIN_CORE
from gbif_webdataset.terms.ranks import LADDERS
from tests.support.archives import (
    MEDIA,
    OCCURRENCE,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_occurrence,
    write_download,
    write_zip,
)
from tests.support.manifests import make_manifest


def select_columns(archive: Path, **options: object) -> ManifestColumns:
    with open_archive(archive) as opened:
        return ManifestColumns.from_archives([opened], SelectionOptions("acceptedTaxonKey", **options))  # type: ignore[arg-type]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1)])


def test_the_manifest_has_the_darwin_core_terms_of_the_archive_in_a_fixed_order(archive: Path) -> None:
    columns = select_columns(archive, extra_columns=("occurrenceRemarks",))
    assert columns.record_columns == (*(n for n in DARWIN_CORE if n in OCCURRENCE), "occurrenceRemarks")
    assert columns.schema.names[:3] == ["coreid", "identifier", "image_path"]
    assert columns.schema.names[-1] == "licenseCode"
    [read] = columns.of_archives
    assert read.url_columns == ("identifier",)
    assert "references" in read.selections[MEDIA_KIND].indexes


def test_each_rank_and_name_of_a_taxon_is_in_the_manifest(tmp_path: Path) -> None:
    taxon = {name: f"some {name}" for ladder in LADDERS for name in (*ladder, "vernacularName")}
    columns = ("gbifID", "datasetKey", *taxon)
    occurrence = make_lines(columns, [{"gbifID": "1", "datasetKey": "d1"} | taxon])
    members = make_download(
        [], [make_medium(1)], meta_xml=make_gbif_meta_xml(columns, MEDIA), occurrence_txt=occurrence
    )
    [row] = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path, SelectionOptions("speciesKey")).rows
    assert {name: row[name] for name in taxon} == taxon


def test_keys_and_country_codes_are_text(tmp_path: Path) -> None:
    keys = ["5WZLF", "6E4", "0012", "1234567"]
    occurrences = [make_occurrence(n, acceptedTaxonKey=key, countryCode="NA") for n, key in enumerate(keys)]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(n) for n in range(4)])
    manifest = make_manifest(archive, tmp_path)
    assert manifest.values("acceptedTaxonKey") == {str(n): key for n, key in enumerate(keys)}
    assert {row["countryCode"] for row in manifest.rows} == {"NA"}
    assert all(field.type == pa.string() for table in manifest.chunks for field in table.schema)


def test_any_column_of_the_occurrences_may_be_the_subset_key(tmp_path: Path) -> None:
    occurrences = [make_occurrence(1, occurrenceRemarks="red"), make_occurrence(2, occurrenceRemarks="blue")]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(1), make_medium(2)])
    manifest = make_manifest(archive, tmp_path, SelectionOptions("occurrenceRemarks", SubsetList.of(("blue",))))
    assert manifest.values("occurrenceRemarks") == {"2": "blue"}


def test_a_column_that_the_archive_lacks_is_an_error_that_names_similar_columns(archive: Path) -> None:
    with pytest.raises(SelectionError) as raised, open_archive(archive) as opened:
        ManifestColumns.from_archives([opened], SelectionOptions("acceptedtaxonkey", SubsetList.of(("1",))))
    assert str(raised.value) == (
        "--ReadArchive-subset-key acceptedtaxonkey: occurrence.txt has no column acceptedtaxonkey; did you mean "
        "acceptedTaxonKey?"
    )
    with pytest.raises(SelectionError, match=r"^--ReadArchive-extra-columns zzz: .* meta\.xml lists its columns$"):
        select_columns(archive, extra_columns=("zzz",))


@pytest.mark.parametrize("name", ["coreid", "identifier", "mediaType"])
def test_a_column_that_the_manifest_has_by_itself_cannot_be_requested(archive: Path, name: str) -> None:
    with pytest.raises(SelectionError, match=f"^--ReadArchive-extra-columns {name}: the manifest has a column of its"):
        select_columns(archive, extra_columns=(name,))


def test_an_unknown_column_in_the_condition_is_an_error(archive: Path) -> None:
    with pytest.raises(ParameterError, match="the occurrences have no column gbifID"):
        select_columns(archive, where="gbifID = '2'")


def test_media_without_a_column_for_a_url_are_an_error(tmp_path: Path) -> None:
    columns = ("gbifID", "type")
    members = make_download(
        [], [], meta_xml=make_gbif_meta_xml(OCCURRENCE, columns), multimedia_txt=make_lines(columns, [{"gbifID": "1"}])
    )
    path = write_zip(tmp_path / "a.zip", members)
    with pytest.raises(
        ArchiveError, match=r"a\.zip: multimedia\.txt has no column for a URL \(identifier, accessURI\)"
    ):
        select_columns(path)
