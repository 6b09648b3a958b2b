"""The shards as a whole: what they contain, that their bytes are reproducible, and that a killed run continues."""

import contextlib
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.shards import shard_chunk
from gbif_webdataset.shards.create_webdataset import finish_shards
from gbif_webdataset.shards.plan_shards import Plan, prepare_plan
from gbif_webdataset.shards.shard_chunk import write_group
from tests.support.shard_run import RECIPE, SPLITS, ShardRun, encoded, hash_files, photo, sixty_moths


@pytest.fixture(autouse=True)
def as_many_processes_as_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The datasets of these tests are so small that one process would write them."""
    monkeypatch.setattr(shard_chunk, "SAMPLES_PER_PROCESS", 1)


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


def write_all(moths: ShardRun) -> Plan:
    """Plan the shards and write all groups of the plan, which is returned."""
    plan = prepare_plan(moths.folders(), RECIPE)
    for group in range(len(plan.groups)):
        write_group(moths.folders(), plan.digest, group, lambda samples: None)
    return plan


# Contents


def test_every_sample_decodes_and_has_the_class_of_its_label(moths: ShardRun) -> None:
    counts = moths.create(replace(RECIPE, columns_to_json=("label",)))
    categories = json.loads((moths.root / "shards/category_map.json").read_text())
    assert categories == {f"label {number}": number for number in range(5)}
    read = {}
    for split in SPLITS:
        paths = [str(path) for path in moths.shards() if path.parent.name == split]
        samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
        assert len(samples) == counts.samples[split] == len(moths.rows[split])
        for sample in samples:
            assert sample["jpg"].mode == "RGB"
            assert sample["cls"] == categories[sample["json"]["label"]]
            read[sample["__key__"]] = sample["json"]["label"]
    rows = [row for split in SPLITS for row in moths.rows[split]]
    assert read == {row["image_path"].removesuffix(".jpg"): row["label"] for row in rows}


def test_progress_rises_from_none_to_all_samples(moths: ShardRun) -> None:
    moths.create(workers=2)
    assert moths.progress[0] == (0, 60)
    assert moths.progress[-1] == (60, 60)
    assert moths.progress == sorted(moths.progress)


def test_no_shard_exceeds_max_shard_size_and_tar_reads_each(moths: ShardRun) -> None:
    recipe = replace(RECIPE, max_shard_size=60_000, columns_to_json=("country",))
    counts = moths.create(recipe)
    names: list[str] = []
    for path in moths.shards():
        assert path.stat().st_size <= 60_000
        names += subprocess.run(["tar", "tf", path], check=True, capture_output=True, text=True).stdout.split()
    assert len(names) == len(set(names)) == 60 * 3
    assert counts.shards == len(moths.shards()) > 6
    assert counts.bytes == sum(path.stat().st_size for path in moths.shards())


def test_shards_csv_lists_samples_bytes_and_sha256_of_each_shard(moths: ShardRun) -> None:
    moths.create()
    with (moths.root / "shards/shards.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["shard"] for line in lines if line["split"] == "val"] == ["val/val-000000.tar"]
    assert {line["shard"] for line in lines} == {str(p.relative_to(moths.root / "shards")) for p in moths.shards()}
    for line in lines:
        path = moths.root / "shards" / line["shard"]
        assert int(line["bytes"]) == path.stat().st_size
        assert line["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        with tarfile.open(path) as tar:
            assert int(line["samples"]) == len(tar.getnames()) / 2


def test_every_shard_has_an_index_that_finds_its_members(moths: ShardRun) -> None:
    moths.create(replace(RECIPE, max_shard_size=60_000, columns_to_json=("country",)))
    for path in moths.shards():
        head, *rows = path.with_suffix(".idx").read_text().splitlines()
        assert head == f"v1.2 {len(rows)}"
        data = path.read_bytes()
        for row in rows:
            fields = row.split(" ")
            members = {fields[at]: data[int(fields[at + 1]) :][: int(fields[at + 2])] for at in range(0, 12, 4)}
            assert members["jpg"][:2] == b"\xff\xd8"
            assert members["cls"].isdigit()
            assert members["json"] == b'{"country":"NA"}'


def test_max_shard_size_counts_the_headers_of_long_and_non_ascii_names(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    for number in range(30):
        run.add("train", f"{'ds' * 60}/é{number:03d}.jpg", encoded(photo(40, 30, number)))
    run.write()
    run.create(replace(RECIPE, max_shard_size=20_480))
    assert len(run.samples()) == 30
    assert max(path.stat().st_size for path in run.shards()) == 20_480


# The same input gives the same bytes


def test_the_bytes_are_the_same_for_any_number_of_workers_and_order_of_rows(moths: ShardRun) -> None:
    recipe = replace(RECIPE, max_shard_size=60_000, resize_min_size=100, columns_to_json=("remarks", "width"))
    moths.create(recipe)
    expected = hash_files(moths.root / "shards")
    moths.write(order=-1)
    moths.create(recipe, 3, "three-workers")
    assert hash_files(moths.root / "three-workers") == expected


def test_groups_written_in_reverse_order_give_the_same_shards(moths: ShardRun) -> None:
    moths.create()
    folders = moths.folders("by-group")
    plan = prepare_plan(folders, RECIPE)
    assert len(plan.groups) > 3
    for group in reversed(range(len(plan.groups))):
        with pytest.raises(MissingPieceError, match="of the shards is missing"):
            finish_shards(folders)
        write_group(folders, plan.digest, group, lambda samples: None)
    finish_shards(folders)
    assert hash_files(folders.shards) == hash_files(moths.root / "shards")


def test_the_seed_changes_only_the_order(moths: ShardRun) -> None:
    def keys(name: str) -> list[str]:
        return [sample["__key__"] for sample in moths.samples(name=name)]

    moths.create()
    moths.create(replace(RECIPE, seed=43), name="other")
    moths.create(replace(RECIPE, shuffle=False), name="sorted")
    assert keys("shards") != keys("other")
    assert sorted(keys("shards")) == sorted(keys("other")) == keys("sorted")


def test_another_recipe_replaces_all_older_shards(moths: ShardRun) -> None:
    moths.create(replace(RECIPE, max_shard_size=40_960, resize_min_size=50))
    before = len(moths.shards())
    moths.create(replace(RECIPE, max_shard_size=10_000_000))
    assert len(moths.shards()) == 3 < before
    moths.create(replace(RECIPE, max_shard_size=10_000_000), name="new")
    assert hash_files(moths.root / "shards") == hash_files(moths.root / "new")


def test_a_folder_whose_name_looks_like_a_url_pattern_is_written_and_read_back(moths: ShardRun) -> None:
    moths.create()
    moths.create(name="a b#c?{1..2}%20")
    assert hash_files(moths.root / "a b#c?{1..2}%20") == hash_files(moths.root / "shards")


def test_a_few_samples_are_written_by_threads_of_one_process(moths: ShardRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    moths.create(name="by-one-worker")
    monkeypatch.setattr(subprocess, "Popen", None)
    moths.create(workers=2)
    assert hash_files(moths.root / "shards") == hash_files(moths.root / "by-one-worker")


# Killed and started again

SCRIPT = """
import sys
from pathlib import Path
from gbif_webdataset.shards.create_webdataset import create_shards
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards import shard_chunk
from gbif_webdataset.shards.shard_files import ShardFolders
shard_chunk.SAMPLES_PER_PROCESS = 1
recipe = Recipe("label", max_shard_size=60_000, shuffle=True, seed=42, resize_min_size=80)
folders = ShardFolders(*(Path(sys.argv[1]) / name for name in ("splits", "images", "shards", "scratch")))
create_shards(folders, recipe, int(sys.argv[2]), lambda done, total: print(done, flush=True))
"""  # without a guard for __main__: a worker must not run it again


def start(root: Path, workers: int) -> "subprocess.Popen[str]":
    script = root / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(root), str(workers)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )


def count_written_groups(root: Path) -> int:
    return len(list((root / "shards/.parts").glob("group-*.json")))


def find_open_files(root: Path) -> list[Path]:
    """Files in the folder of the shards that some process has open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target.is_relative_to(root / "shards"):
                found.append(target)
    return found


