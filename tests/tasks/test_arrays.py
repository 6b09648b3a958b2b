from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.slurm.jobs import ARRAYS, STAGES
from tasks import ReportDataset, arrays
from tests.support.datasets import ROOT


def test_the_job_scripts_of_a_checkout_are_those_at_the_top_level() -> None:
    assert arrays.find_job_scripts() == ROOT / "sbatch"
    names = {path.name for path in arrays.find_job_scripts().iterdir()}
    assert names == {"element.sh", *(f"{stage}.sbatch" for stage in STAGES)}


def test_a_new_dataset_misses_every_chunk_of_every_stage(tmp_path: Path) -> None:
    report = ReportDataset(dwca=str(tmp_path / "moths.zip"), output=str(tmp_path / "out"), chunks=3)
    expected = {stage: [0, 1, 2] if stage in ARRAYS else [0] for stage in STAGES}
    assert arrays.find_missing(report) == expected


def test_a_command_of_slurm_that_is_missing_or_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError) as raised:
        arrays.run_slurm("squeue", "--me")
    assert str(raised.value) == (
        "squeue: there is no such command; run this on a machine from which Slurm jobs are submitted"
    )
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'no\n controller' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    with pytest.raises(DatasetError) as raised:
        arrays.run_slurm("squeue", "--me")
    assert str(raised.value) == "squeue: no controller; check that Slurm answers on this machine"


def test_the_command_line_has_one_sentence_for_a_bad_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        arrays.main(["status", "--dwca", "moths.zip", "--chunks", "0"])
    assert raised.value.code == "ERROR: --chunks 0: not a valid value; give a whole number from 1 to 1000"
    with pytest.raises(SystemExit) as raised:
        arrays.main(["submit", "--dwca", "moths.zip", "--chnks", "2"])
    assert raised.value.code == 2
    assert capsys.readouterr().err == "ERROR: --chnks: there is no such parameter; did you mean --chunks?\n"
