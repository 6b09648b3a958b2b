"""Which stages are rebuilt after a change, and which are not. Present images are never fetched again.

One photo of the archive is always answered with HTTP 500, a temporary failure, which each run retries.
"""

import os
import shutil
from pathlib import Path

from sample.server import PhotoServer
from tests.support.datasets import Dataset, digest, lines_of, of_occurrences, some_occurrences, with_lines


def _stamps(dataset: Dataset, *names: str) -> dict[str, tuple[int, int]]:
    """Time of modification and inode of each file below these paths."""
    places = [dataset.output / name for name in names]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino) for file in files if file.is_file()}


def _short_media(dataset: Dataset) -> list[int]:
    """The line numbers of media with too few fields."""
    rejected = dataset.rows("manifest/rejected.parquet")
    return [row["line"] for row in rejected if (row["file"], row["reason"]) == ("multimedia.txt", "ragged-line")]


def test_another_share_for_test_remakes_splits_shards_and_report_alone(dataset: Dataset, photos: PhotoServer) -> None:
    upstream = ("manifest", "fetched", "images", "verified", "verified.parquet", "deleted.csv", "clean.parquet")
    stays = _stamps(dataset, *upstream)
    goes = _stamps(dataset, "splits", "shards/shards.csv", "accounting.csv", "report")
    before = dataset.rows("splits/test.csv")
    requests = len(photos.requests)

    dataset.make("--SplitDataset-test-frac", "0.4")

    assert photos.requests[requests:] == []
    assert _stamps(dataset, *upstream) == stays
    now = _stamps(dataset, "splits", "shards/shards.csv", "accounting.csv", "report")
    assert now.keys() == goes.keys()
    assert not set(now.items()) & set(goes.items())
    assert len(dataset.rows("splits/test.csv")) > len(before)
    samples = {
        line["reason"]: int(line["images"]) for line in dataset.rows("accounting.csv") if line["stage"] == "sample"
    }
    assert samples == {split: len(dataset.rows(f"splits/{split}.csv")) for split in ("train", "val", "test")}


def test_a_newer_archive_fetches_what_is_new_and_ends_as_a_run_from_scratch(
    dataset: Dataset, whole_sample: Path, photos: PhotoServer, tmp_path: Path
) -> None:
    chosen, others = some_occurrences()
    had = {row["identifier"] for row in dataset.rows("fetched")}
    of_occurrences(whole_sample, dataset.archive, [*chosen[3:-5], *others])
    requests = len(photos.requests)

    dataset.make()

    asked = {photos.url + path for path, _ in photos.requests[requests:]}
    wanted = {row["identifier"] for row in dataset.rows("manifest")}
    gone = had - wanted
    assert gone
    may_pass = {row["identifier"] for row in dataset.rows("fetched") if row["error"] == "server-error"}
    assert asked - may_pass == wanted - had != set()

    scratch = Dataset(dataset.archive, tmp_path / "scratch")
    scratch.make()
    assert dataset.shards() == scratch.shards()
    assert dataset.rows("accounting.csv") == scratch.rows("accounting.csv")


def test_media_in_another_order_fetch_nothing_and_change_no_shard(dataset: Dataset, photos: PhotoServer) -> None:
    shards, requests = dataset.shards(), len(photos.requests)
    head, *lines = lines_of(dataset.archive, "multimedia.txt")
    before = _short_media(dataset)
    original = shutil.copy2(dataset.archive, dataset.archive.with_name("original.zip"))
    with_lines(original, dataset.archive, {"multimedia.txt": [head, *reversed(lines)]})

    dataset.make()

    assert {status for _, status in photos.requests[requests:]} <= {500}
    assert dataset.shards() == shards
    assert _short_media(dataset) == [len(lines) + 3 - line for line in before]


def test_another_number_of_chunks_fetches_nothing_and_changes_no_shard(dataset: Dataset, photos: PhotoServer) -> None:
    shards, requests = dataset.shards(), len(photos.requests)
    accounting = dataset.rows("accounting.csv")
    dataset.chunks = 3

    dataset.make()

    assert {status for _, status in photos.requests[requests:]} <= {500}
    assert len(list((dataset.output / "fetched").glob("chunk-*.parquet"))) == 3
    assert dataset.shards() == shards
    assert dataset.rows("accounting.csv") == accounting


