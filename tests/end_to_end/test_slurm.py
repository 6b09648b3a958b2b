"""The same dataset by job arrays, and by a driver with an allocation for each chunk, on a real Slurm of two nodes."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset
from tests.support.slurm_cluster import Cluster
from tests.support.slurm_dataset import SLOWLY, WORKERS, OnSlurm

pytestmark = pytest.mark.system

SOON = 15.0


def test_job_arrays_make_the_shards_that_the_command_makes_and_are_never_doubled(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    told = dataset.submit()
    assert [line.split()[0] for line in told.splitlines()] == ["read", "fetch", "verify", "tables", "shards", "report"]
    numbers = {line.split()[-1] for line in told.splitlines()}
    again = dataset.submit()
    assert re.fullmatch(r"nothing to submit: this dataset has \d+ jobs? queued or running\n", again)
    assert {job.split()[0].partition("_")[0] for job in cluster.jobs()} <= numbers
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert cluster.jobs() == []
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")


def test_the_driver_makes_the_same_shards_on_a_cluster_without_accounts(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    sacct = subprocess.run(["sacct"], env=cluster.environment, capture_output=True, check=False)
    assert sacct.returncode != 0, "this cluster keeps accounts"
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    driver = dataset.driver()
    _, told = driver.communicate(timeout=240)
    assert driver.returncode == 0, told
    assert dataset.shards() == made.shards()
    assert f"and {dataset.output}/logs for the progress and the errors of each job" in told
    assert {"fetch: 4 chunks", "verify: 4 chunks"} <= {line.partition(" in ")[0] for line in told.splitlines()}
    chunks = {f"{task}-{chunk:05}.log" for task in ("FetchChunk", "VerifyChunk") for chunk in range(4)}
    assert chunks | {"ShardChunk-00000.log"} <= {log.name for log in (dataset.output / "logs").iterdir()}


def test_what_fails_is_cancelled_requeued_or_killed_sinks_nothing_else_and_one_more_submission_repairs_it(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, tmp_path: Path
) -> None:
    slow_photos.delay, first = 1.0, len(slow_photos.requests)
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *SLOWLY)
    dataset.submit()
    dataset.wait_for_photos(slow_photos, 16)
    nodes = dataset.nodes_of("fetch")
    assert sorted(nodes.values()) == ["a", "a", "b", "b"]
    (cancelled, requeued), (killed, failing) = (
        [element for element, at in sorted(nodes.items()) if at == node] for node in "ab"
    )
    obstacle = dataset.output / "fetched" / f"chunk-{failing:05}.parquet"
    (obstacle / "in-the-way").mkdir(parents=True)
    array = dataset.array("fetch")
    cluster.kill_node("b")
    cluster.said("scancel", f"{array}_{cancelled}")
    cluster.said("scontrol", "requeue", f"{array}_{requeued}")
    settled, asked = dataset.settled(), len(slow_photos.requests)
    assert settled
    cluster.wait_for_node("b", "down", "down*")
    cluster.start_node("b")
    dataset.wait()

    told = dataset.status()
    assert dataset.row("fetch") == ["2", "0", "0", "2", "0"], told
    assert dataset.row("verify") == ["2", "0", "0", "0", "2"], told
    for stage in ("tables", "report"):
        assert dataset.row(stage) == ["0", "0", "0", "0", "1"], told
    assert dataset.row("shards") == ["0", "0", "0", "0", "4"], told
    assert cluster.jobs() == []
    assert re.search(rf"^fetch {failing}: .*{re.escape(str(obstacle))}", told, re.MULTILINE)
    assert re.search(rf"fetch {cancelled}: .*CANCELLED", told)
    for element in (requeued, killed):
        assert (dataset.output / "verified" / f"chunk-{element:05}.parquet").is_file()

    settled_then, asked_then = dataset.settled(), len(slow_photos.requests)
    (obstacle / "in-the-way").rmdir()
    obstacle.rmdir()
    slow_photos.delay = 0
    told = dataset.submit()
    assert re.findall(r"^(?:fetch|verify) +(\d) elements", told, re.MULTILINE) == ["2", "2"]
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert cluster.jobs() == []
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")
    requests = [(slow_photos.url + path, status) for path, status in slow_photos.requests]
    assert not settled & {url for url, _ in requests[asked:]}
    assert not settled_then & {url for url, _ in requests[asked_then:]}
    wanted = Counter(row["identifier"] for row in dataset.rows("manifest"))  # not where some are redirected to
    answered = Counter(url for url, status in requests[first:] if status == 200 and url in wanted)
    assert (answered - wanted).total() <= 4 * WORKERS, "more than what was under way"


def test_an_element_at_its_time_limit_goes_back_to_the_queue_and_goes_on_where_it_was(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, tmp_path: Path
) -> None:
    slow_photos.delay, first = 2.0, len(slow_photos.requests)
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *SLOWLY, "--slurm-fetch", "time=1", chunks=1)
    dataset.submit()
    attempts: set[str] = set()

    def is_ended() -> bool:
        for log in dataset.output.glob("logs/fetch-*.log"):
            attempts.update(line for line in log.read_text().splitlines() if line.startswith("--- job "))
        return not cluster.jobs()

    cluster.wait_for(is_ended, 600)
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    [log] = dataset.output.glob("logs/fetch-*.log")
    assert "the time limit is near: the results are kept, and the job returns to the queue" in log.read_text()
    assert log.read_text().count("--- job ") <= 3
    ends = len(attempts) - 1
    assert log.read_text().endswith("ended with status 0\n")
    wanted = Counter(row["identifier"] for row in dataset.rows("manifest"))  # not where some are redirected to
    urls = (slow_photos.url + path for path, status in slow_photos.requests[first:] if status == 200)
    answered = Counter(url for url in urls if url in wanted)
    assert (answered - wanted).total() <= ends * WORKERS, "more than what was under way"
    assert dataset.shards() == made.shards()


def test_a_driver_that_is_ended_gives_its_allocations_back_at_once_and_the_same_command_goes_on(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, tmp_path: Path
) -> None:
    slow_photos.delay = 1.0
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *SLOWLY)
    settled: list[tuple[set[str], int]] = []
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        driver = dataset.driver()
        try:
            dataset.wait_for_photos(slow_photos, 6)
            assert len(cluster.jobs()) == 4
            if end == signal.SIGINT:
                os.killpg(driver.pid, end)
            else:
                driver.send_signal(end)
            driver.communicate(timeout=SOON)
            cluster.wait_until_empty(SOON)
        finally:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
        assert driver.returncode != 0
        time.sleep(slow_photos.delay)  # what was under way is answered in vain
        settled.append((dataset.settled(), len(slow_photos.requests)))
    slow_photos.delay = 0
    driver = dataset.driver()
    _, told = driver.communicate(timeout=240)
    assert driver.returncode == 0, told
    assert dataset.shards() == made.shards()
    for urls, asked in settled:
        assert urls
        assert not urls & {slow_photos.url + path for path, _ in slow_photos.requests[asked:]}


@pytest.mark.parametrize(
    ("task", "lacks"),
    [("FetchChunk", "ReadArchive"), ("VerifyChunk", "FetchChunk-00000"), ("ShardChunk", "PlanShards")],
)
def test_an_element_without_its_input_says_so_and_makes_nothing(dataset: Dataset, task: str, lacks: str) -> None:
    folders = {"FetchChunk": "manifest", "VerifyChunk": "fetched", "ShardChunk": "shards"}
    for name in list(folders.values())[list(folders).index(task) :]:
        shutil.rmtree(dataset.output / name)
    before = sorted(dataset.output.rglob("*"))
    words = dataset.command("--chunk", "0", "--runner", "element", "--no-lock", task=task)
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 30
    lines = ended.stderr.splitlines()
    assert lines == [
        f"ERROR: {lacks}: the output of this earlier stage is missing and another Slurm job has to create it. Run `make slurm` again to submit that job"
    ]
    assert sorted(dataset.output.rglob("*")) == before


HOSTILE = 'it\'s "a" $(touch pwned) `touch pwned` ${HOME} %j%A%% \n;touch pwned;#&|<>*?[!] \u00e9'


@pytest.mark.parametrize("way", ["arrays", "driver"])
def test_no_name_of_a_folder_or_an_archive_is_executed(
    way: str, cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    root = tmp_path / f"root {HOSTILE}"
    root.mkdir()
    (root / "luigi.cfg").symlink_to(ROOT / "luigi.cfg")
    archive = Path(shutil.copy(made.archive, root / f"-archive {HOSTILE}.zip"))
    dataset = OnSlurm(cluster, Path(archive.name), Path(f"-output {HOSTILE}"), root=root)
    if way == "arrays":
        dataset.submit()
        cluster.wait_until_empty()
        assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    else:
        driver = dataset.driver()
        _, told = driver.communicate(timeout=240)
        assert driver.returncode == 0, told
    dataset.output = root / dataset.output
    assert dataset.shards() == made.shards()
    assert not [path for path in [*tmp_path.rglob("*"), *ROOT.glob("*")] if path.name.startswith("pwned")]
    assert {path.name for path in root.iterdir()} == {"luigi.cfg", archive.name, dataset.output.name}


def test_job_arrays_with_images_in_packs_make_the_same_shards(cluster: Cluster, made: Dataset, tmp_path: Path) -> None:
    packs = ("--store", "packed", "--FetchChunk-pack-bytes", "300000")
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *packs)
    dataset.submit()
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert {path.suffix for path in (dataset.output / "images").rglob("*") if path.is_file()} == {".idx", ".tar"}
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")


def test_an_element_with_several_chunks_fails_with_one_of_them_and_one_more_submission_repairs_it(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-max-jobs", "8")
    dataset.make(task="ReadArchive")
    obstacle = dataset.output / "fetched" / "chunk-00002.parquet"
    (obstacle / "in-the-way").mkdir(parents=True)
    assert re.findall(r"^(\w+) +(\d) elements? ", dataset.submit(), re.MULTILINE) == [
        ("fetch", "2"), ("verify", "2"), ("shards", "2"),
    ]  # fmt: skip
    dataset.wait()
    status = dataset.status()
    assert dataset.row("fetch")[:5] == ["3", "0", "0", "1", "0"], status
    assert dataset.row("verify") == ["2", "0", "0", "0", "2"], status
    assert re.search(rf"^fetch 2: .*{re.escape(str(obstacle))}", status, re.MULTILINE)
    shutil.rmtree(obstacle)
    submitted = dataset.submit("--slurm-max-jobs", "7")
    assert re.findall(r"^(\w+) +(\d) elements? ", submitted, re.MULTILINE) == [
        ("fetch", "1"), ("verify", "1"), ("shards", "2"),
    ]  # fmt: skip
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert dataset.shards() == made.shards()
    assert {log.name for log in dataset.output.glob("logs/verify-*")} == {"verify-0-of-2.log", "verify-1-of-2.log"}


def test_shards_are_written_from_packs_that_are_copied_to_the_disk_of_the_node(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    scripts, disk = Path(shutil.copytree(ROOT / "sbatch", tmp_path / "scripts")), tmp_path / "disk of the node"
    disk.mkdir()
    element = scripts / "element.sh"
    element.write_text(f"export SLURM_TMPDIR={shlex.quote(str(disk))}\n{element.read_text()}")
    packed = ("--store", "packed", "--CreateWebDataset-shuffle-images", "false")
    dataset = OnSlurm(
        cluster, made.archive, tmp_path / "dataset", *packed, "--slurm-scripts", str(scripts), "--slurm-stage-in", "auto",
        chunks=1,
    )  # fmt: skip
    dataset.submit()
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    text = (dataset.output / "logs" / "shards-0.log").read_text()
    assert re.search(rf"^1 pack \(.* MB\) copied to {re.escape(str(disk))}$", text, re.MULTILINE), text
    assert not list(disk.glob(".tmp-packs-*"))
    plain = Dataset(made.archive, tmp_path / "plain", 1)
    shutil.copytree(
        dataset.output, plain.output, ignore=shutil.ignore_patterns("shards", "logs", "CreateWebDataset.json")
    )
    plain.make("--CreateWebDataset-shuffle-images", "false")
    assert dataset.shards() == plain.shards()


def test_a_folder_that_slurm_would_take_for_another_is_refused(cluster: Cluster, made: Dataset, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tasks.arrays", "submit", "--dwca", str(made.archive), "--output"]
    ended = subprocess.run(
        [*words, f"{tmp_path}/back\\slash"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("ERROR: --output ")
    assert "backslash" in ended.stderr
    assert cluster.jobs() == []
