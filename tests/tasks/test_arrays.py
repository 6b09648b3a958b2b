import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from luigi.cmdline_parser import CmdlineParser

from gbif_webdataset.slurm.jobs import ARRAYS, STAGES, JobCommand, Site, name_dataset
from gbif_webdataset.storage.removed_images import RESULT
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.outcomes import REFUSALS, is_temporary
from tasks import ReportDataset, arrays
from tests.gbif_webdataset.storage.test_run_lock import held
from tests.support.datasets import QUICKLY, ROOT, Dataset


def test_the_job_scripts_of_a_checkout_are_those_at_the_top_level() -> None:
    assert arrays.find_job_scripts() == ROOT / "sbatch"
    names = {path.name for path in arrays.find_job_scripts().iterdir()}
    assert names == {"element.sh", *(f"{stage}.sbatch" for stage in STAGES)}


def test_a_new_dataset_misses_every_chunk_of_every_stage(tmp_path: Path) -> None:
    report = ReportDataset(dwca=str(tmp_path / "moths.zip"), output=str(tmp_path / "out"), chunks=3)
    expected = {stage: [0, 1, 2] if stage in ARRAYS else [0] for stage in STAGES}
    assert arrays.find_missing(report) == expected


def test_the_command_line_has_one_sentence_for_a_bad_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        arrays.main(["status", "--dwca", "moths.zip", "--chunks", "0"])
    assert raised.value.code == "ERROR: --chunks 0: not a valid value; give a whole number from 1 to 1000"
    with pytest.raises(SystemExit) as raised:
        arrays.main(["submit", "--dwca", "moths.zip", "--chnks", "2"])
    assert raised.value.code == 2
    assert capsys.readouterr().err == "ERROR: --chnks: there is no such parameter; did you mean --chunks?\n"
    with pytest.raises(SystemExit) as raised:
        arrays.main(["submit", "--dwca", "moths.zip", "--fetch", "maybe"])
    assert raised.value.code == "ERROR: --fetch maybe: not a valid value; give one of jobs, here, no"
    with pytest.raises(SystemExit) as raised:
        arrays.main(["submit", "--dwca", "moths.zip", "--fetch", "no", "--retry"])
    assert raised.value.code == (
        "ERROR: --retry: --fetch no downloads nothing; leave out one of the two (RETRY, FETCH)"
    )


def test_job_scripts_of_an_older_version_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "element.sh").write_text("module load python/3.12\n")
    with pytest.raises(SystemExit) as raised:
        arrays.main(["submit", "--dwca", "moths.zip", "--output", str(tmp_path), "--slurm-scripts", str(tmp_path)])
    assert re.fullmatch(
        rf"ERROR: --slurm-scripts {tmp_path}: these job scripts are not of this version .*; copy .*sbatch again, .*",
        str(raised.value.code),
    )
    assert capsys.readouterr().out == ""


SBATCH = """\
number=$(wc -l < "$0.calls")
[[ $1 == --test-only ]] && { echo "$@" >> "$0.tests"; exit 0; }
((number < ${ACCEPTED:-99})) || { echo 'sbatch: error: it is refused' >&2; exit 1; }
echo "$@" >> "$0.calls"
echo $((number + 100))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose Slurm has no jobs, and accepts as many as the variable ACCEPTED says."""
    scancel = 'echo "$@" >> "$0.calls"'
    scontrol = "echo MaxArraySize = 1001"
    for name, text in (("squeue", ""), ("scontrol", scontrol), ("sbatch", SBATCH), ("scancel", scancel)):
        (tmp_path / f"{name}.calls").touch()
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
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
    path = dataset.output / ".made" / "FetchChunk-00000.json"
    record = TargetRecord.load(path)
    assert record is not None
    removal = {**record.results[RESULT], "is_complete": False}  # as a killed run leaves it
    replace(record, results={**record.results, RESULT: removal}).save(path)
    assert " are being removed after the report" in run_arrays(dataset, environment, "status").stdout.splitlines()[-1]
    record.save(path)
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


def read_calls(environment: dict[str, str], name: str) -> list[str]:
    return (Path(environment["PATH"].partition(":")[0]) / name).read_text().splitlines()


