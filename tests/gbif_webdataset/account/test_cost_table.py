from pathlib import Path

from gbif_webdataset.account.cost_table import StageCost, sum_by_stage, write_costs
from gbif_webdataset.account.costs import OWN, SLURM, Cost

COSTS = [
    Cost("ReadArchive", "", 2.5, 700, OWN),
    Cost("FetchChunk", "00000", 10.0, 100, OWN),
    Cost("FetchChunk", "00001", 30.0, 90, OWN),
]


def test_the_parts_of_a_stage_are_added_up_in_the_order_of_the_stages() -> None:
    assert sum_by_stage(COSTS) == [
        StageCost("ReadArchive", 1, 2.5, 2.5, 700),
        StageCost("FetchChunk", 2, 40.0, 30.0, 100),
    ]


def test_no_costs_are_no_stages() -> None:
    assert sum_by_stage([]) == []


def test_the_file_has_a_line_for_each_part(tmp_path: Path) -> None:
    write_costs(tmp_path / "costs.csv", [*COSTS[:2], Cost("fetch", "3", 1.504, 2048, SLURM)])
    assert (tmp_path / "costs.csv").read_text() == (
        "stage,part,seconds,peak_bytes,source\n"
        "ReadArchive,,2.5,700,own record\n"
        "FetchChunk,00000,10.0,100,own record\n"
        "fetch,3,1.504,2048,Slurm\n"
    )
