import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.slurm.jobs import ARRAYS, STAGES
from gbif_webdataset.terms.outcomes import REFUSALS, is_temporary
from tasks import ReportDataset, arrays
from tests.gbif_webdataset.storage.test_run_lock import held
from tests.support.datasets import ROOT, Dataset


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


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose Slurm has no jobs and accepts none."""
    for name, text in (("squeue", ""), ("scontrol", "echo MaxArraySize = 1001"), ("sbatch", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def run_arrays(dataset: Dataset, environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    without_retries = dataset.command()[dataset.command().index(f"--dwca={dataset.archive}") :]
    at = without_retries.index("--FetchChunk-retry-failed")
    del without_retries[at : at + 2]
    command = [sys.executable, "-m", "tasks.arrays", *options, *without_retries]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=True)


def test_a_finished_job_is_done_and_submits_nothing_unless_a_retry_is_requested(
    made: Dataset, environment: dict[str, str]
) -> None:
    rows = made.rows("fetched")
    failed = sum(is_temporary(row["error"]) or row["error"] in REFUSALS for row in rows)
    assert failed
    note = f"{failed} {'image' if failed == 1 else 'images'} may succeed in another run"

    lines = run_arrays(made, environment, "status").stdout.splitlines()
    assert [line.split()[1:6] for line in lines[1:]] == [
        [str(made.chunks if stage in ARRAYS else 1), "0", "0", "0", "0"] for stage in STAGES
    ]
    assert lines[2].endswith(note)

    ended = run_arrays(made, environment, "submit", "--dry-run")
    assert ended.stdout == "nothing to do: everything is up to date\n"
    assert ended.stderr == f"{note}: add RETRY=1 (--retry) to submit it\n"

    ended = run_arrays(made, environment, "submit", "--dry-run", "--retry")
    jobs = ended.stdout.splitlines()
    assert [job.partition(".sbatch")[0].rpartition("/")[2] for job in jobs] == [
        "fetch", "verify", "tables", "shards", "report",
    ]  # fmt: skip
    assert all("--FetchChunk-retry-after=0" in job for job in jobs)
    assert "failed downloads will be retried" in ended.stderr


def test_a_dry_run_beside_a_run_only_reads(dataset: Dataset, environment: dict[str, str]) -> None:
    with held(dataset.output):
        folder = dataset.output / ".made"
        before = folder.stat().st_mtime_ns, sorted(folder.iterdir())
        ended = run_arrays(dataset, environment, "submit", "--dry-run")
        assert ended.stdout == "nothing to do: everything is up to date\n"
        assert (folder.stat().st_mtime_ns, sorted(folder.iterdir())) == before
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run_arrays(dataset, environment, "submit")
        assert "another run is using it (HeldTask on host" in refused.value.stderr


WITHOUT_IMAGES = ("--ReportDataset-keep-images", "false")


def test_after_the_images_are_removed_everything_counts_as_done(dataset: Dataset, environment: dict[str, str]) -> None:
    jobs = run_arrays(dataset, environment, "submit", "--dry-run", *WITHOUT_IMAGES).stdout.splitlines()
    assert [job.partition(".sbatch")[0].rpartition("/")[2] for job in jobs] == ["report"]
    dataset.make(*WITHOUT_IMAGES)
    lines = run_arrays(dataset, environment, "status").stdout.splitlines()
    assert lines[-1].endswith("removed after the report (--ReportDataset-keep-images false)")
    assert not any("may succeed in another run" in line for line in lines)
    for options in (WITHOUT_IMAGES, ("--retry",)):
        ended = run_arrays(dataset, environment, "submit", "--dry-run", *options)
        assert ended.stdout == "nothing to do: everything is up to date\n"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_arrays(dataset, environment, "submit", "--dry-run", "--CreateWebDataset-resize-min-size", "32")
    assert "would be downloaded again; set it to true to download them" in refused.value.stderr


def test_the_files_that_the_jobs_create_are_reported_before_they_are_submitted(
    made: Dataset, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "lfs").write_text(QUOTA)
    (tmp_path / "lfs").chmod(0o755)
    dataset = Dataset(made.archive, tmp_path / "dataset")
    ended = run_arrays(dataset, environment, "submit", "--dry-run")
    assert "files  one for each image with --store files; the quota of the user allows 300 more" in ended.stderr
    dataset.make(task="ReadArchive")
    ended = run_arrays(dataset, environment, "submit", "--dry-run")
    assert re.search(
        r"^files  about \d+ with --store files, about \d+ with --store packed; ", ended.stderr, re.MULTILINE
    )
    assert "WARNING: --store files: about " in ended.stderr
    assert "the quota of the user allows only 300 more" in ended.stderr


QUOTA = """#!/bin/sh
case "$1 $2" in
"project -d") echo "0 - $3" ;;
*) printf 'Disk quotas for usr ada (uid 7):\\n'
printf '     Filesystem  kbytes  quota  limit  grace  files  quota  limit  grace\\n'
printf '      /scratch  1  0  9  -  100  0  400  -\\n' ;;
esac
"""
