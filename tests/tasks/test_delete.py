from pathlib import Path

from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from sample.server import PhotoServer
from tests.support.datasets import Dataset


def images_in_splits(dataset: Dataset) -> set[str]:
    return {row["image_path"] for split in SPLITS_OF_CLASSES for row in dataset.rows(f"splits/{split}.csv")}


def list_two_images(dataset: Dataset, listing: Path) -> dict[str, str]:
    """Write a list of two images of the dataset; their paths and URLs."""
    rows = dataset.rows("splits/train.csv")[3:20:10]
    listing.write_text("".join(f"{row['image_path']}\n" for row in rows))
    return {row["image_path"]: row["identifier"] for row in rows}


def test_listed_images_are_deleted_and_downloaded_again_only_on_request(
    dataset: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    listing = tmp_path / "list.txt"
    chosen = list_two_images(dataset, listing)
    others = images_in_splits(dataset) - chosen.keys()
    deletion = ("--DeleteImages-image-list", str(listing))

    dataset.make(*deletion)

    assert images_in_splits(dataset) == others
    assert not any((dataset.output / "images" / path).exists() for path in chosen)
    lines = {line["image_path"]: line for line in dataset.rows("deleted.csv")}
    for path, identifier in chosen.items():
        assert (lines[path]["identifier"], lines[path]["reason"]) == (identifier, "listed")
        assert lines[path]["deleted_at"].endswith("Z")
    accounting = dataset.rows("accounting.csv")
    assert {"stage": "delete", "reason": "deleted", "images": "2"} in accounting

    requests = len(photos.requests)
    dataset.chunks = 3
    dataset.make(*deletion)
    assert not {photos.url + path for path, _ in photos.requests[requests:]} & set(chosen.values())
    assert images_in_splits(dataset) == others
    assert dataset.rows("accounting.csv") == accounting

    dataset.make("--FetchChunk-refetch-deleted", task="FetchImages")
    requested = {photos.url + path for path, _ in photos.requests[requests:]}
    assert set(chosen.values()) <= requested
    assert all((dataset.output / "images" / path).exists() for path in chosen)


def test_a_dry_run_deletes_nothing_and_lists_what_it_would_delete(dataset: Dataset, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    chosen = list_two_images(dataset, listing)
    with listing.open("a") as file:
        file.write("nowhere/1.jpg\n")
    images = {path: path.stat().st_mtime_ns for path in (dataset.output / "images").rglob("*.jpg")}
    deleted = (dataset.output / "deleted.csv").read_bytes()

    dataset.make("--DeleteImages-image-list", str(listing), "--DeleteImages-dry-run", task="DeleteImages")

    assert {path: path.stat().st_mtime_ns for path in (dataset.output / "images").rglob("*.jpg")} == images
    assert (dataset.output / "deleted.csv").read_bytes() == deleted
    would = {line["image_path"] for line in dataset.rows("would-delete.csv") if line["reason"] == "listed"}
    assert would == chosen.keys()
    assert dataset.rows("unmatched-images.csv") == [{"image_path": "nowhere/1.jpg"}]


def test_the_lists_of_a_dry_run_may_be_edited_and_deleted(dataset: Dataset, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    list_two_images(dataset, listing)
    with listing.open("a") as file:
        file.write("nowhere/1.jpg\n")
    deletion = ("--DeleteImages-image-list", str(listing))
    dataset.make(*deletion, "--DeleteImages-dry-run", task="DeleteImages")
    unmatched = dataset.output / "unmatched-images.csv"

    unmatched.write_text(unmatched.read_text().replace("nowhere", "NOWHERE"))
    (dataset.output / "would-delete.csv").unlink()
    dataset.make("--FetchChunk-refetch-deleted", task="FetchImages")
    dataset.make(*deletion, task="DeleteImages")
    unmatched.write_text(unmatched.read_text().replace("nowhere", "NOWHERE"))
    dataset.make(*deletion, task="CleanDataset")


def test_a_list_with_a_path_outside_images_deletes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    chosen = list_two_images(dataset, listing)
    outside = dataset.output / "clean.parquet"
    listing.write_text(listing.read_text() + "../clean.parquet\n")

    error = dataset.fail("--DeleteImages-image-list", str(listing), task="DeleteImages")

    assert "line 3" in error
    assert "Traceback" not in error
    assert outside.exists()
    assert all((dataset.output / "images" / path).exists() for path in chosen)
