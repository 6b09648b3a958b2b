import csv
from pathlib import Path

from gbif_webdataset.account import costs
from gbif_webdataset.account.costs import OWN, SLURM, Cost, Total
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord

LISTING = """\
7|gbif-0123456789-read|61|
7.batch|batch|61|812340K
7.extern|extern|61|0
8_0|gbif-0123456789-fetch|3600|
8_0.batch|batch|3600|150M
8_10|gbif-0123456789-fetch|10|
9|gbif-ffffffffff-fetch|5|
9.batch|batch|5|9G
11|somebody-elses|5|
"""


def test_slurms_accounts_are_told_by_element_with_the_memory_of_the_largest_step() -> None:
    assert costs.of_slurm(LISTING, "gbif-0123456789") == [
        Cost("read", "", 61.0, 812340 << 10, SLURM),
        Cost("fetch", "0", 3600.0, 150 << 20, SLURM),
        Cost("fetch", "10", 10.0, 0, SLURM),
    ]


def test_a_cluster_without_accounts_tells_nothing() -> None:
    assert costs.of_slurm("", "gbif-0123456789") == []


def test_the_parts_of_a_stage_are_added_up() -> None:
    records = {
        "ReadArchive": TargetRecord("ReadArchive", Fingerprint(1), seconds=2.5, peak_bytes=700),
        "FetchChunk-00000": TargetRecord("FetchChunk-00000", Fingerprint(1), seconds=10.0, peak_bytes=100),
        "FetchChunk-00001": TargetRecord("FetchChunk-00001", Fingerprint(1), seconds=30.0, peak_bytes=90),
    }
    assert costs.totals(costs.of_records(records)) == [
        Total("ReadArchive", 1, 2.5, 2.5, 700),
        Total("FetchChunk", 2, 40.0, 30.0, 100),
    ]


def test_the_costs_are_a_table_of_their_own(tmp_path: Path) -> None:
    costs.write(tmp_path / "costs.csv", [Cost("fetch", "3", 1.5, 2048, OWN)])
    with (tmp_path / "costs.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row == {"stage": "fetch", "part": "3", "seconds": "1.5", "peak_bytes": "2048", "source": OWN}


def test_the_peak_of_a_process_is_at_least_what_it_holds() -> None:
    before = costs.peak_bytes()
    held = bytearray(before + (50 << 20))
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    assert costs.peak_bytes() >= before + (50 << 20)
    assert costs.peak_bytes() < 4 * len(held)
