from pathlib import Path

import pytest

from gbif_webdataset.publish.description import Publication
from gbif_webdataset.shards.shard_files import PUBLISHED_FILES
from tests.support.published import Dataset, download


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1")
    dataset.image("test", "2", "cc0")
    return dataset


def test_all_files_are_in_the_report_and_beside_the_shards(moths: Dataset) -> None:
    written = {path.relative_to(moths.root).as_posix() for path in moths.publish()}
    assert written == {f"{folder}/{name}" for folder in ("report", "shards") for name in PUBLISHED_FILES}
    for name in PUBLISHED_FILES:
        assert (moths.root / "report" / name).read_bytes() == (moths.root / "shards" / name).read_bytes()


def test_files_beside_the_shards_are_copies_if_the_file_system_has_no_links(
    moths: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not supported")

    monkeypatch.setattr("os.link", refuse)
    moths.publish()
    card = moths.root / "report" / "README.md"
    assert card.read_bytes() == (moths.root / "shards" / "README.md").read_bytes()
    assert not card.samefile(moths.root / "shards" / "README.md")


def test_files_of_an_earlier_archive_are_removed(moths: Dataset) -> None:
    moths.publish()
    assert (moths.root / "report" / "rights.txt").exists()
    moths.publish(download(moths.root / "b.zip", members={"rights.txt": None, "citations.txt": b"new"}))
    for folder in ("report", "shards"):
        assert not (moths.root / folder / "rights.txt").exists()
        assert (moths.root / folder / "citations.txt").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("title", "heading"),
    [("Moths of Denmark", "# Moths of Denmark"), ("", r"# Images of GBIF Occurrence Download 10.15468/dl.npd2js")],
)
def test_the_title_defaults_to_that_of_the_archive(moths: Dataset, title: str, heading: str) -> None:
    moths.publish(publication=Publication(title=title))
    assert heading in (moths.root / "shards" / "README.md").read_text(encoding="utf-8").splitlines()
