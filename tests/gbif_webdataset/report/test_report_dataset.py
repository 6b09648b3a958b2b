import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.account.costs import SLURM, Cost
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.read.provenance import NO_DOI
from gbif_webdataset.report.report_dataset import Report, report_dataset
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord
from tests.support.published import Dataset, download, keep, write_stages
from tests.support.shard_run import RECIPE


def record(task: str, results: dict[str, Any], **parameters: Any) -> TargetRecord:
    return TargetRecord(task, Fingerprint(1, parameters), results=results, seconds=2.0, peak_bytes=1000)


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    """Five images in the shards, one that was not downloaded."""
    dataset = Dataset(tmp_path)
    for number, split in enumerate(("train", "train", "train", "val", "test")):
        dataset.image(split, str(number), label=f"moth {number % 2}")
    dataset.write()
    dataset.create()
    keep(download(tmp_path / "archive.zip"), tmp_path / "manifest")
    write_stages(dataset)
    return dataset


def report(
    dataset: Dataset,
    media_lines: int = 6,
    slurm_costs: tuple[Cost, ...] = (),
    notes: Sequence[str] = (),
    publication: Publication | None = None,
) -> Report:
    archive = {"media_lines": media_lines, "media_files": ["multimedia.txt"], "notes": list(notes)}
    recipe = {**dataclasses.asdict(RECIPE), "image_format": "jpg", "columns_to_json": "", "shards": 3}
    records = {
        "ReadArchive": record("ReadArchive", archive, subset_list="/home/me/moths.txt"),
        "FetchChunk-00000": record("FetchChunk-00000", {}, retries=3, chunk=0),
        "FetchChunk-00001": record("FetchChunk-00001", {}, retries=3, chunk=1),
        "SplitDataset": record("SplitDataset", {}, category_key="label", val_frac=0.1, test_frac=0.2),
        "PlanShards": record("PlanShards", {}, only_in_the_plan=1),
        "CreateWebDataset": record("CreateWebDataset", {"shards": 3, "turned": 4}, **recipe),
    }
    return report_dataset(
        [dataset.root / "archive.zip"],
        DatasetPaths.under(dataset.root),
        records,
        publication or Publication(),
        slurm_costs,
    )


def test_the_report_has_the_accounting_the_costs_the_page_and_the_published_files(moths: Dataset) -> None:
    written = {path.relative_to(moths.root).as_posix() for path in report(moths).files}
    assert {"accounting.csv", "report/costs.csv", "report/index.html", "report/figures/funnel.svg"} <= written
    assert {f"{folder}/{name}" for folder in ("report", "shards") for name in ("README.md", "CITATION.cff")} <= written
    assert all((moths.root / name).is_file() for name in written)


def test_the_summary_counts_samples_and_dropped_images(moths: Dataset) -> None:
    lines = report(moths).summary.splitlines()
    assert lines[0].split("  ")[0] == "5 samples of 2 classes, from 6 media"
    assert lines[0].endswith(f" open {moths.root}/report/index.html")
    assert lines[1:3] == ["  splits     train 3, val 1, test 1", "  left out   1 not downloaded"]
    assert "  check      1 class has no validation image: moth 0; 1 class has no test image: moth 1" in lines
    line = f'wds.WebDataset("{moths.root}/shards/train/train-000000.tar", shardshuffle=100)'
    place = lines.index(f"  train      {line}")
    assert lines[place + 1] == f'             load_dataset("{moths.root}/shards", split="train")'


def test_images_that_are_not_accounted_for_are_an_error(moths: Dataset) -> None:
    with pytest.raises(MissingPieceError, match="the archive has 7 media, but 6 are accounted for"):
        report(moths, media_lines=7)


def test_costs_are_those_of_the_records_in_their_order_and_then_those_of_slurm(moths: Dataset) -> None:
    report(moths, slurm_costs=(Cost("fetch", "0", 3600.0, 1 << 20, SLURM),))
    with (moths.root / "report" / "costs.csv").open(newline="") as file:
        rows = [(row["stage"], row["part"], row["source"]) for row in csv.DictReader(file)]
    assert rows == [
        ("ReadArchive", "", "own record"), ("FetchChunk", "00000", "own record"), ("FetchChunk", "00001", "own record"),
        ("SplitDataset", "", "own record"), ("PlanShards", "", "own record"), ("CreateWebDataset", "", "own record"),
        ("fetch", "0", "Slurm"),
    ]  # fmt: skip


def test_the_page_lists_the_parameters_of_tasks_but_neither_chunks_nor_those_of_parts_of_the_shards(
    moths: Dataset,
) -> None:
    report(moths)
    page = (moths.root / "report" / "index.html").read_text(encoding="utf-8")
    assert "<td>retries</td>" in page
    assert "<td>chunk</td>" not in page
    assert "only_in_the_plan" not in page


def test_the_summary_ends_with_the_notes_on_the_archive(moths: Dataset) -> None:
    assert report(moths, notes=["meta.xml: a fault"]).summary.endswith("\n  note       meta.xml: a fault")
    keep(download(moths.root / "archive.zip", members={"metadata.xml": "<eml/>"}), moths.root / "manifest")
    without_doi = report(moths, notes=["meta.xml: a fault", NO_DOI]).summary.splitlines()
    assert without_doi[-2:] == ["  note       meta.xml: a fault", f"  note       {NO_DOI}"]
    with_doi = report(moths, notes=[NO_DOI], publication=Publication(doi="10.15468/dl.abcdef")).summary
    assert "note" not in with_doi