def test_all_jobs_are_validated_before_the_first_and_a_refused_one_cancels_the_others(
    dataset: Dataset, environment: dict[str, str]
) -> None:
    (dataset.output / ".made" / "VerifyChunk-00001.json").unlink()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_arrays(dataset, environment | {"ACCEPTED": "2"}, "submit")
    assert refused.value.stderr.splitlines()[-1] == (
        "ERROR: sbatch refused the jobs of shards: sbatch: error: it is refused; correct the cause, and run the command "
        "again. 2 jobs submitted before it were cancelled"
    )
    assert refused.value.stdout == ""
    assert len(read_calls(environment, "sbatch.tests")) == 4
    assert read_calls(environment, "scancel.calls") == ["100 101"]
    assert not (dataset.output / "logs" / "job.json").exists()


def test_the_status_takes_the_options_from_the_record_of_the_job(
    dataset: Dataset, environment: dict[str, str], tmp_path: Path
) -> None:
    shared = [f"--scratch={tmp_path / 'scratch'}", "--same-taxonomy=true"]
    options = ["--CleanDataset-thumb-size", "90", "--chunks", "4", *shared]
    submitted = run_arrays(dataset, environment, "submit", *options)
    assert [line.split()[0] for line in submitted.stdout.splitlines()] == ["tables", "shards", "report"]
    assert submitted.stderr.splitlines()[0] == "CleanDataset: thumb_size changed from 64 to 90"
    for which in (["--output", str(dataset.output)], ["--dwca", str(dataset.archive), "--output", str(dataset.output)]):
        command = [sys.executable, "-m", "tasks.arrays", "status", *which]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        assert [line.split()[1] for line in ended.stdout.splitlines()[1:]] == ["1", "4", "4", "0", "0", "0"]
    record = json.loads((dataset.output / "logs" / "job.json").read_text())
    assert record["dwca"] == str(dataset.archive)
    assert record["jobs"] == ["100", "101", "102"]
    assert {"--CleanDataset-thumb-size=90", *shared} <= set(record["options"])
    for call in read_calls(environment, "sbatch.calls"):
        assert set(shared) <= set(call.split())


def test_the_download_in_the_submitting_process_gets_the_options_of_all_tasks(
    dataset: Dataset, environment: dict[str, str]
) -> None:
    (dataset.output / ".made" / "FetchChunk-00001.json").unlink()
    shared = ["--scratch=/local/me", "--store=packed", "--same-taxonomy=true"]
    lines = run_arrays(dataset, environment, "submit", "--dry-run", "--fetch", "here", *shared).stdout.splitlines()
    assert " -m tasks FetchImages " in lines[0]
    assert all(set(shared) <= set(line.split()) for line in lines)


