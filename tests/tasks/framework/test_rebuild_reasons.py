"""Why stages are built again: the lines that the command prints before it starts, or instead with --plan."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset, lines_of, with_lines

AFTER_CLEAN = [
    "SplitDataset: CleanDataset will run again",
    "CreateWebDataset: SplitDataset will run again",
    "ReportDataset: CreateWebDataset will run again",
]
AFTER_VERIFY = [
    "DeleteImages: VerifyImages will run again",
    "CleanDataset: DeleteImages will run again",
    *AFTER_CLEAN,
]
AFTER_FETCH = [
    "VerifyChunk: 4 chunks, FetchChunk will run again",
    "VerifyImages: VerifyChunk will run again",
    *AFTER_VERIFY,
]
AFTER_READ = ["FetchChunk: 4 chunks, ReadArchive will run again", *AFTER_FETCH]
NOTHING = ["Nothing to do: everything is up to date."]


def change_record(dataset: Dataset, label: str, **values: Any) -> None:
    """Change what a record says that the target was made from, without a checksum as in 0.4; None removes a parameter."""
    path = dataset.output / ".made" / f"{label}.json"
    record = json.loads(path.read_text())
    record.pop("checksum", None)
    record["made_from"]["format"] = values.pop("format", record["made_from"]["format"])
    record["made_from"]["parameters"].update(values)
    parameters = record["made_from"]["parameters"]
    record["made_from"]["parameters"] = {name: value for name, value in parameters.items() if value is not None}
    path.write_text(json.dumps(record))


def snapshot(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Every file with its inode, size and time of modification."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in found.items()}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--CleanDataset-thumb-size", "100"], "thumb_size changed from 64 to 100"),
        (["--CleanDataset-remove-flat", "true"], "remove_flat changed from false to true"),
        (["--CleanDataset-ignore-dataset-by-key", "a,b"], "ignore_dataset_by_key changed from none to a,b"),
        (
            ["--CleanDataset-thumb-size", "100", "--CleanDataset-near-distance", "3"],
            "near_distance changed from 6 to 3; thumb_size changed from 64 to 100",
        ),
    ],
)
def test_a_changed_parameter_is_named_with_both_values(made: Dataset, arguments: list[str], reason: str) -> None:
    assert made.plan(*arguments) == [f"CleanDataset: {reason}", *AFTER_CLEAN]


def test_a_stage_whose_reason_lies_upstream_and_in_itself_names_its_own(made: Dataset) -> None:
    lines = made.plan("--CleanDataset-thumb-size", "100", "--SplitDataset-test-frac", "0.3")
    assert lines == [
        "CleanDataset: thumb_size changed from 64 to 100",
        "SplitDataset: test_frac changed from 0.2 to 0.3",
        *AFTER_CLEAN[1:],
    ]


def test_a_file_that_a_parameter_names_is_named_when_its_content_changed(dataset: Dataset, tmp_path: Path) -> None:
    stages = tmp_path / "life_stages.csv"
    stages.write_text("image_path,life_stage_prediction\n")
    argument = f"--CleanDataset-life-stage-predictions={stages}"
    assert dataset.plan(argument) == [
        f"CleanDataset: life_stage_predictions changed from none to {stages}",
        *AFTER_CLEAN,
    ]
    dataset.make(argument)
    assert dataset.plan(argument) == NOTHING
    stages.write_text("image_path,life_stage_prediction\na/b.jpg,adult\n")
    assert dataset.plan(argument) == [
        "CleanDataset: the file life_stages.csv that life_stage_predictions names changed",
        *AFTER_CLEAN,
    ]


def test_a_folder_that_a_parameter_names_is_named_when_its_files_changed(dataset: Dataset, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for split in ("train", "val", "test"):
        (earlier / f"{split}.csv").write_bytes((dataset.output / "splits" / f"{split}.csv").read_bytes())
    argument = f"--SplitDataset-previous-splits={earlier}"
    dataset.make(argument, task="SplitDataset")
    with (earlier / "val.csv").open("a") as file:
        file.write("\n")
    assert dataset.plan(argument, task="SplitDataset") == [
        "SplitDataset: the folder earlier that previous_splits names changed"
    ]


def test_an_archive_that_changed_is_named(dataset: Dataset) -> None:
    head, *lines = lines_of(dataset.archive, "multimedia.txt")
    original = dataset.archive.rename(dataset.archive.with_name("original.zip"))
    with_lines(original, dataset.archive, {"multimedia.txt": [head, *reversed(lines)]})
    assert dataset.plan() == [f"ReadArchive: {dataset.archive.name} changed", *AFTER_READ]


def test_another_number_of_chunks_is_named(dataset: Dataset) -> None:
    dataset.chunks = 3
    assert dataset.plan(task="FetchImages") == [
        "ReadArchive: chunks changed from 4 to 3",
        "FetchChunk: 3 chunks, ReadArchive will run again",
    ]


def test_a_target_of_an_older_version_is_named(dataset: Dataset) -> None:
    change_record(dataset, "CleanDataset", format=1)
    assert dataset.plan() == ["CleanDataset: made by an older version", *AFTER_CLEAN]


def test_a_file_that_is_missing_or_cut_is_named(dataset: Dataset) -> None:
    (dataset.output / "clean.parquet").unlink()
    with (dataset.output / "splits" / "val.csv").open("r+b") as file:
        file.truncate(10)
    assert dataset.plan() == [
        "CleanDataset: clean.parquet is missing",
        "SplitDataset: splits/val.csv has the wrong size",
        *AFTER_CLEAN[1:],
    ]


def test_chunks_are_summed_up_by_reason(dataset: Dataset) -> None:
    for chunk in (0, 1):
        (dataset.output / "verified" / f"chunk-{chunk:05d}.parquet").unlink()
    (dataset.output / ".made" / "VerifyChunk-00003.json").unlink()
    assert dataset.plan()[0] == (
        "VerifyChunk: 2 of 4 chunks, verified/chunk-*.parquet is missing; 1 of 4 chunks, not made yet"
    )


def test_a_chunk_alone_is_named(dataset: Dataset) -> None:
    (dataset.output / "verified" / "chunk-00002.parquet").unlink()
    assert dataset.plan()[0] == "VerifyChunk: chunk 2, verified/chunk-00002.parquet is missing"


def test_failures_that_will_be_retried_are_named_and_rebuild_nothing_downstream(made: Dataset) -> None:
    lines = made.plan("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0")
    assert len(lines) == 1
    assert lines[0].startswith("FetchChunk: ")
    assert lines[0].endswith(" failed downloads will be retried")


def test_a_stage_that_an_earlier_command_rebuilt_is_named_by_the_next_stage(dataset: Dataset) -> None:
    arguments = ("--CleanDataset-remove-duplicate-url", "none")
    dataset.make(*arguments, task="CleanDataset")
    assert dataset.plan(*arguments) == ["SplitDataset: CleanDataset changed", *AFTER_CLEAN[1:]]


def test_a_dataset_that_is_not_made_is_planned_stage_by_stage(small_archive: Path, tmp_path: Path) -> None:
    new = Dataset(small_archive, tmp_path / "dataset")
    assert new.plan() == [
        "ReadArchive: not made yet",
        "FetchChunk: 4 chunks, not made yet",
        "VerifyChunk: 4 chunks, not made yet",
        *(f"{stage}: not made yet" for stage in ("VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset")),
        "CreateWebDataset: not made yet",
        "ReportDataset: not made yet",
    ]
    assert not new.output.exists()


@pytest.mark.parametrize("arguments", [(), ("--CleanDataset-thumb-size", "100")])
def test_a_plan_changes_no_file_and_asks_no_server(
    made: Dataset, photos: PhotoServer, arguments: tuple[str, ...]
) -> None:
    before, requests = snapshot(made.output), len(photos.requests)
    without_scheduler = ("--local-scheduler", "false", "--scheduler-port", "9", "--workers", "3")
    assert made.plan(*without_scheduler, *arguments, "--FetchChunk-retry-failed", "all")
    assert snapshot(made.output) == before
    assert len(photos.requests) == requests


def test_a_plan_of_a_dataset_that_is_up_to_date_says_so(made: Dataset) -> None:
    assert made.plan() == NOTHING


def test_a_plan_of_an_archive_that_is_missing_fails_with_a_sentence(made: Dataset, tmp_path: Path) -> None:
    gone = Dataset(tmp_path / "gone.zip", made.output)
    ended = gone.run("--plan")
    assert ended.returncode == 40
    assert len(ended.stderr.splitlines()) == 1
    assert "gone.zip" in ended.stderr


def test_a_run_prints_the_reasons_before_it_starts(dataset: Dataset) -> None:
    arguments = ("--SplitDataset-max-instances", "5")
    ended = dataset.run(*arguments, task="SplitDataset")
    assert ended.returncode == 0
    assert ended.stderr == "SplitDataset: max_instances changed from 0 to 5\n"
    assert dataset.run(*arguments, task="SplitDataset").stderr == ""


def test_a_first_run_prints_no_reasons(small_archive: Path, tmp_path: Path) -> None:
    ended = Dataset(small_archive, tmp_path / "dataset").run(task="ReadArchive")
    assert ended.returncode == 0
    assert "not made yet" not in ended.stderr


def test_a_record_without_a_new_parameter_and_with_a_removed_one_is_up_to_date(dataset: Dataset) -> None:
    change_record(dataset, "CleanDataset", near_distance=None, remove_blurred=True)
    change_record(dataset, "SplitDataset", place_km=None, holdout_frac=None)
    assert dataset.plan() == NOTHING
    assert dataset.plan("--CleanDataset-near-distance", "5")[0] == "CleanDataset: near_distance changed from 6 to 5"


@pytest.mark.parametrize(
    ("target", "words"),
    [("clean", "CleanDataset --plan"), ("dataset", "ReportDataset --plan"), ("fetch", "PlanFetch")],
)
def test_make_takes_plan(target: str, words: str) -> None:
    command = ["make", "--dry-run", target, "PLAN=1", "DWCA=a.zip"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert words in printed


def test_a_damaged_record_counts_as_absent_with_a_line_that_names_it(dataset: Dataset) -> None:
    path = dataset.output / ".made" / "SplitDataset.json"
    path.write_bytes(path.read_bytes().replace(b"42", b"43"))
    lines = dataset.plan()
    assert lines[0] == f"SplitDataset: its record {path} does not match its checksum"
    before = dataset.shards()
    dataset.make()
    assert dataset.shards() == before
    assert dataset.plan() == ["Nothing to do: everything is up to date."]
