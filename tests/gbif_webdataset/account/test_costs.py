from gbif_webdataset.account.costs import OWN, SLURM, Cost, list_task_costs, measure_peak_bytes, parse_slurm_costs
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord

LISTING = """\
7|gbif-0123456789-read|61|
7.batch|batch|61|812340K
7.extern|extern|61|0
8_0|gbif-0123456789-fetch|3600|
8_0.batch|batch|3600|150M
8_10|gbif-0123456789-fetch-12|10|
9|gbif-ffffffffff-fetch|5|
9.batch|batch|5|9G
11|somebody-elses|5|
"""


def test_each_element_of_a_job_array_has_its_seconds_and_the_memory_of_its_largest_step() -> None:
    assert parse_slurm_costs(LISTING, "gbif-0123456789") == [
        Cost("read", "", 61.0, 812340 << 10, SLURM),
        Cost("fetch", "0", 3600.0, 150 << 20, SLURM),
        Cost("fetch", "10", 10.0, 0, SLURM),
    ]


def test_a_cluster_without_accounting_gives_no_costs() -> None:
    assert parse_slurm_costs("", "gbif-0123456789") == []


def test_the_costs_of_tasks_are_those_of_their_records() -> None:
    records = {
        "ReadArchive": TargetRecord("ReadArchive", Fingerprint(1), seconds=2.5, peak_bytes=700),
        "FetchChunk-00001": TargetRecord("FetchChunk-00001", Fingerprint(1), seconds=30.0, peak_bytes=90),
    }
    assert list_task_costs(records) == [
        Cost("ReadArchive", "", 2.5, 700, OWN), Cost("FetchChunk", "00001", 30.0, 90, OWN)
    ]  # fmt: skip


def test_the_peak_is_at_least_the_memory_that_the_process_uses() -> None:
    before = measure_peak_bytes()
    block = bytearray(before + (50 << 20))
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    assert measure_peak_bytes() >= before + (50 << 20)
    assert measure_peak_bytes() < 4 * len(block)
