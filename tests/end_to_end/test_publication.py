"""The files that ReportDataset writes beside the shards, compared with the shards themselves."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.publish.description import Shard
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.shards.shard_files import PUBLISHED_FILES
from tests.support.datasets import ROOT, Dataset, digest
from tests.support.loading_code import find_blocks, run_code

SPLITS = ("train", "val", "test")


def keys(dataset: Dataset) -> Counter[tuple[str, str]]:
    """The samples in the tars, by split and key."""
    found: Counter[tuple[str, str]] = Counter()
    for path in (dataset.output / "shards").glob("*/*.tar"):
        with tarfile.open(path) as tar:
            found.update(
                (path.parent.name, name.removesuffix(".cls")) for name in tar.getnames() if name.endswith("cls")
            )
    return found


def test_each_sample_in_the_tars_has_one_row_of_attribution(made: Dataset) -> None:
    rows = made.rows("report/attribution.parquet")
    assert Counter((row["split"], row["key"]) for row in rows) == keys(made)
    manifest = {row["image_path"]: row for row in made.rows("manifest")}
    for row in rows:
        source = manifest[row["image_path"]]
        assert row["license"] == source["mediaLicense"]
        assert row["licenseCode"] == source["licenseCode"]
        assert row["rightsHolder"] == (source["mediaRightsHolder"] or source["rightsHolder"])
        assert (row["creator"], row["references"]) == (source["mediaCreator"], source["mediaReferences"])
        assert row["identifier"] == source["identifier"]


def test_the_derived_dataset_counts_the_occurrences_in_the_tars(made: Dataset) -> None:
    used = {key.split("/")[0]: set() for _, key in keys(made)}
    for _, key in keys(made):
        dataset, name = key.split("/")
        used[dataset].add(name.split("_")[0])
    lines = (made.output / "report" / "derived_dataset.csv").read_text().splitlines()
    assert {line.split(",")[0]: int(line.split(",")[1]) for line in lines} == {k: len(v) for k, v in used.items()}


def test_report_and_shards_have_the_same_files(made: Dataset) -> None:
    for name in PUBLISHED_FILES:
        assert digest(made.output / "report" / name) == digest(made.output / "shards" / name)
    record = json.loads((made.output / ".made" / "ReportDataset.json").read_text())
    assert {f"{folder}/{name}" for folder in ("report", "shards") for name in PUBLISHED_FILES} <= set(record["files"])


def test_a_new_title_and_authors_rebuild_the_report_only(dataset: Dataset) -> None:
    shards, before = dataset.shards(), (dataset.output / "splits" / "train.csv").stat().st_mtime_ns
    dataset.make("--ReportDataset-title", "Moths: a set", "--ReportDataset-authors", "A. B; C # D", "--ReportDataset-url",
                 "https://x.example/moths")  # fmt: skip
    cff = yaml.safe_load((dataset.output / "shards" / "CITATION.cff").read_text())
    assert (cff["title"], cff["url"]) == ("Moths: a set", "https://x.example/moths")
    assert cff["authors"] == [{"name": "A. B"}, {"name": "C # D"}]
    assert dataset.shards() == shards
    assert (dataset.output / "splits" / "train.csv").stat().st_mtime_ns == before


def test_new_shards_have_no_card_of_the_old_ones(dataset: Dataset) -> None:
    dataset.make("--SplitDataset-random-seed", "7", task="CreateWebDataset")
    assert not [name for name in PUBLISHED_FILES if (dataset.output / "shards" / name).exists()]
    dataset.make("--SplitDataset-random-seed", "7")
    assert Counter((row["split"], row["key"]) for row in dataset.rows("shards/attribution.parquet")) == keys(dataset)


def test_source_and_rights_are_written_with_the_manifest(made: Dataset) -> None:
    source = json.loads((made.output / "manifest" / "source.json").read_text())
    assert source["sha256"] == digest(made.archive)
    assert source["doi"] == "10.15468/dl.sample"
    assert (made.output / "manifest" / "rights.txt").read_bytes() == (
        made.output / "report" / "rights.txt"
    ).read_bytes()


def test_the_code_of_the_readme_is_that_of_the_sample_and_runs_on_it(
    made: Dataset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive").symlink_to(made.output)
    blocks = find_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    shards = [Shard(row["split"], row["shard"], int(row["samples"]), 0, "") for row in made.rows("shards/shards.csv")]
    code = write_loading_code("data/archive/shards", shards, ["jpg"])
    assert [block.strip() for block in blocks] == [code.webdataset, code.hugging_face]
    samples = sum(shard.samples for shard in shards if shard.split == "train")
    assert len(run_code(blocks[0], monkeypatch, tmp_path)["seen"]) == samples
    assert len(run_code(blocks[1], monkeypatch, tmp_path)["train"]) == samples


def test_the_code_of_the_card_runs_beside_the_shards(
    made: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Counter(split for split, _ in keys(made))["train"]
    blocks = find_blocks((made.output / "report" / "README.md").read_text(encoding="utf-8"))
    assert len(run_code(blocks[0], monkeypatch, made.output)["seen"]) == samples
    for block in blocks[1:]:
        rows = list(run_code(block, monkeypatch, made.output)["train"])
        assert len(rows) == samples
        assert all(row["jpg"].size for row in rows)
