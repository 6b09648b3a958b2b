from pathlib import Path

import pytest

from gbif_webdataset.slurm import fit
from gbif_webdataset.slurm.fit import StageNeeds
from gbif_webdataset.slurm.jobs import Job

SCRIPTS = Path(__file__).parents[3] / "sbatch"
GIB = 1 << 30
COSTS = f"""\
stage,part,seconds,peak_bytes,source
ReadArchive,,30.5,{2 * GIB},own record
FetchChunk,00000,100.0,{GIB},own record
FetchChunk,00001,300.0,{GIB},own record
VerifyImages,,10.0,1000,own record
CleanDataset,,20.0,{3 * GIB},own record
fetch,0,90.0,0,Slurm
fetch,1,400.0,0,Slurm
fetch,1,5.0,0,Slurm
report,,60.0,{GIB},Slurm
CompareDatasets,,7.0,5,own record
"""


def test_needs_are_those_of_the_slowest_part_and_slurms_times_come_first(tmp_path: Path) -> None:
    (tmp_path / "costs.csv").write_text(COSTS)
    needs = fit.read_needs(tmp_path / "costs.csv")
    assert needs["read"] == StageNeeds(30.5, 2 * GIB, 1)
    assert needs["fetch"] == StageNeeds(400.0, GIB, 2)
    assert needs["tables"] == StageNeeds(30.0, 3 * GIB, 1)
    assert needs["report"] == StageNeeds(60.0, GIB, 1)
    assert "verify" not in needs
    assert fit.read_needs(tmp_path / "none.csv") == {}


EVERY = tuple(range(8))


@pytest.mark.parametrize(
    ("need", "job", "options"),
    [
        # 4 processors in verify.sbatch
        (StageNeeds(30, GIB // 4, 8), Job("v", "verify", EVERY), ("--cpus-per-task=1", "--mem=1024M", "--time=15")),
        (StageNeeds(300, GIB, 8), Job("v", "verify", EVERY), ("--cpus-per-task=2", "--mem=1536M", "--time=20")),
        (StageNeeds(6000, 9 * GIB, 8), Job("v", "verify", EVERY), ("--cpus-per-task=4", "--mem=13824M", "--time=200")),
        # each of two elements has four chunks
        (
            StageNeeds(6000, GIB, 8),
            Job("v", "verify", EVERY, (), 2),
            ("--cpus-per-task=4", "--mem=1536M", "--time=800"),
        ),
        # the last run had two chunks, so each had four times as many images
        (StageNeeds(6000, GIB, 2), Job("v", "verify", EVERY), ("--cpus-per-task=4", "--mem=1536M", "--time=50")),
        (StageNeeds(30, GIB, 1), Job("t", "tables"), ("--cpus-per-task=1", "--mem=1536M", "--time=15")),
    ],
)
def test_a_job_requests_what_the_last_run_needed_and_a_margin(
    need: StageNeeds, job: Job, options: tuple[str, ...]
) -> None:
    assert fit.fit_requests({job.stage: need}, [job], 8, SCRIPTS) == {job.stage: options}


@pytest.mark.parametrize("is_reversed", [False, True])
def test_of_several_arrays_of_a_stage_the_element_with_most_chunks_counts(is_reversed: bool) -> None:
    large = Job("verify-0", "verify", tuple(range(99)), (), 10)
    planned = [large, Job("verify-1", "verify", (99,))]
    needs = {"verify": StageNeeds(3600, GIB, 100)}
    expected = fit.fit_requests(needs, [large], 100, SCRIPTS)
    assert expected["verify"][-1] == "--time=1200"
    assert fit.fit_requests(needs, planned[:: -1 if is_reversed else 1], 100, SCRIPTS) == expected


def test_an_element_with_more_chunks_than_the_average_has_time_for_them() -> None:
    uneven = Job("verify-0", "verify", (0, 2, 4, 5), (), 2)
    assert fit.fit_requests({"verify": StageNeeds(3600, GIB, 8)}, [uneven], 8, SCRIPTS)["verify"][-1] == "--time=360"


def test_a_stage_without_costs_keeps_the_requests_of_its_script() -> None:
    assert fit.fit_requests({}, [Job("v", "verify", EVERY)], 8, SCRIPTS) == {}
