"""AuditDataset finds what happened to the files of a dataset, and with --repair the next run makes them again."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gbif_webdataset.storage.target_record import TargetRecord
from sample.server import PhotoServer
from tests.support.audited_folder import AuditedFolder
from tests.support.datasets import ROOT, Dataset
from tests.support.file_damage import DAMAGES, SWAPPED, ZEROED, damage_file, pick_other, swap_files

SEED = 20_261_128
ROUNDS, CHANGES = 8, 25
SMALL_SHARDS = ("--CreateWebDataset-max-shard-size", "300000")
TABLES = ("manifest/*", "fetched/chunk-*.parquet", "verified/*", "*.parquet", "errors.csv", "deleted.csv", "splits/*")
TABLES += ("shards/*.csv", "shards/*.json", "accounting.csv", "report/*.parquet")
GROUPS = {
    "images": ("images/*/*",),
    "tables": TABLES,
    "shards": ("shards/*/*.tar",),
    "indexes": ("shards/*/*.idx",),
    "records": (".made/*.json",),
}


@pytest.fixture(scope="module")
def sound(small_archive: Path, photos: PhotoServer, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with many small shards, which tests leave as it is."""
    dataset = Dataset(small_archive, tmp_path_factory.mktemp("sound") / "dataset")
    dataset.make(*SMALL_SHARDS)
    return dataset


def audit(dataset: Dataset, *arguments: str) -> "subprocess.CompletedProcess[str]":
    ended = dataset.run(*arguments, task="AuditDataset")
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    return ended


def findings(dataset: Dataset) -> dict[str, str]:
    """The kind of each file that differs."""
    return {row["file"]: row["kind"] for row in dataset.rows("audit.csv")}


def change_files(dataset: Dataset, rng: random.Random) -> dict[str, str]:
    """Make CHANGES changes, as many in each group and of each kind; what was done to each file.

    A file whose record is changed is left as it is, because nothing says then what it was. So the record of the shards
    is not changed.
    """
    output, changed = dataset.output, dict[str, str]()
    unchecked: set[str] = set()
    for group in ("records", "tables", "images", "shards", "indexes"):
        files = sorted({path for pattern in GROUPS[group] for path in output.glob(pattern) if path.is_file()})
        for damage in rng.sample(DAMAGES, len(DAMAGES)):
            names = {path.relative_to(output).as_posix(): path for path in files}
            free = [path for name, path in names.items() if name not in changed and name not in unchecked]
            free = [path for path in free if path.stat().st_size and path.stem != "CreateWebDataset"]
            path = rng.choice(free)
            both = [path, pick_other(path, free, rng)] if damage == SWAPPED else [path]
            for one in both:
                changed[one.relative_to(output).as_posix()] = damage
                if group == "records" and (record := TargetRecord.load(one)):
                    unchecked.update(record.files)
            if damage == SWAPPED:
                swap_files(*both)
            else:
                damage_file(path, damage, rng)
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_every_seeded_change_is_found_and_after_repair_and_a_run_the_shards_are_those_of_an_undisturbed_job(
    sound: Dataset, tmp_path: Path, seed: int
) -> None:
    dataset = sound.copy(tmp_path / "dataset")
    changed = change_files(dataset, random.Random(seed))
    assert sorted(changed.values()) == sorted(list(DAMAGES) * len(GROUPS) + [SWAPPED] * len(GROUPS))

    ended = audit(dataset)
    assert ended.returncode not in (0, 40)
    found = findings(dataset)
    assert changed.keys() - found.keys() == set()
    assert {name: found[name] for name in found.keys() - changed.keys() if found[name] != "not-recorded"} == {}

    assert audit(dataset, "--repair").returncode == 0
    dataset.make(*SMALL_SHARDS)
    assert dataset.shards() == sound.shards()
    assert dataset.rows("accounting.csv") == sound.rows("accounting.csv")
    ended = audit(dataset)
    assert (ended.returncode, dataset.rows("audit.csv")) == (0, []), ended.stdout


def kill_audit(folder: AuditedFolder, after_bytes: int) -> None:
    """Run an audit, and kill it when its progress file has so many bytes."""
    progress, end = folder.paths.audit_progress, time.monotonic() + 60
    command = [sys.executable, "-m", "tasks", "AuditDataset", f"--output={folder.paths.output}", "--num-workers", "1"]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while run.poll() is None and time.monotonic() < end:
        if progress.exists() and progress.stat().st_size >= after_bytes:
            run.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    assert run.wait() == -signal.SIGKILL, "the audit ended before it could be killed"


@pytest.mark.slow
def test_an_audit_that_is_killed_continues_and_finds_the_same(tmp_path: Path) -> None:
    folder = AuditedFolder(tmp_path / "dataset", chunks=60, images=300)
    rng = random.Random(SEED)
    for path in rng.sample(sorted(folder.paths.images.rglob("*.jpg")), 200):
        damage_file(path, rng.choice(DAMAGES[:4]), rng)
    kill_audit(folder, after_bytes=1_000)
    kill_audit(folder, after_bytes=3_000)
    dataset = Dataset(tmp_path / "no-archive.zip", folder.paths.output)
    ended = dataset.run(task="AuditDataset")
    assert re.search(r"an audit that was stopped had read (\d+) parts", ended.stdout)
    continued = folder.paths.audit_table.read_bytes()
    assert len(continued.splitlines()) == 201
    assert not folder.paths.audit_progress.exists()
    for workers in ("1", "2", "5"):
        again = dataset.run("--AuditDataset-num-workers", workers, task="AuditDataset")
        assert "stopped" not in again.stdout
        assert folder.paths.audit_table.read_bytes() == continued


@pytest.mark.slow
def test_a_damaged_ledger_is_restored_from_its_verified_table_and_nothing_is_downloaded_again(
    sound: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    dataset = sound.copy(tmp_path / "dataset")
    ledger = dataset.output / "fetched" / "chunk-00000.parquet"
    before = [row for row in dataset.rows("fetched") if row["status"] != "failed"]
    damage_file(ledger, ZEROED, random.Random(SEED))
    told = dataset.fail("--FetchChunk-retry-failed", "all", *SMALL_SHARDS)
    assert f"{ledger}: differs from what was written; run `make audit ARGS=--AuditDataset-repair`" in told
    requests = len(photos.requests)

    assert audit(dataset, "--repair").returncode == 0
    dataset.make(*SMALL_SHARDS)

    downloaded = {photos.url + path for path, _ in photos.requests[requests:]}
    assert not downloaded & {row["identifier"] for row in before}
    assert [row for row in dataset.rows("fetched") if row["status"] != "failed"] == before
    assert dataset.shards() == sound.shards()


@pytest.mark.slow
def test_an_audit_beside_a_run_that_makes_everything_again_reports_no_damage(
    sound: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    dataset = sound.copy(tmp_path / "dataset")
    command = dataset.command("--CleanDataset-thumb-size", "70", "--FetchChunk-retry-failed", "all", *SMALL_SHARDS)
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    audits = 0
    while run.poll() is None:
        audit(dataset)
        assert set(findings(dataset).values()) <= {"temporary"}
        audits += 1
    assert run.returncode == 0
    assert audits
    assert audit(dataset).returncode == 0
