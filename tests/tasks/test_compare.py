"""What a newer dataset changed: told, drawn, and written line by line, each time that it is asked for."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.compare import compare_datasets, comparison_page
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord, record_path
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.datasets import ROOT, Dataset
from tests.support.published import HOSTILE

DROPPED = ("stage", "reason", "image_path", "identifier", "coreid")


class Output:
    """An output folder by hand: splits, and what each stage dropped."""

    def __init__(self, folder: Path, label_column: str = "species") -> None:
        self.folder, self.label_column = folder, label_column
        self.rows: dict[str, list[tuple[str, str, str]]] = {split: [] for split in SPLITS_OF_CLASSES}
        self.lost: dict[str, list[tuple[str, str, str]]] = {"rejected": [], "failed": [], "clean": [], "split": []}

    def add(self, split: str, coreid: str, label: str = "moth", url: str = "") -> None:
        self.rows[split].append((coreid, url or f"http://x.example/{coreid}", label))

    def lose(self, where: str, coreid: str, reason: str) -> None:
        self.lost[where].append((coreid, f"http://x.example/{coreid}", reason))

    def write(self) -> Path:
        for name in ("splits", "manifest", "fetched"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        record = TargetRecord("CreateWebDataset", Fingerprint(1, {"label_column": self.label_column}))
        record.save(record_path(self.folder, "CreateWebDataset"))
        for split, rows in self.rows.items():
            lines = [[coreid, url, f"d/{coreid}.jpg", label] for coreid, url, label in rows]
            self._csv(f"splits/{split}.csv", ["coreid", "identifier", "image_path", self.label_column], lines)
        dropped = [["split", reason, f"d/{coreid}.jpg", url, coreid] for coreid, url, reason in self.lost["split"]]
        self._csv("splits/dropped.csv", DROPPED, dropped)
        self._table("manifest/rejected.parquet", self.lost["rejected"], ("coreid", "identifier", "reason"))
        self._table("manifest/chunk-00000.parquet", self.lost["failed"], ("coreid", "identifier", "image_path"))
        failed = [(image, "failed", image) for _, _, image in self.lost["failed"]]
        self._table("fetched/chunk-00000.parquet", failed, ("image_path", "status", "error"))
        cleaned = [("clean", reason, "d/x.jpg", url, coreid) for coreid, url, reason in self.lost["clean"]]
        self._table("clean-dropped.parquet", cleaned, DROPPED)
        return self.folder

    def _csv(self, name: str, columns: object, rows: list[list[str]]) -> None:
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])

    def _table(self, name: str, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> None:
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        pq.write_table(pa.table([pa.array(v, pa.string()) for v in values], names=list(columns)), self.folder / name)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Output, Output]:
    """Of ten images one stays, one has another label, one another split, one both; three go, three come."""
    old, new = Output(tmp_path / "old"), Output(tmp_path / "new")
    for output, changed in ((old, ("a", "train", "a", "train")), (new, ("b", "test", "b", "val"))):
        output.add("train", "same")
        output.add("train", "label", changed[0])
        output.add(changed[1], "split")
        output.add(changed[3], "both", changed[2])
    for coreid in ("small", "gone", "failed"):
        old.add("test", coreid)
    new.lose("rejected", "small", "no-url")
    new.lose("clean", "small", "thumbnail")
    new.lose("failed", "failed", "not-found")
    for coreid in ("new", "once-small", "once-rare"):
        new.add("val", coreid)
    old.lose("clean", "once-small", "thumbnail")
    old.lose("split", "once-rare", "under-min-instances")
    return old, new


def found(two: tuple[Output, Output], tmp_path: Path) -> tuple[compare_datasets.Comparison, list[dict[str, str]]]:
    old, new = (output.write() for output in two)
    comparison = compare_datasets.compare(old, new, tmp_path / "comparison.csv", tmp_path / "scratch")
    with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as file:
        return comparison, list(csv.DictReader(file))


def test_each_image_that_differs_has_a_line_that_says_how_and_why(two: tuple[Output, Output], tmp_path: Path) -> None:
    comparison, rows = found(two, tmp_path)
    assert {row["coreid"]: (row["change"], row["stage"], row["reason"]) for row in rows} == {
        "label": ("label", "", ""), "split": ("split", "", ""), "both": ("label-and-split", "", ""),
        "small": ("dropped", "clean", "thumbnail"), "failed": ("dropped", "fetch", "not-found"),
        "gone": ("dropped", "read", "not-in-archive"), "new": ("added", "read", "not-in-archive"),
        "once-small": ("added", "clean", "thumbnail"), "once-rare": ("added", "split", "under-min-instances"),
    }  # fmt: skip
    by_id = {row["coreid"]: row for row in rows}
    assert [by_id["both"][name] for name in ("old_split", "new_split", "old_label", "new_label")] == (
        ["train", "val", "a", "b"]
    )
    assert comparison.changes == {
        "unchanged": 1, "label": 1, "split": 1, "label-and-split": 1, "added": 3, "dropped": 3
    }  # fmt: skip
    assert (comparison.total(0), comparison.total(1)) == (7, 7)
    assert comparison.classes == [("a", "b", 2)]


def test_an_image_is_another_where_its_url_is(two: tuple[Output, Output], tmp_path: Path) -> None:
    old, new = Output(tmp_path / "old"), Output(tmp_path / "new")
    old.add("train", "1", url="http://x.example/a")
    new.add("train", "1", url="http://x.example/b")
    comparison, _ = found((old, new), tmp_path)
    assert comparison.changes == {"added": 1, "dropped": 1}


def test_the_drawing_has_a_bar_a_split_and_a_ribbon_for_each_way(two: tuple[Output, Output], tmp_path: Path) -> None:
    comparison, _ = found(two, tmp_path)
    nodes, flows, height = comparison_page.draw(comparison)
    assert [node.name for node in nodes] == [
        "train",
        "test",
        "not there before",
        "train",
        "val",
        "test",
        "no longer there",
    ]
    assert {flow.told for flow in flows} == {
        "train to train: 2", "train to test: 1", "train to val: 1", "test to absent: 3", "absent to val: 3"
    }  # fmt: skip
    assert Counter(flow.kind for flow in flows) == {"move": 2, "stay": 1, "go": 1, "come": 1}
    assert all(node.y > 0 and node.y + node.height < height for node in nodes)


def test_hostile_labels_and_names_stay_texts(tmp_path: Path) -> None:
    old, new = Output(tmp_path / "old", HOSTILE[2]), Output(tmp_path / "new", HOSTILE[0])
    for number, name in enumerate(HOSTILE):
        old.add("train", f"{number}", name)
        new.add("train", f"{number}", f"{name}!")
    comparison, rows = found((old, new), tmp_path)
    assert {row["old_label"] for row in rows} == set(HOSTILE)
    page = tmp_path / "page.html"
    comparison_page.write_page(page, (old.folder, HOSTILE[2]), (new.folder, HOSTILE[0]), comparison, tmp_path / "c.csv")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|a|link)\b", text)


def test_nothing_in_either_is_no_reason_to_fail(tmp_path: Path) -> None:
    comparison, rows = found((Output(tmp_path / "old"), Output(tmp_path / "new")), tmp_path)
    assert (comparison.changes, rows, comparison_page.draw(comparison)[0]) == ({}, [], [])


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (".made/CreateWebDataset.json", "holds no dataset; give the --output of a run that came as far as its splits"),
        ("splits/val.csv", r"val.csv: the split is missing; run SplitDataset again"),
    ],
)
def test_a_folder_without_a_dataset_gets_a_sentence(
    two: tuple[Output, Output], tmp_path: Path, removed: str, told: str
) -> None:
    old, new = (output.write() for output in two)
    (new / removed).unlink()
    with pytest.raises(MissingPieceError, match=told):
        compare_datasets.compare(old, new, tmp_path / "comparison.csv", tmp_path / "scratch")
    assert not (tmp_path / "comparison.csv").exists()


# By the command


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "CompareDatasets", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_tells_each_time_and_writes_into_the_newer_report(dataset: Dataset, made: Dataset) -> None:
    dataset.make("--SplitDataset-random-seed", "7")
    for _ in range(2):
        ended = run("--old", str(made.output), "--new", str(dataset.output))
        assert ended.returncode == 0, ended.stderr
        rows = dataset.rows("report/comparison.csv")
        total = sum(len(dataset.rows(f"splits/{split}.csv")) for split in SPLITS_OF_CLASSES)
        assert f"{total:,} images before, {total:,} now" in ended.stdout
        assert {row["change"] for row in rows} == {"split"}
        assert f"{len(rows):,} in another split" in ended.stdout
        assert "<svg" in (dataset.output / "report" / "comparison.html").read_text()
    assert not (made.output / "report" / "comparison.csv").exists()


@pytest.mark.parametrize(("old", "told"), [(".", "holds no dataset"), ("/nowhere", "there is no folder /nowhere")])
def test_the_command_says_in_a_sentence_that_there_is_no_dataset(tmp_path: Path, old: str, told: str) -> None:
    ended = run("--old", old if old != "." else str(tmp_path), "--new", str(tmp_path))
    assert ended.returncode != 0
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_make_compare_runs_it() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "compare", "OLD=data/a", "NEW=data/b"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "CompareDatasets --old 'data/a' --new 'data/b'" in ended.stdout
