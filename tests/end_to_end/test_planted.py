"""What is planted among the images is found by the command: copies, wrong labels, one observer's many occurrences."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support import archives
from tests.support.damage import encode
from tests.support.datasets import DATASET, Dataset

OCCURRENCE = ("gbifID", "datasetKey", "acceptedTaxonKey", "recordedBy", "eventDate")
MEDIA = ("gbifID", "type", "identifier")
SPLITS = ("train", "val", "test")
PLAIN, OBSERVERS = 60, 12
GROUPED = ("--SplitDataset-group-by", "observer,near-duplicates", "--SplitDataset-test-frac", "0.3")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def scene(seed: int) -> Image.Image:
    """A picture that is like no other."""
    spots = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(spots).resize((300, 220), Image.Resampling.BICUBIC)


def planted() -> Iterator[tuple[str, bytes, str, str]]:
    """The name of each image, its bytes, its label and its observer."""
    for number in range(PLAIN):
        yield (
            f"plain-{number}",
            encode(scene(number), "JPEG", quality=90),
            f"label {number % 3}",
            str(number % OBSERVERS),
        )
    half = scene(3).resize((150, 110))
    copies = {
        "same": (0, encode(scene(0), "JPEG", quality=90)),
        "contrary": (1, encode(scene(1), "JPEG", quality=90)),
        "coarse": (2, encode(scene(2), "JPEG", quality=55)),
        "half": (3, encode(half, "JPEG", quality=85)),
        "mirrored": (4, encode(ImageOps.mirror(scene(4)), "JPEG", quality=90)),
    }
    for name, (number, data) in copies.items():
        yield name, data, "another" if name == "contrary" else f"label {number % 3}", str(OBSERVERS - 1 - number)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """A dataset of the planted images, which a server of ours sends."""
    folder = tmp_path_factory.mktemp("planted")
    occurrences, media = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number, (name, data, label, observer) in enumerate(planted()):
            (folder / f"{name}.jpg").write_bytes(data)
            day = f"2024-06-{1 + number % 28:02}"
            occurrences.append({"gbifID": str(number), "datasetKey": DATASET, "acceptedTaxonKey": label,
                                "recordedBy": f"observer {observer}", "eventDate": day})  # fmt: skip
            url = f"http://127.0.0.1:{server.server_address[1]}/{name}.jpg"
            media.append({"gbifID": str(number), "type": "StillImage", "identifier": url})
        members = {
            "meta.xml": archives.make_gbif_meta_xml(OCCURRENCE, MEDIA),
            "occurrence.txt": archives.make_lines(OCCURRENCE, occurrences),
            "multimedia.txt": archives.make_lines(MEDIA, media),
        }
        dataset = Dataset(archives.write_zip(folder / "planted.zip", members), folder / "dataset", chunks=3)
        dataset.make(*GROUPED)
        yield dataset
        server.shutdown()


def name_of(row: dict[str, Any]) -> str:
    return Path(row["identifier"]).stem


def homes(dataset: Dataset) -> dict[str, str]:
    return {name_of(row): split for split in SPLITS for row in dataset.rows(f"splits/{split}.csv")}


def test_copies_go_both_where_their_labels_differ_and_the_rest_is_untouched(found: Dataset) -> None:
    dropped = {name_of(row): row["reason"] for row in found.rows("clean-dropped.parquet")}
    [copy] = {"same", "plain-0"} & dropped.keys()
    assert dropped == {copy: "duplicate-content", "contrary": "conflicting-labels", "plain-1": "conflicting-labels"}
    every = {name for name, *_ in planted()}
    assert set(homes(found)) == every - dropped.keys()


def test_every_group_is_listed_and_a_mirrored_picture_is_in_none(found: Dataset) -> None:
    names = {row["image_path"]: name_of(row) for row in found.rows("manifest")}
    groups: dict[tuple[str, str], set[str]] = {}
    for row in found.rows("duplicates.parquet"):
        groups.setdefault((row["kind"], row["group"]), set()).add(names[row["image_path"]])
    told = sorted((kind, sorted(group)) for (kind, _), group in groups.items())
    assert told == [
        ("exact", ["contrary", "plain-1"]), ("exact", ["plain-0", "same"]),
        ("near", ["coarse", "plain-2"]), ("near", ["half", "plain-3"]),
    ]  # fmt: skip


def test_no_observer_and_no_near_duplicate_is_in_two_splits(found: Dataset) -> None:
    where = homes(found)
    assert set(where.values()) == set(SPLITS)
    assert (where["coarse"], where["half"]) == (where["plain-2"], where["plain-3"])
    observers: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in found.rows(f"splits/{split}.csv"):
            observers.setdefault(row["recordedBy"], set()).add(split)
    assert {len(splits) for splits in observers.values()} == {1}
    leaks = {(row["split"], row["shares"]): row["shared"] for row in found.rows("splits/leakage.csv")}
    assert {leaks[split, trait] for split in ("val", "test") for trait in ("observer", "near-duplicate")} == {"0"}


def test_near_duplicates_go_where_asked_for_and_nothing_else_does(found: Dataset, tmp_path: Path) -> None:
    copy = found.copy(tmp_path / "dataset")
    copy.make(*GROUPED, "--CleanDataset-remove-near-duplicates", "all-but-one")
    gone = set(homes(found)) - set(homes(copy))
    assert len(gone) == 2
    assert len(gone & {"coarse", "plain-2"}) == len(gone & {"half", "plain-3"}) == 1
    assert {row["reason"] for row in copy.rows("clean-dropped.parquet") if name_of(row) in gone} == {"near-duplicate"}
