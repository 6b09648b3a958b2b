from pathlib import Path

import pytest

from gbif_webdataset.storage.manifest_checklist import load_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.checklists import CATALOGUE_OF_LIFE, Checklist
from tests.support.archives import find_case, read_zip, write_zip
from tests.support.manifests import make_manifest


def load(folder: Path, archive: Path) -> Checklist:
    make_manifest(archive, folder).folder.rename(folder / "manifest")
    return load_checklist(DatasetPaths.under(folder))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("taxonomy-new-col-checklistkey", Checklist(CATALOGUE_OF_LIFE, "")),
        ("taxonomy-new-col", Checklist()),
        ("taxonomy-old-backbone", Checklist()),
    ],
)
def test_the_checklist_is_read_from_the_manifest(tmp_path: Path, case: str, expected: Checklist) -> None:
    assert load(tmp_path, find_case(f"archives/{case}.zip")) == expected


@pytest.mark.parametrize(
    ("document", "release"),
    [
        ("<pubDate>2026-07-10</pubDate>", "2026-07-10"),
        ("<pubDate>2026-07-10</pubDate><checklistVersion>2026-06-01</checklistVersion>", "2026-06-01"),
        ("<pubDate>2026-07-10</pubDate><para>COL 26.5</para>", "26.5"),
        ("<pubDate>2026-07-10</pubDate><para>COL26.5, COL26.6</para>", "2026-07-10"),
    ],
)
def test_the_release_is_the_one_that_the_metadata_name_or_the_date_of_the_download(
    tmp_path: Path, document: str, release: str
) -> None:
    members = read_zip(find_case("archives/taxonomy-new-col-checklistkey.zip"))
    members["metadata.xml"] = f"<eml><dataset>{document}</dataset></eml>".encode()
    archive = write_zip(tmp_path / "a.zip", members)
    assert load(tmp_path, archive) == Checklist(CATALOGUE_OF_LIFE, release)


def test_a_folder_without_a_manifest_has_an_unknown_checklist(tmp_path: Path) -> None:
    assert load_checklist(DatasetPaths.under(tmp_path)) == Checklist()