@pytest.mark.parametrize(
    ("workers", "groups", "number"),
    [
        (1, 1, signal.SIGKILL),
        (2, 2, signal.SIGKILL),
        pytest.param(2, 4, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2, 3, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_that_is_repeated_gives_the_bytes_of_an_undisturbed_run(
    moths: ShardRun, workers: int, groups: int, number: signal.Signals
) -> None:
    photos = [encoded(photo(320, 240, seed), quality=80) for seed in range(5)]
    for more in range(150):  # so many that the run can be killed in the middle
        moths.add("train", f"ds2/{more}.jpg", photos[more % 5], "label 1")
    moths.write()
    recipe = replace(RECIPE, max_shard_size=60_000, resize_min_size=80)
    moths.create(recipe, name="undisturbed")
    process = start(moths.root, workers)
    while count_written_groups(moths.root) < groups:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert count_written_groups(moths.root) >= groups
    assert not moths.shards()
    deadline = time.monotonic() + 10
    while find_open_files(moths.root):
        assert time.monotonic() < deadline, "a worker runs longer than its caller"
        time.sleep(0.05)
    moths.create(recipe)
    assert moths.progress[-1] == (210, 210)
    assert hash_files(moths.root / "shards") == hash_files(moths.root / "undisturbed")
    assert sorted(path.name for path in (moths.root / "shards").iterdir()) == sorted(
        [
            ".nv-meta",
            "_info.json",
            "class_weights.json",
            "categories.json",
            "category_map.json",
            "classes.csv",
            "dropped.csv",
            "shards.csv",
            *SPLITS,
        ]
    )


def test_a_run_that_is_killed_while_it_renames_parts_continues(moths: ShardRun) -> None:
    moths.create(name="undisturbed")
    write_all(moths)
    folder = moths.root / "shards"
    (folder / "train").mkdir()
    (folder / ".parts/group-000000-000.tar").rename(folder / "train/train-000000.tar")
    (folder / ".parts/.tmp-left").write_bytes(b"half")
    moths.create()
    assert moths.progress[-1] == (60, 60)
    assert hash_files(folder) == hash_files(moths.root / "undisturbed")


def test_only_missing_groups_are_written_again(moths: ShardRun) -> None:
    moths.create(name="undisturbed")
    plan = write_all(moths)
    folder = moths.root / "shards"
    (folder / f".parts/group-{len(plan.groups) - 1:06d}.json").unlink()
    part = folder / ".parts/group-000001-000.tar"
    part.write_bytes(part.read_bytes()[:5000])
    untouched = (folder / ".parts/group-000000-000.tar").stat().st_ino
    moths.create()
    assert (folder / "train/train-000000.tar").stat().st_ino == untouched
    assert hash_files(folder) == hash_files(moths.root / "undisturbed")
