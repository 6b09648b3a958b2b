"""CreateWebDataset by the command: images that changed after they were verified."""

from pathlib import Path

import pytest

from tests.support.datasets import Dataset

OTHER_SHARDS = ("--CreateWebDataset-resize-min-size", "100")


@pytest.mark.slow
def test_changed_and_missing_images_are_in_no_shard_and_downloaded_by_the_next_run(
    dataset: Dataset, tmp_path: Path
) -> None:
    undisturbed = dataset.copy(tmp_path / "undisturbed")
    undisturbed.make(*OTHER_SHARDS, task="CreateWebDataset")
    rows = dataset.rows("splits/train.csv")
    changed, missing = (dataset.output / "images" / rows[number]["image_path"] for number in (0, 1))
    data = changed.read_bytes()
    changed.write_bytes(data[:-50] + bytes([data[-50] ^ 1]) + data[-49:])
    missing.unlink()
    before = dataset.shards()

    printed = dataset.fail(*OTHER_SHARDS, task="CreateWebDataset")
    assert (
        f"images: 1 changed and 1 missing images since they were verified, the first is {rows[0]['image_path']}"
        in (printed.replace("\n", " "))
        or f"the first is {rows[1]['image_path']}" in printed
    )
    assert "Traceback" not in printed
    assert not list((dataset.output / "shards").glob("*/*.tar"))
    errors = {row["image_path"]: (row["status"], row["error"]) for row in dataset.rows("fetched") if row["error"]}
    assert errors[rows[0]["image_path"]] == ("failed", "changed-file")
    assert errors[rows[1]["image_path"]] == ("failed", "missing-file")

    dataset.make(*OTHER_SHARDS, task="CreateWebDataset")
    assert changed.read_bytes() == data
    assert missing.exists()
    assert dataset.shards() == undisturbed.shards() != before
