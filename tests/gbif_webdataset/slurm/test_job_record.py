from pathlib import Path

from gbif_webdataset.slurm.job_record import RECORD, JobRecord, remove_credentials

JOB = JobRecord(
    "/data/moths.zip",
    16,
    "no",
    ("--CleanDataset-thumb-size=90",),
    {"CleanDataset": "d1"},
    ("12", "13"),
    {"12": "0-3,9"},
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    JOB.save(tmp_path / "logs")
    assert JobRecord.load(tmp_path / "logs") == JOB


def test_a_missing_or_damaged_record_is_none(tmp_path: Path) -> None:
    assert JobRecord.load(tmp_path / "none") is None
    JOB.save(tmp_path)
    text = (tmp_path / RECORD).read_text()
    for damaged in ("", "[]", text[:-20], text.replace("16", "17"), '{"dwca": "a.zip", "chunks": "many"}'):
        (tmp_path / RECORD).write_text(damaged)
        assert JobRecord.load(tmp_path) is None


def test_stages_with_other_parameters_are_found() -> None:
    assert JOB.find_differences({"CleanDataset": "d1", "SplitDataset": "d7"}) == []
    assert JOB.find_differences({"CleanDataset": "d2"}) == ["CleanDataset"]


def test_a_record_has_no_passwords() -> None:
    options = [
        "--FetchArchive-password=x",
        "--X-api-token=y",
        "--dwca=https://me:secret@host/a.zip",
        "--A-subset-key=k",
    ]
    assert remove_credentials(options) == ("--dwca=https://host/a.zip", "--A-subset-key=k")
