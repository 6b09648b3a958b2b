import csv
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from gbif_webdataset.audit import audit_dataset as audit_module
from gbif_webdataset.audit.audit_dataset import AuditResult, audit_dataset, count_files, summarize_audit
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.fetch.journal import Journal
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.chunks import journal_name
from gbif_webdataset.storage.paths import DatasetPaths
from tests.support.audited_folder import AuditedFolder
from tests.support.stored_shards import move_shards


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path / "dataset", chunks=3)


def audit(
    folder: AuditedFolder,
    *,
    workers: int = 2,
    repair: bool = False,
    is_run_active: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> AuditResult:
    return audit_dataset(folder.paths, workers=workers, repair=repair, is_run_active=is_run_active, progress=progress)


def read_table(folder: AuditedFolder) -> list[dict[str, str]]:
    with folder.paths.audit_table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sound_dataset_has_no_difference_and_nothing_but_the_table_is_written(folder: AuditedFolder) -> None:
    before, done = folder.snapshot(), list[int]()
    result = audit(folder, progress=done.append)
    assert (result.differences, result.files) == (0, count_files(folder.paths)) == (0, 29)
    assert done[-1] == 29
    assert sorted(done) == done
    assert read_table(folder) == []
    assert folder.snapshot() - before == {("audit.csv", b"file,kind,record,detail\n"): 1}
    assert "29 files" in summarize_audit(folder.paths, result)
    assert "every file is as it was written" in summarize_audit(folder.paths, result)


def test_differences_of_every_kind_are_listed_and_counted(folder: AuditedFolder) -> None:
    paths = folder.paths
    paths.clean.write_text("x")
    (paths.images / "d1" / "2.jpg").unlink()
    (paths.images / "d2" / "2.jpg").write_bytes(bytes((paths.images / "d2" / "2.jpg").stat().st_size))
    (paths.shards / "train" / "train-000001.idx").write_text("v1.2 3")
    (paths.output / "notes.txt").write_text("x")
    paths.record("FetchChunk-00000").write_text("")
    result = audit(folder)
    assert [(row["file"], row["kind"], row["record"]) for row in read_table(folder)] == [
        (".made/FetchChunk-00000.json", "unreadable", "FetchChunk-00000"),
        ("clean.parquet", "truncated", "CleanDataset"),
        ("images/d1/2.jpg", "missing", "FetchChunk-00001"),
        ("images/d2/2.jpg", "changed", "FetchChunk-00002"),
        ("shards/train/train-000001.idx", "truncated", "CreateWebDataset"),
        ("fetched/chunk-00000.parquet", "not-recorded", ""),
        ("notes.txt", "not-recorded", ""),
    ]
    assert result.differences == 7
    assert "  2 not-recorded: fetched/chunk-00000.parquet, notes.txt" in summarize_audit(paths, result)


def test_the_number_of_workers_does_not_change_the_table(folder: AuditedFolder) -> None:
    rng = random.Random(15)
    for path in sorted(folder.paths.images.rglob("*.jpg")):
        if rng.random() < 0.6:
            path.write_bytes(b"x")
    tables = []
    for workers in (1, 2, 7):
        audit(folder, workers=workers)
        tables.append(folder.paths.audit_table.read_bytes())
    assert len(tables[0].splitlines()) > 5
    assert len(set(tables)) == 1


def test_a_stopped_audit_continues_without_reading_finished_parts_again(folder: AuditedFolder) -> None:
    (folder.paths.images / "d0" / "1.jpg").unlink()

    def stop_after_two_chunks(done: int) -> None:
        if done >= count_files(folder.paths) - 4 - 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(folder, progress=stop_after_two_chunks)
    assert folder.paths.audit_progress.exists()
    for chunk in range(3):
        (folder.paths.images / f"d{chunk}" / "4.jpg").unlink()
    result = audit(folder)
    assert [row["file"] for row in read_table(folder)] == ["images/d0/1.jpg", "images/d2/4.jpg"]
    assert result.parts_before == 3
    assert "an audit that was stopped had read 3 parts" in summarize_audit(folder.paths, result)
    assert not folder.paths.audit_progress.exists()
    assert audit(folder).counts == {"missing": 4}


def test_what_another_run_changes_meanwhile_is_no_difference(folder: AuditedFolder) -> None:
    paths = folder.paths

    def is_run_active() -> bool:
        """Called before the files are read: the run deletes its record first, then it changes files."""
        paths.record("CleanDataset").unlink(missing_ok=True)
        paths.clean.write_text("new images")
        paths.record("FetchChunk-00001").unlink(missing_ok=True)
        (paths.images / "d1" / "0.jpg").write_text("a new image")
        (paths.images / "d1" / "77.jpg").write_text("another new image")
        return True

    result = audit(folder, is_run_active=is_run_active)
    assert read_table(folder) == []
    assert (result.files, result.uncompared) == (27, 2)
    assert summarize_audit(paths, result).splitlines()[1:] == [
        "  another run is working on this dataset: files that no record names are not listed",
        "  2 files not compared, because another run is changing them",
        "  every other file is as it was written",
    ]


def test_the_images_of_a_chunk_that_is_being_fetched_are_not_counted_as_read(folder: AuditedFolder) -> None:
    (folder.paths.images / "d1" / "0.jpg").unlink()

    def stop_at_the_end(done: int) -> None:
        if done == count_files(folder.paths):
            raise KeyboardInterrupt

    with Journal(folder.paths.fetched / journal_name(1)):
        result = audit(folder)
        assert (result.files, result.uncompared, result.differences) == (24, 5, 0)
        with pytest.raises(KeyboardInterrupt):
            audit(folder, progress=stop_at_the_end)
    result = audit(folder)
    assert result.parts_before > 0
    assert (result.files, result.uncompared, result.counts) == (29, 0, {"missing": 1})


def test_a_difference_that_another_run_did_not_make_is_found_meanwhile(folder: AuditedFolder) -> None:
    (folder.paths.images / "d1" / "0.jpg").unlink()
    folder.paths.clean.write_text("x")
    assert audit(folder, is_run_active=lambda: True).counts == {"missing": 1, "truncated": 1}


def test_a_record_of_version_0_4_and_a_temporary_file_are_listed_and_are_no_difference(folder: AuditedFolder) -> None:
    record = folder.paths.record("CleanDataset")
    record.write_text("\n".join(line for line in record.read_text().splitlines() if "checksum" not in line))
    (folder.paths.images / "d0" / ".tmp-9.jpg").write_text("x")
    result = audit(folder)
    assert result.counts == {"without-checksum": 1, "temporary": 1}
    assert result.differences == 0


def test_unrecorded_files_are_found_some_at_a_time(folder: AuditedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "FINDINGS_PER_PART", 2)
    names = [f"notes-{number}.txt" for number in range(5)]
    for name in names:
        (folder.paths.output / name).write_text("x")
    assert audit(folder, repair=True).counts == {"not-recorded": 5}
    assert [row["file"] for row in read_table(folder)] == names
    assert all((folder.paths.output / name).exists() for name in names)


def test_repair_lets_the_next_run_make_the_files_again_and_tells_nothing_else(folder: AuditedFolder) -> None:
    folder.paths.clean.write_text("x")
    (folder.paths.images / "d1" / "0.jpg").unlink()
    result = audit(folder, repair=True)
    assert result.repaired == ["CleanDataset", "FetchChunk-00001"]
    assert [row["kind"] for row in read_table(folder)] == ["truncated", "missing"]
    assert sorted(path.stem for path in folder.paths.records.iterdir()) == [
        "CreateWebDataset",
        "FetchChunk-00000",
        "FetchChunk-00002",
    ]


def move(folder: AuditedFolder) -> StoreAddress:
    """Move the shards to another folder; its address."""
    address = StoreAddress.parse(f"file://{folder.paths.output.parent}/moths", option_name="--CreateWebDataset-to")
    move_shards(folder.paths, address)
    return address


def test_shards_at_an_address_are_read_there(folder: AuditedFolder) -> None:
    root, paths = Path(move(folder).prefix), folder.paths
    result = audit(folder)
    assert (result.differences, result.files) == (0, count_files(paths)) == (0, 31)
    (root / "train/train-000000.tar").write_bytes(b"x")
    (root / "train/train-000007.tar").write_bytes(b"x")
    (root / ".parts").mkdir()
    (root / ".parts/group-000000-000.tar").write_bytes(b"x")
    (root / "notes.txt").write_bytes(b"x")
    assert audit(folder, repair=True).repaired == ["CreateWebDataset"]
    assert [(row["file"], row["kind"], row["record"]) for row in read_table(folder)] == [
        (f"file://{root}/train/train-000000.tar", "truncated", "CreateWebDataset"),
        (f"file://{root}/.parts/group-000000-000.tar", "not-recorded", ""),
        (f"file://{root}/train/train-000007.tar", "not-recorded", ""),
    ]
    assert not paths.record("CreateWebDataset").exists()
    assert (root / "train/train-000007.tar").exists()


def test_an_object_is_named_whatever_the_bytes_of_its_name_are(folder: AuditedFolder) -> None:
    parts = Path(move(folder).prefix, ".parts")
    parts.mkdir()
    for name in (b"\xff.tar", b"a\nb.tar"):
        (parts / os.fsdecode(name)).write_bytes(b"x")
    audit(folder)
    assert [row["file"] for row in read_table(folder)] == [f"file://{parts}/a\nb.tar", rf"file://{parts}/\xff.tar"]


def test_an_address_that_cannot_be_reached_is_no_missing_shard(folder: AuditedFolder) -> None:
    root = Path(move(folder).prefix)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreError, match=rf"^--CreateWebDataset-to file://{root}: there is no such folder; mount the "):
        audit(folder, repair=True)
    root.mkdir()  # an empty mount point
    with pytest.raises(
        StoreError, match=rf"^--CreateWebDataset-to file://{root}: shards.json is missing there: is the "
    ):
        audit(folder, repair=True)
    assert folder.paths.record("CreateWebDataset").exists()
    assert not folder.paths.audit_table.exists()
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert audit(folder).differences == 0


def test_an_object_that_is_whole_again_when_a_stopped_audit_continues_is_no_difference(
    folder: AuditedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(move(folder).prefix, "train/train-000000.tar")
    away = path.rename(path.with_name("away"))
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(audit_module, "find_unrecorded_files", interrupt)
        audit(folder)
    away.rename(path)
    result = audit(folder, repair=True)
    assert (result.counts, result.repaired) == ({}, [])
    assert result.parts_before > 0


def interrupt(*arguments: object) -> NoReturn:
    raise KeyboardInterrupt


def test_parts_of_shards_that_are_not_finished_are_no_difference(folder: AuditedFolder) -> None:
    root = Path(move(folder).prefix)
    for parts in (root / ".parts", folder.paths.shards / ".parts"):
        parts.mkdir()
    (root / ".parts/group-000000-000.tar").write_bytes(b"x")
    assert audit(folder).differences == 0


def test_a_folder_without_a_dataset_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingPieceError, match="there is no dataset in this folder"):
        count_files(DatasetPaths.under(tmp_path / "nothing"))
