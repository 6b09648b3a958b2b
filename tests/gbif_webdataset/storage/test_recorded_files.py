from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.storage.recorded_files import check_recorded_files, is_as_recorded
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord, record_path


def write_record(output: Path, name: str) -> TargetRecord:
    path = output / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    record = TargetRecord("Task", Fingerprint(1), {name: FileRecord.of(path)})
    record.save(record_path(output, "Task"))
    return record


def test_files_as_they_were_written_pass(tmp_path: Path) -> None:
    check_recorded_files(tmp_path, [write_record(tmp_path, "clean.parquet"), write_record(tmp_path, "splits/val.csv")])
    assert record_path(tmp_path, "Task").is_file()


@pytest.mark.parametrize("content", [b"", b"CONTENT", bytes(7), None])
def test_a_table_that_differs_loses_its_record_so_that_the_next_run_makes_it(
    tmp_path: Path, content: bytes | None
) -> None:
    record = write_record(tmp_path, "clean.parquet")
    (tmp_path / "clean.parquet").unlink()
    if content is not None:
        (tmp_path / "clean.parquet").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"clean.parquet: differs from what Task wrote; run the same command"):
        check_recorded_files(tmp_path, [record])
    assert not record_path(tmp_path, "Task").exists()


@pytest.mark.parametrize("name", ["fetched/chunk-00000.parquet", "deleted.csv"])
def test_a_ledger_or_list_that_no_task_can_make_again_keeps_its_record(tmp_path: Path, name: str) -> None:
    record = write_record(tmp_path, name)
    (tmp_path / name).write_text("CONTENT")
    with pytest.raises(DamagedFileError, match="make audit ARGS=--AuditDataset-repair"):
        check_recorded_files(tmp_path, [record])
    assert record_path(tmp_path, "Task").exists()
    (tmp_path / name).unlink()
    check_recorded_files(tmp_path, [record])


def test_a_folder_in_the_place_of_a_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    record = write_record(tmp_path, "clean.parquet")
    (tmp_path / "clean.parquet").unlink()
    (tmp_path / "clean.parquet").mkdir()
    assert not is_as_recorded(tmp_path / "clean.parquet", record.files["clean.parquet"])
    with pytest.raises(IsADirectoryError):
        check_recorded_files(tmp_path, [record])