def test_a_subset_list_with_other_keys_under_the_same_name_remakes_the_dataset(
    dataset: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    requests = len(photos.requests)
    keys = sorted({row["acceptedTaxonKey"] for row in dataset.rows("splits/train.csv")})
    subset = tmp_path / "subset.txt"
    for some in (keys[:3], keys[2:6]):
        subset.write_text("\n".join(some))
        dataset.make("--ReadArchive-subset-list", str(subset))
        found = {
            row["acceptedTaxonKey"] for split in ("train", "val", "test") for row in dataset.rows(f"splits/{split}.csv")
        }
        assert found == set(some)
    assert {status for _, status in photos.requests[requests:]} <= {500}


def test_a_file_that_was_cut_or_removed_by_hand_is_remade(dataset: Dataset, photos: PhotoServer) -> None:
    shards, requests = dataset.shards(), len(photos.requests)
    tar = next((dataset.output / "shards" / "train").glob("*.tar"))
    cut = [dataset.output / name for name in ("verified/chunk-00001.parquet", "splits/val.csv")] + [tar]
    removed = [dataset.output / name for name in ("manifest/chunk-00002.parquet", "clean.parquet", "accounting.csv")]
    page = dataset.output / "report" / "index.html"  # which tells how long it all took
    before = {path: digest(path) for path in (*cut, *removed)}
    for path in cut:
        os.truncate(path, path.stat().st_size // 2)
    for path in [*removed, page]:
        path.unlink()

    dataset.make()

    assert page.exists()
    assert {path: digest(path) for path in (*cut, *removed)} == before
    assert dataset.shards() == shards
    assert {status for _, status in photos.requests[requests:]} <= {500}


def test_the_number_of_workers_of_a_task_remakes_nothing(dataset: Dataset) -> None:
    stamps = _stamps(dataset, "")
    printed = dataset.make("--FetchChunk-num-workers", "3", "--CreateWebDataset-num-workers", "3")
    assert "Nothing new" in printed
    assert _stamps(dataset, "") == stamps


def test_an_image_in_an_older_tree_is_copied_and_not_asked_for(
    made: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    there = {path.relative_to(made.output / "images").as_posix() for path in (made.output / "images").rglob("*.jpg")}
    requests = len(photos.requests)
    other = Dataset(made.archive, tmp_path / "dataset", chunks=2)

    other.make("--FetchChunk-cache-path", str(made.output / "images"))

    status = {row["image_path"]: row["status"] for row in other.rows("fetched")}
    assert {path for path, status in status.items() if status == "cached"} == there
    cached = {row["identifier"] for row in other.rows("fetched") if row["status"] == "cached"}
    assert not cached & {photos.url + path for path, _ in photos.requests[requests:]}
    assert other.shards() == made.shards()


def test_an_image_that_was_lost_is_told_with_a_remedy_that_fetches_it_alone(
    dataset: Dataset, photos: PhotoServer
) -> None:
    urls = [row["identifier"] for row in dataset.rows("fetched")]
    lost = next(row for row in dataset.rows("splits/train.csv") if urls.count(row["identifier"]) == 1)
    shards = dataset.shards()
    (dataset.output / "images" / lost["image_path"]).unlink()
    shutil.rmtree(dataset.output / "shards")
    told = dataset.fail()
    assert f"0 changed and 1 missing images since they were verified, the first is {lost['image_path']}." in told
    requests = len(photos.requests)

    dataset.make()

    asked = [photos.url + path for path, status in photos.requests[requests:] if status != 500]
    assert asked == [lost["identifier"]]
    assert dataset.shards() == shards


def test_failures_that_are_tried_again_and_repeat_remake_nothing(dataset: Dataset, photos: PhotoServer) -> None:
    made = {path: path.stat().st_mtime_ns for path in (dataset.output / ".made").iterdir()}
    requests = len(photos.requests)
    failed = [row for row in dataset.rows("fetched") if row["error"] == "server-error"]
    assert failed

    assert "Nothing new" in dataset.make("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0")

    assert {status for _, status in photos.requests[requests:]} == {200, 500}  # one answer is empty
    again = {path.stem for path, at in made.items() if path.stat().st_mtime_ns != at}
    assert again
    assert {name.split("-")[0] for name in again} == {"FetchChunk"}
    assert [row for row in dataset.rows("fetched") if row["error"] == "server-error"] == failed


def test_failures_can_be_left_as_they_are(dataset: Dataset, photos: PhotoServer) -> None:
    requests = len(photos.requests)
    assert "Nothing new" in dataset.make()
    assert len(photos.requests) == requests
