from pathlib import Path

import pytest

from gbif_webdataset.read import dwca
from gbif_webdataset.read.archive_checklist import find_checklist, note_other_checklist
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
from gbif_webdataset.terms.downloads import DownloadStatement
from tests.support.archives import find_case, read_zip, write_zip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<pubDate>2025-03-01</pubDate>", Checklist("", "2025-03-01")),
        (f'{{"checklistKey" : "{BACKBONE.upper()}"}}', Checklist(BACKBONE)),
        (f"checklistKey: {BACKBONE}, CHECKLIST_KEY: {BACKBONE}", Checklist(BACKBONE)),
        (f"checklistKey: {BACKBONE}, checklistKey: {CATALOGUE_OF_LIFE}", Checklist()),
        (f"checklistKey: {CATALOGUE_OF_LIFE} COL26.5", Checklist(CATALOGUE_OF_LIFE, "26.5")),
    ],
)
def test_a_document_that_names_one_checklist_gives_its_key_and_release(
    tmp_path: Path, text: str, expected: Checklist
) -> None:
    members = read_zip(find_case("archives/taxonomy-old-backbone.zip"))
    members["metadata.xml"] = f"<eml><dataset>{text}</dataset></eml>".encode()
    with dwca.open_archive(write_zip(tmp_path / "a.zip", members)) as archive:
        assert find_checklist(archive) == expected


@pytest.mark.parametrize(
    ("of_records", "text", "expected"),
    [
        (None, "", CATALOGUE_OF_LIFE),
        (None, f"checklistKey: {BACKBONE}, checklistKey: {CATALOGUE_OF_LIFE}", CATALOGUE_OF_LIFE),
        (None, f"checklistKey: {BACKBONE}", BACKBONE),
        (BACKBONE, "", BACKBONE),
        (BACKBONE, f"checklistKey: {CATALOGUE_OF_LIFE}", BACKBONE),
    ],
)
def test_the_checklist_that_gbif_states_counts_where_the_archive_names_none(
    tmp_path: Path, of_records: str | None, text: str, expected: str
) -> None:
    members = read_zip(find_case("archives/taxonomy-old-backbone.zip"))
    members["metadata.xml"] = f"<eml><dataset>{text}</dataset></eml>".encode()
    path, statement = write_zip(tmp_path / "a.zip", members), DownloadStatement(checklist=CATALOGUE_OF_LIFE.upper())
    with dwca.open_archive(path, label="a.zip", statement=statement) as archive:
        found = find_checklist(archive, of_records)
        assert found == Checklist(expected)
        notes = note_other_checklist(archive, found)
    assert len(notes) == (expected == BACKBONE)
    for note in notes:
        assert note.startswith("a.zip: it names the checklist GBIF Backbone Taxonomy")
        assert "but GBIF states that Catalogue of Life eXtended Release" in note
