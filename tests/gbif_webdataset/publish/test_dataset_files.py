from pathlib import Path

import pytest

from gbif_webdataset.account.dataset_numbers import DatasetNumbers
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.publish.dataset_files import set_doi, write_dataset_files
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.shards.shard_files import LOADER_FILES, PUBLISHED_FILES
from gbif_webdataset.storage.paths import DatasetPaths
from tests.support.published import LINES, Dataset, download


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1")
    dataset.image("test", "2", "cc0")
    return dataset


def test_all_files_are_in_the_report_and_beside_the_shards(moths: Dataset) -> None:
    written = {path.relative_to(moths.root).as_posix() for path in moths.publish()}
    published = {f"{folder}/{name}" for folder in ("report", "shards") for name in PUBLISHED_FILES}
    indexes = {f"shards/{split}/{split}-000000.tar.idx" for split in ("train", "test")}
    assert written == published | indexes | {f"shards/{name}" for name in LOADER_FILES}
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


def test_shards_of_an_older_version_get_the_files_for_loaders(moths: Dataset) -> None:
    moths.publish()
    written = {path: path.read_bytes() for path in (moths.root / "shards").rglob("*") if path.is_file()}
    loader_files = [moths.root / "shards" / name for name in LOADER_FILES]
    for path in (*loader_files, *(moths.root / "shards").rglob("*.tar.idx")):
        path.unlink()
    settings = {"CreateWebDataset": {"label_column": "label", "image_format": "jpg", "columns_to_json": ""}}
    write_dataset_files(DatasetPaths.under(moths.root), Publication(), DatasetNumbers(20, LINES), settings)
    assert {path: path.read_bytes() for path in (moths.root / "shards").rglob("*") if path.is_file()} == written


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


def test_the_doi_of_the_user_is_that_of_the_only_archive_without_one() -> None:
    one, two = Source("a.zip", doi="10.1234/a"), Source("b.zip")
    assert [source.doi for source in set_doi([one], "10.1234/x")] == ["10.1234/x"]
    assert [source.doi for source in set_doi([one, two], "10.1234/x")] == ["10.1234/a", "10.1234/x"]
    for sources, number in (([one, one], 0), ([two, two], 2)):
        with pytest.raises(ParameterError, match=f"--ReportDataset-doi 10.1234/x: of 2 archives {number} have no DOI"):
            set_doi(sources, "10.1234/x")