def test_other_parameters_are_reported_and_refused_while_jobs_of_the_old_ones_are_queued(
    dataset: Dataset, environment: dict[str, str]
) -> None:
    run_arrays(dataset, environment, "submit", "--CleanDataset-thumb-size", "90")
    again = run_arrays(dataset, environment, "submit", "--CleanDataset-thumb-size", "80")
    assert "The parameters of CleanDataset are not those of the last submission. These count now." in again.stderr
    squeue = Path(environment["PATH"].partition(":")[0]) / "squeue"
    queued = ("7|RUNNING|None|||main|{}-tables", *(f"8_{n}|PENDING|Dependency|||main|{{}}-shards" for n in range(4)))
    lines = "".join(
        f"{line.format(name_dataset(dataset.output))}\n" for line in (*queued, "9|PENDING|x|||main|{}-report")
    )
    squeue.write_text(f"#!/bin/sh\necho '{lines}' | head -n 6\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_arrays(dataset, environment, "submit", "--CleanDataset-thumb-size", "70")
    assert "6 jobs with other parameters of CleanDataset are queued or running" in refused.value.stderr
    for limit in ((), ("--slurm-max-jobs", "5")):
        same = run_arrays(dataset, environment, "submit", "--CleanDataset-thumb-size", "80", *limit)
        assert same.stdout == "nothing to submit: this dataset has 6 jobs queued or running\n"


def test_without_fetching_all_chunks_have_to_be_downloaded_and_failures_are_left_alone(
    dataset: Dataset, environment: dict[str, str]
) -> None:
    (dataset.output / ".made" / "VerifyChunk-00002.json").unlink()
    ended = run_arrays(dataset, environment, "submit", "--fetch", "no", "--FetchChunk-retry-failed", "all")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["verify", "tables", "shards", "report"]
    assert "may succeed in another run: run `make fetch RETRY=1` where there is internet access" in ended.stderr
    assert not any("FetchChunk-concurrent" in call for call in read_calls(environment, "sbatch.calls"))
    packed = run_arrays(dataset, environment, "submit", "--dry-run", "--fetch", "no", "--store", "packed")
    assert "--store packed: FETCH=no copies no images; `make fetch` with this option does.\n" in packed.stderr
    for chunk in (1, 3):
        (dataset.output / ".made" / f"FetchChunk-{chunk:05d}.json").unlink()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_arrays(dataset, environment, "submit", "--fetch", "no")
    assert refused.value.stderr.splitlines()[-1] == (
        f"ERROR: --fetch no: {dataset.output}: 2 of 4 chunks are not downloaded (chunks 1,3); run `make fetch` with the "
        "same options on a machine with internet access, such as a login node, or use FETCH=here there"
    )


def test_a_limit_of_jobs_combines_chunks_and_is_refused_if_it_is_too_low(
    dataset: Dataset, environment: dict[str, str]
) -> None:
    for record in (dataset.output / ".made").glob("VerifyChunk-*.json"):
        record.unlink()
    ended = run_arrays(dataset, environment, "submit", "--slurm-max-jobs", "7", "--dry-run")
    assert ended.stderr.splitlines()[-1] == (
        "10 jobs are 3 too many: --slurm-max-jobs is 7, and 0 of your jobs are queued or running. Chunks are combined, so "
        "that 6 jobs are enough."
    )
    verify = ended.stdout.splitlines()[0]
    assert "--array=0-1%16" in verify
    assert " 0-3 2 " in verify
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run_arrays(dataset, environment, "submit", "--slurm-max-jobs", "3")
    assert refused.value.stderr.splitlines()[-1] == (
        "ERROR: make slurm: 10 jobs are 7 too many: --slurm-max-jobs is 3, and 0 of your jobs are queued or running. Even "
        "with one element in each array, 4 jobs are needed; choose an account, a QOS or a partition that allows 4 jobs, or "
        "use `--runner slurm`. Nothing was submitted"
    )
    assert read_calls(environment, "sbatch.calls") == []


def test_jobs_request_what_the_last_run_needed(dataset: Dataset, environment: dict[str, str]) -> None:
    fitted = run_arrays(
        dataset, environment, "submit", "--dry-run", "--slurm-fit", "yes", "--CleanDataset-thumb-size", "90"
    )
    tables, _, report = fitted.stdout.splitlines()  # the last run had no ShardChunk
    for line in (tables, report):
        assert re.search(r" --cpus-per-task=\d --mem=\d+M --time=15 ", line)
    own = ["--slurm-tables", "mem=3G"]
    fitted = run_arrays(
        dataset, environment, "submit", "--dry-run", "--slurm-fit", "yes", "--CleanDataset-thumb-size", "90", *own
    )
    assert re.search(r" --mem=\d+M --time=15 --mem=3G ", fitted.stdout.splitlines()[0])


@pytest.mark.parametrize("limit", [0, 3])
def test_a_refused_job_does_not_stop_the_download_and_is_submitted_later_within_the_limits(
    dataset: Dataset, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], limit: int,
) -> None:  # fmt: skip
    for chunk in range(4):
        (dataset.output / ".made" / f"VerifyChunk-{chunk:05d}.json").unlink()
    sbatch = tmp_path / "sbatch"
    accept_later = '[[ -e "$0.refused" ]] || { touch "$0.refused"; echo "Socket timed out" >&2; exit 1; }'
    sbatch.write_text(f"#!/bin/bash\n{accept_later}\n{SBATCH}touch {tmp_path / 'submitted'}\n")
    monkeypatch.setenv("PATH", environment["PATH"])
    monkeypatch.setattr(arrays, "FETCHED_SECONDS", 0.1)
    words = ["ReportDataset", f"--dwca={dataset.archive}", f"--output={dataset.output}", "--chunks=4", *QUICKLY]
    with CmdlineParser.global_instance(words) as command:
        report = command.get_task_obj()
        run = JobCommand(ROOT / "sbatch", sys.executable, ROOT, dataset.output, 4, ())
        download = ["bash", "-c", f"until [[ -e {tmp_path / 'submitted'} ]]; do sleep 0.1; done"]
        submitter = arrays.Submitter(report, run, download, Site(max_jobs=limit), arrays.HERE, dry_run=False)
        arrays._download_here(submitter, {"fetch": [], "verify": [0, 1, 2, 3]}, 4)
    assert capsys.readouterr().err.count("Socket timed out") == 1
    calls = read_calls(environment, "sbatch.calls")
    assert f"--array=0-{limit - 1 if limit else 3}%16" in calls[0]
    assert len(calls) == 1 or limit
