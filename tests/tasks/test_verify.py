"""Verifying by the command: the columns of verified.parquet, `strict`, and a run without simplejpeg."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from sample.server import PhotoServer
from tasks.verify import WITHOUT_SIMPLEJPEG
from tests.support.datasets import ROOT, Dataset, archive_of
from tests.support.faulty_server import FaultyServer


def valid_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """The rows of the images that can be used."""
    return [row for row in dataset.rows("verified.parquet") if row["valid"]]


def test_measurements_are_in_verified_parquet(made: Dataset) -> None:
    rows = made.rows("verified.parquet")
    for row in valid_rows(made):
        assert len(row["perceptual_hash"]) == 16
        assert (row["warning"], row["flat"]) == ("", False)
    turned = [row for row in rows if (row["width"], row["height"]) != (row["stored_width"], row["stored_height"])]
    assert turned
    assert all((row["height"], row["width"]) == (row["stored_width"], row["stored_height"]) for row in turned)


def test_images_with_warnings_are_kept_and_with_strict_deleted(made: Dataset, tmp_path: Path) -> None:
    urls = [row["identifier"] for row in made.rows("fetched")]
    row = next(row for row in made.rows("splits/train.csv") if urls.count(row["identifier"]) == 1)
    cache = shutil.copytree(made.output / "images", tmp_path / "cache")
    whole = (cache / row["image_path"]).read_bytes()
    (cache / row["image_path"]).write_bytes(whole[:-2] + bytes(500) + whole[-2:])
    dataset = Dataset(made.archive, tmp_path / "dataset")
    cached = ("--FetchChunk-cache-path", str(cache))

    dataset.make(*cached, task="CleanDataset")
    warned = {row["image_path"]: row["warning"] for row in dataset.rows("clean.parquet") if row["warning"]}
    assert warned == {row["image_path"]: "padding"}

    dataset.make(*cached, "--VerifyChunk-strict", "true")
    assert not (dataset.output / "images" / row["image_path"]).exists()
    counted = {line["reason"]: line["images"] for line in dataset.rows("accounting.csv") if line["stage"] == "verify"}
    assert counted["padding"] == "1"


def test_without_simplejpeg_the_run_prints_it_once_and_pillow_decodes(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "simplejpeg.py").write_text("raise ImportError('no wheel for this machine')\n")
    before = valid_rows(dataset)
    again = dataset.command("--VerifyChunk-max-pixels", "99999999", "--workers", "2", task="VerifyImages")

    ended = subprocess.run(
        again,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(WITHOUT_SIMPLEJPEG) == 1
    assert valid_rows(dataset) == before


def test_the_share_of_temporary_failures_counts_for_all_chunks_together(tmp_path: Path) -> None:
    with FaultyServer() as server:
        urls = [f"{server.url}/500", *(f"{server.url}/photo/{number}" for number in range(5))]
        dataset = Dataset(archive_of(tmp_path / "a.zip", urls), tmp_path / "dataset", chunks=6)
        printed = dataset.fail("--FetchChunk-max-failed-share", "0.1", task="VerifyImages")
        assert (
            "ERROR: VerifyImages: --FetchChunk-max-failed-share 0.1: 1 of all 6 images had temporary failures "
            "(server-error 1); check the network and run the same command again with RETRY=1"
        ) in printed
        dataset.make(task="VerifyImages")
    assert len(valid_rows(dataset)) == 5


def test_one_more_column_is_added_without_a_download_and_without_decoding(
    dataset: Dataset, photos: PhotoServer
) -> None:
    before, asked = valid_rows(dataset), len(photos.requests)
    image = dataset.output / "images" / before[0]["image_path"]
    image.write_bytes(bytes(image.stat().st_size))  # decoding it would fail
    dataset.make("--CreateWebDataset-columns-to-json", "occurrenceStatus", task="VerifyImages")
    after = valid_rows(dataset)
    assert len(photos.requests) == asked
    assert {row["occurrenceStatus"] for row in after} == {"PRESENT"}
    assert [{name: row[name] for name in before[0]} for row in after] == before
