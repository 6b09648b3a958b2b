from pathlib import Path

import pytest

from gbif_webdataset.read import dwca
from gbif_webdataset.read.archive_checklist import find_checklist
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
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
