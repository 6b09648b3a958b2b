from pathlib import Path

from gbif_webdataset.upload.published_version import PublishedObject
from gbif_webdataset.upload.upload_journal import UploadJournal

ONE = PublishedObject("train/train-000000.tar", "train/train-000000.tar", 10, "a")
CHANGED = PublishedObject("train/train-000000.tar", "train/train-000000.tar", 12, "b")
OTHER = PublishedObject("versions/1.0.0/README.md", "README.md", 3, "c")


def test_a_killed_run_leaves_what_it_has_uploaded(tmp_path: Path) -> None:
    path = tmp_path / "publish" / "x.journal"
    with UploadJournal(path) as journal:
        assert not journal.times
        journal.add(ONE)
        journal.add(OTHER)
        with UploadJournal(path) as next_run:  # without closing the first, as if it had been killed
            assert next_run.times.keys() == {ONE, OTHER}


def test_a_line_that_is_not_whole_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    with UploadJournal(path) as journal:
        journal.add(ONE)
        journal.add(OTHER)
    path.write_bytes(path.read_bytes()[:-10])
    with UploadJournal(path) as journal:
        assert journal.times.keys() == {ONE}
        journal.add(OTHER)
    with UploadJournal(path) as journal:
        assert journal.times.keys() == {ONE, OTHER}


def test_the_last_content_of_a_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    with UploadJournal(path) as journal:
        journal.add(ONE)
        journal.add(CHANGED)
    with UploadJournal(path) as journal:
        assert journal.times.keys() == {CHANGED}
    journal.delete()
    assert not path.exists()


def test_an_object_whose_upload_began_again_is_not_at_the_target(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    with UploadJournal(path) as journal:
        journal.add(ONE)
        journal.begin(CHANGED)
    with UploadJournal(path) as journal:
        assert not journal.times
        assert journal.begun == {ONE, CHANGED}
