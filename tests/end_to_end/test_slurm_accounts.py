"""A cluster with accounts, limits, preemption, and jobs that are not requeued by default (JobRequeue=0)."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sample.server import PhotoServer
from tests.support.datasets import Dataset
from tests.support.slurm_cluster import Cluster, why_not
from tests.support.slurm_database import PROGRAMS
from tests.support.slurm_dataset import SLOWLY, OnSlurm

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def the_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not(*PROGRAMS):
        pytest.skip(f"optional: {reason}")
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    with Cluster(folder, accounts=True, requeue=False, urgent=True) as cluster:
        for name, limit in (("small", 9), ("tiny", 3)):
            cluster.said("sacctmgr", "--immediate", "add", "qos", name, f"MaxSubmitJobsPerUser={limit}")
        cluster.said("sacctmgr", "--immediate", "modify", "user", "root", "set", "qos+=small,tiny")
        yield cluster


def test_a_limit_of_a_qos_combines_chunks_and_the_shards_are_the_same(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-options", "qos=small")
    ended = dataset.run_arrays("submit")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "15 jobs are 6 too many: MaxSubmitJobsPerUser of QOS small is 9, and 0 of your jobs are queued or running. Chunks "
        "are combined, so that 9 jobs are enough."
    )
    assert [line.split()[1] for line in ended.stdout.splitlines() if "element" in line] == ["2", "2", "2"]
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert dataset.shards() == made.shards()
    sources = {(row["stage"], row["source"]) for row in dataset.rows("report/costs.csv")}
    assert {("fetch", "Slurm"), ("verify", "Slurm"), ("shards", "Slurm")} <= sources


def test_a_limit_that_cannot_be_met_is_refused_with_its_numbers_before_anything_is_submitted(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-options", "qos=tiny")
    ended = dataset.run_arrays("submit")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == (
        "ERROR: make slurm: 15 jobs are 12 too many: MaxSubmitJobsPerUser of QOS tiny is 3, and 0 of your jobs are queued "
        "or running. Even with one element in each array, 6 jobs are needed; choose an account, a QOS or a partition that "
        "allows 6 jobs, or use `--runner slurm`. Nothing was submitted"
    )
    assert cluster.jobs() == []


def test_the_qos_of_one_stage_limits_the_jobs_of_this_stage(cluster: Cluster, made: Dataset, tmp_path: Path) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-shards", "qos=tiny")
    ended = dataset.run_arrays("submit", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "4 jobs are 1 too many: MaxSubmitJobsPerUser of QOS tiny is 3, and 0 of your jobs are queued or running. Chunks are "
        "combined, so that 3 jobs are enough."
    )


def test_the_limit_of_the_association_counts_all_jobs_of_the_user(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    cluster.said("sacctmgr", "--immediate", "modify", "user", "root", "set", "MaxSubmitJobs=12")
    try:
        for _ in range(2):
            cluster.said("sbatch", "--hold", "--chdir", str(tmp_path), "--wrap", "true")
        dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
        ended = dataset.run_arrays("submit", "--dry-run")
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(
            "15 jobs are 5 too many: MaxSubmitJobs of account moths is 12, and 2 of your jobs are queued or running."
        )
    finally:
        cluster.said("sacctmgr", "--immediate", "modify", "user", "root", "set", "MaxSubmitJobs=-1")


@pytest.mark.parametrize("options", ["qos=none", "mem=999G", "partition=none"])
def test_a_job_that_slurm_would_refuse_is_refused_before_any_is_submitted(
    cluster: Cluster, made: Dataset, tmp_path: Path, options: str
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-shards", options)
    ended = dataset.run_arrays("submit")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ERROR: sbatch would refuse the jobs of shards: " in ended.stderr
    assert ended.stderr.endswith("in shards.sbatch. Nothing was submitted\n")
    assert cluster.jobs() == []


def test_a_preempted_element_returns_to_the_queue_and_continues(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, tmp_path: Path
) -> None:
    slow_photos.delay = 1.0
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *SLOWLY)
    dataset.submit()
    dataset.wait_for_photos(slow_photos, 8)
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--chdir", str(tmp_path), "--wrap", "sleep 2"]
    cluster.said(*urgent)
    cluster.wait_for(lambda: any(" RUNNING " in job and "wrap" in job for job in cluster.jobs()), 90)
    settled, asked = dataset.settled(), len(slow_photos.requests)
    slow_photos.delay = 0
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert dataset.shards() == made.shards()
    assert settled
    assert not settled & {slow_photos.url + path for path, _ in slow_photos.requests[asked:]}
    attempts = [path.read_text().count("--- job ") for path in dataset.output.glob("logs/fetch-*.log")]
    assert max(attempts) == 2


def test_the_driver_works_inside_an_interactive_job(cluster: Cluster, made: Dataset, tmp_path: Path) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    options = ("--runner", "slurm", "--workers", "2", "--slurm-options", "mem=1G")
    command = dataset.command(*options, task="VerifyImages")
    ended = subprocess.run(
        ["salloc", "--mem-per-cpu=100", "--cpus-per-task=1", *command],
        cwd=dataset.root, env=cluster.environment, capture_output=True, text=True, timeout=240, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "fetch: 4 chunks in " in ended.stderr
    assert (dataset.output / "verified.parquet").is_file()


def test_a_line_of_srun_that_is_fatal_is_shown(cluster: Cluster, made: Dataset, tmp_path: Path) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    driver = dataset.driver("--slurm-fetch", "mem=1G mem-per-cpu=1G", task="FetchImages")
    _, told = driver.communicate(timeout=240)
    assert driver.returncode != 0
    assert "mutually exclusive" in told
