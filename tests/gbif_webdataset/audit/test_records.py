from pathlib import Path

import pytest

from gbif_webdataset.audit.check_file import Expected
from gbif_webdataset.audit.records import has_changed, ledger_label, load_records
from gbif_webdataset.remote.address_claim import CLAIM
from tests.support.audited_folder import AuditedFolder


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path)


def kinds(folder: AuditedFolder) -> dict[str, str]:
    return {one.file: one.kind for one in load_records(folder.paths).find_damaged(folder.paths)}


def test_all_files_of_the_records_are_listed_with_their_record(folder: AuditedFolder) -> None:
    files = load_records(folder.paths).list_files()
    assert {name: file.record for name, file in files.items()} == {
        "clean.parquet": "CleanDataset",
        **{f"fetched/chunk-0000{chunk}.parquet": f"FetchChunk-0000{chunk}" for chunk in (0, 1)},
        **{f"shards/train/train-00000{n}.{kind}": "CreateWebDataset" for n in (0, 1) for kind in ("tar", "idx")},
        "shards/shards.csv": "CreateWebDataset",
    }
    assert isinstance(files["clean.parquet"], Expected)
    assert kinds(folder) == {}
    assert ledger_label(7) == "FetchChunk-00007"


def test_a_damaged_record_and_one_of_version_0_4_are_reported(folder: AuditedFolder) -> None:
    clean, shards = (folder.paths.record(label) for label in ("CleanDataset", "CreateWebDataset"))
    clean.write_bytes(b"{}")
    lines = [line for line in shards.read_text().splitlines() if "checksum" not in line]
    shards.write_text("\n".join(lines))
    assert kinds(folder) == {
        ".made/CleanDataset.json": "unreadable",
        ".made/CreateWebDataset.json": "without-checksum",
    }
    assert "clean.parquet" not in load_records(folder.paths).list_files()


def test_a_missing_record_is_found_by_another_record_or_by_its_files(folder: AuditedFolder) -> None:
    folder.record("SplitDataset", CleanDataset="ab", VerifyImages="cd")
    folder.record("FetchChunk-00001", **{"manifest/chunk-00001.parquet": "ef"})
    folder.paths.record("CleanDataset").unlink()
    folder.paths.accounting.write_text("")
    assert kinds(folder) == {
        f".made/{label}.json": "missing" for label in ("CleanDataset", "ReadArchive", "ReportDataset", "VerifyImages")
    }


def test_the_id_of_an_address_does_not_show_that_shards_were_written(folder: AuditedFolder) -> None:
    paths = folder.paths
    paths.record("CreateWebDataset").unlink()
    paths.shard_list.unlink()
    (paths.output / CLAIM).write_text("{}")
    assert kinds(folder) == {}


def test_records_of_chunks_that_an_earlier_number_of_chunks_had_are_left_out(folder: AuditedFolder) -> None:
    folder.record("ReadArchive", chunks="1")
    assert "FetchChunk-00001" not in load_records(folder.paths).checked
    assert "FetchChunk-00000" in load_records(folder.paths).checked


def test_files_that_the_next_run_makes_again_in_any_case_are_not_compared(folder: AuditedFolder) -> None:
    split = folder.paths.splits / "train.csv"
    split.parent.mkdir()
    split.write_text("a")
    digest = load_records(folder.paths).whole["CleanDataset"].digest
    folder.record("SplitDataset", split, CleanDataset=digest)
    assert "splits/train.csv" in load_records(folder.paths).list_files()
    folder.record("SplitDataset", split, CleanDataset="another digest")
    assert "splits/train.csv" not in load_records(folder.paths).list_files()


def test_a_record_that_is_written_or_deleted_meanwhile_has_changed(folder: AuditedFolder) -> None:
    before = load_records(folder.paths).checked["CleanDataset"]
    assert not has_changed(folder.paths, "CleanDataset", before)
    (folder.paths.clean).write_text("other images")
    folder.record("CleanDataset", folder.paths.clean)
    assert has_changed(folder.paths, "CleanDataset", before)
    folder.paths.record("CleanDataset").unlink()
    assert has_changed(folder.paths, "CleanDataset", before)
