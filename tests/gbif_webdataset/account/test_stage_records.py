from pathlib import Path

import pytest

from gbif_webdataset.account.stage_records import is_of_shard_part, load_stage_records
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord


def test_the_records_that_exist_are_listed_in_the_order_of_the_stages(tmp_path: Path) -> None:
    paths = DatasetPaths.under(tmp_path)
    labels = ["ReadArchive", "FetchChunk-00000", "FetchChunk-00001", "VerifyChunk-00001", "ShardChunk-00000",
              "CreateWebDataset"]  # fmt: skip
    for label in (*reversed(labels), "FetchChunk-00002", "ReportDataset"):
        TargetRecord(label, Fingerprint(1)).save(paths.record(label))
    records = load_stage_records(paths, chunks=2)
    assert list(records) == labels
    assert [record.task for record in records.values()] == labels


@pytest.mark.parametrize(
    ("label", "expected"), [("PlanShards", True), ("ShardChunk-00007", True), ("CreateWebDataset", False)]
)
def test_plans_and_chunks_of_shards_are_parts_of_them(label: str, expected: bool) -> None:
    assert is_of_shard_part(label) == expected
