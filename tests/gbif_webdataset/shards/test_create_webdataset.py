import contextlib
import csv
import hashlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from gbif_webdataset.errors import DatasetError, MissingPieceError, ParameterError, SelectionError
from gbif_webdataset.process_pool import run_in_processes
from gbif_webdataset.shards import create_webdataset
from gbif_webdataset.shards.create_webdataset import finish, prepare, unwritten, write_group
from gbif_webdataset.shards.megadetector import with_margin
from gbif_webdataset.shards.recipe import Recipe
from tests.support.shard_run import RECIPE, SPLITS, Dataset, decoded, encoded, hashes, photo, sixty_moths, turned


@pytest.fixture(autouse=True)
def as_many_processes_as_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The datasets of these tests are so small that one process would write them."""
    monkeypatch.setattr(create_webdataset, "SAMPLES_PER_PROCESS", 1)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    return sixty_moths(tmp_path)


# What a trainer reads


def test_every_sample_decodes_and_its_class_is_its_labels(moths: Dataset) -> None:
    outcome = moths.create(replace(RECIPE, columns_to_json=("label",)))
    categories = json.loads((moths.root / "shards/category_map.json").read_text())
    assert categories == {f"label {number}": number for number in range(5)}
    read = {}
    for split in SPLITS:
        paths = [str(path) for path in moths.shards() if path.parent.name == split]
        samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
        assert len(samples) == outcome.samples[split] == len(moths.rows[split])
        for sample in samples:
            assert sample["jpg"].mode == "RGB"
            assert sample["cls"] == categories[sample["json"]["label"]]
            read[sample["__key__"]] = sample["json"]["label"]
    rows = [row for split in SPLITS for row in moths.rows[split]]
    assert read == {row["image_path"].removesuffix(".jpg"): row["label"] for row in rows}


def test_the_last_progress_is_all_of_all(moths: Dataset) -> None:
    moths.create(workers=2)
    assert moths.counts[0] == (0, 60)
    assert moths.counts[-1] == (60, 60)
    assert moths.counts == sorted(moths.counts)


def test_no_shard_is_larger_than_its_limit_and_tar_reads_it(moths: Dataset) -> None:
    recipe = replace(RECIPE, max_shard_size=60_000, columns_to_json=("country",))
    outcome = moths.create(recipe)
    names: list[str] = []
    for path in moths.shards():
        assert path.stat().st_size <= 60_000
        names += subprocess.run(["tar", "tf", path], check=True, capture_output=True, text=True).stdout.split()
    assert len(names) == len(set(names)) == 60 * 3
    assert outcome.shards == len(moths.shards()) > 6
    assert outcome.bytes == sum(path.stat().st_size for path in moths.shards())


def test_shards_csv_says_what_the_shards_are(moths: Dataset) -> None:
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


def test_long_and_foreign_names_are_counted_into_the_limit(dataset: Dataset) -> None:
    for number in range(30):
        dataset.add("train", f"{'ds' * 60}/é{number:03d}.jpg", encoded(photo(40, 30, number)))
    dataset.write()
    dataset.create(replace(RECIPE, max_shard_size=20_480))
    assert len(dataset.samples()) == 30
    assert max(path.stat().st_size for path in dataset.shards()) == 20_480


def test_a_dot_in_a_name_does_not_cut_its_key(dataset: Dataset) -> None:
    dataset.add("train", "data.set/MCZ.12.3_1.jpg", encoded(photo(40, 30, 1)))
    dataset.write()
    dataset.create()
    assert dataset.one()["__key__"] == "data.set/MCZ_12_3_1"


def test_two_images_with_one_key_are_refused(dataset: Dataset) -> None:
    for name in ("ds/a.1.jpg", "ds/a_1.jpg"):
        dataset.add("train", name, encoded(photo(40, 30, 1)))
    dataset.write()
    with pytest.raises(SelectionError, match=r"ds/a\.1\.jpg and ds/a_1\.jpg"):
        dataset.create()


# The same input gives the same bytes


def test_shards_are_the_same_for_any_workers_and_order_of_rows(moths: Dataset) -> None:
    recipe = replace(RECIPE, max_shard_size=60_000, resize_min_size=100, columns_to_json=("remarks", "width"))
    moths.create(recipe)
    expected = hashes(moths.root / "shards")
    for workers in (2, 3):
        moths.write(order=-1)
        moths.create(recipe, workers, f"shards-{workers}")
        assert hashes(moths.root / f"shards-{workers}") == expected


def test_groups_written_one_by_one_in_any_order_give_the_same_shards(moths: Dataset) -> None:
    moths.create()
    folder = moths.root / "by-group"
    plan = prepare(moths.root / "splits", moths.root / "images", folder, RECIPE, moths.root / "scratch")
    groups = unwritten(folder, plan)
    assert len(groups) > 3
    for group in reversed(groups):
        with pytest.raises(MissingPieceError, match="isn't written"):
            finish(folder)
        write_group(folder, moths.root / "images", group, lambda samples: None)
    finish(folder)
    assert hashes(folder) == hashes(moths.root / "shards")


def test_the_seed_changes_the_order_and_nothing_else(moths: Dataset) -> None:
    def keys(name: str) -> list[str]:
        return [sample["__key__"] for sample in moths.samples(name=name)]

    moths.create()
    moths.create(replace(RECIPE, seed=43), name="other")
    moths.create(replace(RECIPE, shuffle=False), name="sorted")
    assert keys("shards") != keys("other")
    assert sorted(keys("shards")) == sorted(keys("other")) == keys("sorted")


def test_another_recipe_leaves_nothing_of_the_older_shards(moths: Dataset) -> None:
    moths.create(replace(RECIPE, max_shard_size=40_960, resize_min_size=50))
    before = len(moths.shards())
    moths.create(replace(RECIPE, max_shard_size=10_000_000))
    assert len(moths.shards()) == 3 < before
    moths.create(replace(RECIPE, max_shard_size=10_000_000), name="afresh")
    assert hashes(moths.root / "shards") == hashes(moths.root / "afresh")


# Images


def test_a_jpeg_that_needs_no_change_passes_through_byte_for_byte(dataset: Dataset) -> None:
    data = encoded(photo(200, 150, 1), quality=77, comment=b"as it is", exif=turned(1))
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    outcome = dataset.create(replace(RECIPE, resize_min_size=150))
    assert dataset.one()["jpg"] == data
    assert (outcome.passed_through, outcome.reencoded) == (1, 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_and_taken_away(dataset: Dataset, orientation: int) -> None:
    from PIL import ImageOps

    data = encoded(photo(64, 48, 3), quality=95, exif=turned(orientation))
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    dataset.create()
    image = decoded(dataset.one())
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert image.size == expected.size
    assert image.getexif().get(0x0112) is None
    assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).mean() < 4


@pytest.mark.parametrize(
    ("size", "shorter", "expected"),
    [
        ((400, 300), 100, (133, 100)),
        ((300, 1200), 100, (100, 400)),
        ((400, 300), 299, (399, 299)),
        ((90, 60), 100, (90, 60)),
    ],
)
def test_the_shorter_side_is_made_as_long_as_asked_never_longer(
    dataset: Dataset, size: tuple[int, int], shorter: int, expected: tuple[int, int]
) -> None:
    source = photo(*size, 5)
    dataset.add("train", "ds/1.jpg", encoded(source, quality=95))
    dataset.write()
    dataset.create(replace(RECIPE, resize_min_size=shorter))
    image = decoded(dataset.one())
    assert image.size == expected
    best = source.resize(expected, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image, int) - np.asarray(best, int)).mean() < 6


def other_images() -> Iterator[tuple[str, bytes, tuple[int, int, int]]]:
    blank = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    yield "transparent", encoded(blank, "PNG"), (255, 255, 255)
    palette = Image.new("P", (30, 20), 0)
    palette.putpalette([200, 100, 50])
    yield "palette", encoded(palette, "PNG"), (200, 100, 50)
    yield "animated", encoded(palette, "GIF", save_all=True, append_images=[blank.convert("P")]), (200, 100, 50)
    grey = Image.fromarray(np.full((20, 30), 0x8080, "uint16"))
    yield "16-bit", encoded(grey, "PNG"), (128, 128, 128)
    yield "16-bit TIFF", encoded(grey, "TIFF"), (128, 128, 128)
    yield "CMYK TIFF", encoded(Image.new("CMYK", (30, 20), (255, 0, 255, 0)), "TIFF"), (0, 255, 0)
    yield "WebP", encoded(Image.new("RGB", (30, 20), (0, 0, 255)), "WEBP", lossless=True), (0, 0, 255)
    yield "CMYK JPEG, turned", encoded(Image.new("CMYK", (20, 30), (0, 255, 255, 0)), exif=turned(8)), (255, 0, 0)


@pytest.mark.parametrize(("name", "data", "colour"), [pytest.param(*one, id=one[0]) for one in other_images()])
def test_any_image_becomes_an_rgb_jpeg(dataset: Dataset, name: str, data: bytes, colour: tuple[int, int, int]) -> None:
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    assert dataset.create().reencoded == 1
    image = decoded(dataset.one())
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (30, 20))
    assert np.abs(np.asarray(image, int) - np.array(colour)).max() <= 3


# Crops


def with_square(width: int = 200, height: int = 100) -> Image.Image:
    """White, with a blue square from (40, 20) to (80, 60)."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((0, 0, 255), (40, 20, 80, 60))
    return image


def detections(dataset: Dataset, *boxes: list[float], file: str = "ds/1.jpg") -> Recipe:
    found = [{"category": "1", "conf": 0.5 + 0.1 * number, "bbox": box} for number, box in enumerate(boxes)]
    path = dataset.root / "detections.json"
    path.write_text(json.dumps({"info": {"detector": "v5"}, "images": [{"file": file, "detections": found}]}))
    return replace(RECIPE, megadetector_results_json=path)


SQUARE = [0.2, 0.2, 0.2, 0.4]


@pytest.mark.parametrize("file", ["ds/1.jpg", "images/ds/1.jpg"])
def test_the_most_confident_box_is_cropped_with_its_margin(dataset: Dataset, file: str) -> None:
    dataset.add("train", "ds/1.jpg", encoded(with_square(), "PNG"))
    dataset.write()
    outcome = dataset.create(detections(dataset, [0.5, 0.5, 0.5, 0.5], SQUARE, file=file))
    pixels = np.asarray(decoded(dataset.one()), int)
    assert pixels.shape == (48, 48, 3)
    assert np.abs(pixels[6:42, 6:42] - (0, 0, 255)).max() < 12
    assert np.abs(pixels[0:2] - 255).max() < 12
    assert np.abs(pixels[:, 46:] - 255).max() < 12
    assert (outcome.cropped, outcome.boxes_ignored, outcome.without_detection) == (1, 0, 0)


def test_a_crop_is_resized_by_its_own_shorter_side(dataset: Dataset) -> None:
    source = with_square().resize((1600, 800), Image.Resampling.NEAREST)
    dataset.add("train", "ds/1.jpg", encoded(source, quality=95))
    dataset.write()
    dataset.create(replace(detections(dataset, SQUARE), resize_min_size=48))
    pixels = np.asarray(decoded(dataset.one()), int)
    assert pixels.shape == (48, 48, 3)
    assert np.abs(pixels[8:40, 8:40] - (0, 0, 255)).max() < 12
    assert np.abs(pixels[0:2] - 255).max() < 12


def test_a_box_is_relative_to_the_image_as_it_is_seen(dataset: Dataset) -> None:
    stored = with_square().transpose(Image.Transpose.ROTATE_90)
    dataset.add("train", "ds/1.jpg", encoded(stored, quality=95, subsampling=0, exif=turned(6)))
    dataset.write()
    dataset.create(detections(dataset, SQUARE))
    pixels = np.asarray(decoded(dataset.one()), int)
    assert pixels.shape == (48, 48, 3)
    assert np.abs(pixels[8:40, 8:40] - (0, 0, 255)).max() < 16


@pytest.mark.parametrize("box", [[0.2, 0.2, 0, 0.4], [1.2, 0.2, 0.3, 0.4], [0.2, float("nan"), 0.2, 0.4]])
def test_a_box_without_area_is_ignored_and_counted(dataset: Dataset, box: list[float]) -> None:
    data = encoded(with_square())
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    outcome = dataset.create(detections(dataset, box))
    assert dataset.one()["jpg"] == data
    assert (outcome.cropped, outcome.boxes_ignored, outcome.without_detection) == (0, 1, 1)
    outcome = dataset.create(detections(dataset, SQUARE, box))
    assert decoded(dataset.one()).size == (48, 48)
    assert (outcome.cropped, outcome.boxes_ignored, outcome.without_detection) == (1, 1, 0)


def test_a_box_is_clipped_to_the_image() -> None:
    assert with_margin([-0.5, 0.5, 1.0, 1.0]) == [0.0, pytest.approx(0.4), pytest.approx(0.6), 1.0]


def test_detections_are_read_across_the_windows_edges(dataset: Dataset) -> None:
    data = encoded(with_square(), "PNG")
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    found = [{"category": "1", "conf": 0.9, "bbox": SQUARE}]
    entries = [{"file": f"é/{number}.jpg", "detections": found} for number in range(30_000)]
    entries.insert(20_000, {"file": "ds/1.jpg", "detections": found})
    entries.append({"file": "failed.jpg", "detections": None, "failure": "unreadable"})  # type: ignore[dict-item]
    path = dataset.root / "detections.json"
    path.write_text(json.dumps({"images": entries, "info": {"n": 12}}, ensure_ascii=False, indent=1))
    assert path.stat().st_size > 3 << 20
    assert dataset.create(replace(RECIPE, megadetector_results_json=path)).cropped == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"images": {}}',
        '{"images": [{"file": "ds/1.jpg"',
        '{"images": [{"detections": []}]}',
        '{"images": [{"file": "a", "detections": [{"conf": "high", "bbox": [0, 0, 1, 1]}]}]}',
        '{"images": [{"file": "a", "detections": [{"conf": 0.5, "bbox": [0, 0, 1]}]}]}',
        '{"images": [nonsense]}',
    ],
)
def test_detections_in_another_format_are_refused(moths: Dataset, content: str) -> None:
    path = moths.root / "detections.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=r"detections\.json isn't in MegaDetector's format"):
        moths.create(replace(RECIPE, megadetector_results_json=path))


# Columns and labels


def test_json_holds_text_as_it_stands_measures_as_numbers_and_nulls(dataset: Dataset) -> None:
    dataset.add("train", "ds/0012.jpg", encoded(photo(40, 30, 1)), country="NA", remarks='3mm (1/8") \\ é', label="6E4")
    dataset.add("val", "ds/2.jpg", encoded(photo(40, 30, 2)), label="6E4")
    dataset.write()
    columns = ("coreid", "country", "remarks", "label", "width", "valid")
    dataset.create(replace(RECIPE, columns_to_json=columns))
    assert json.loads(dataset.one()["json"]) == {
        "coreid": "0012",
        "country": "NA",
        "remarks": '3mm (1/8") \\ é',
        "label": "6E4",
        "width": 40,
        "valid": True,
    }
    [sample] = dataset.samples("val")
    assert json.loads(sample["json"])["country"] is None


def test_images_without_a_label_are_dropped_with_their_reason(dataset: Dataset) -> None:
    dataset.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    dataset.add("train", "ds/2.jpg", encoded(photo(40, 30, 2)), label=None)
    dataset.write()
    outcome = dataset.create()
    assert (outcome.samples, outcome.dropped) == ({"train": 1, "val": 0, "test": 0}, {"no-label": 1})
    assert (dataset.root / "shards/dropped.csv").read_text() == (
        "stage,reason,image_path,identifier,coreid\nshards,no-label,ds/2.jpg,http://photos.test/ds/2.jpg,2\n"
    )


def test_a_given_category_map_is_kept_as_it_is(moths: Dataset) -> None:
    given = {"extinct": 0} | {f"label {number}": 10 - number for number in range(5)}
    path = moths.root / "given.json"
    path.write_text(json.dumps(given))
    moths.create(replace(RECIPE, category_map_json=path, columns_to_json=("label",)))
    written = json.loads((moths.root / "shards/category_map.json").read_text())
    assert written == given
    assert list(written.values()) == sorted(given.values())
    for sample in moths.samples():
        assert int(sample["cls"]) == given[json.loads(sample["json"])["label"]]


def test_labels_that_train_lacks_are_named(moths: Dataset) -> None:
    for number in range(12):
        moths.add("test", f"ds/new{number}.jpg", encoded(photo(40, 30, number)), label=f"new {number:02d}")
    moths.write()
    with pytest.raises(SelectionError, match=r"12 labels .*'new 09', \.\.\.\).*category_map_json"):
        moths.create()


def test_labels_that_a_given_map_lacks_are_named(moths: Dataset) -> None:
    path = moths.root / "given.json"
    path.write_text(json.dumps({f"label {number}": number for number in range(4)}))
    with pytest.raises(SelectionError, match=r"given.json lacks 1 .*'label 4'"):
        moths.create(replace(RECIPE, category_map_json=path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "isn't JSON text"),
        ("[1]", "has to hold an object"),
        ('{"a": "1"}', "of 'a' .* isn't a whole number"),
        ('{"a": true}', "of 'a' .* isn't a whole number"),
        ('{"a": 1, "b": 1}', "'a' and 'b' share the class id 1"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
    ],
)
def test_a_category_map_that_is_none_is_refused(moths: Dataset, content: str, complaint: str) -> None:
    path = moths.root / "given.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=complaint):
        moths.create(replace(RECIPE, category_map_json=path))


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"label_column": "species"}, SelectionError, "label_column: .*train.csv has no column 'species'.*country"),
        ({"columns_to_json": ("genus",)}, SelectionError, "columns_to_json: .* has no column 'genus'"),
        ({"label_column": "remarks"}, SelectionError, "no row of train, val or test has a label"),
        ({"category_map_json": Path("none.json")}, ParameterError, "there is no file none.json"),
        ({"megadetector_results_json": Path("none.json")}, ParameterError, "there is no file none.json"),
        ({"max_shard_size": 10_000}, ParameterError, "max_shard_size"),
        ({"max_shard_size": 10_240}, SelectionError, "raise max_shard_size"),
        ({"jpeg_quality": 0}, ParameterError, "jpeg_quality"),
        ({"resize_min_size": -1}, ParameterError, "resize_min_size"),
    ],
)
def test_a_parameter_that_fits_nothing_is_named(
    moths: Dataset, change: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        moths.create(replace(RECIPE, **change))
    assert not moths.shards()


# What was promised and isn't there


def test_a_missing_split_is_named(moths: Dataset) -> None:
    (moths.root / "splits/val.csv").unlink()
    with pytest.raises(MissingPieceError, match=r"val\.csv.*run SplitDataset again"):
        moths.create()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_image_is_named(moths: Dataset, workers: int) -> None:
    (moths.root / "images/ds0/10.jpg").unlink()
    with pytest.raises(MissingPieceError, match=r"ds0/10\.jpg.*remove .*made and run the same"):
        moths.create(workers=workers)
    assert not moths.shards()


def test_an_image_of_another_size_is_named(moths: Dataset) -> None:
    with (moths.root / "images/ds0/10.jpg").open("ab") as file:
        file.write(b"more")
    with pytest.raises(MissingPieceError, match=r"ds0/10\.jpg.*bytes.*remove .*made and run the same"):
        moths.create()


def test_an_image_that_cannot_be_decoded_is_named(moths: Dataset) -> None:
    path = moths.root / "images/ds0/12.jpg"
    path.write_bytes(path.read_bytes()[:900].ljust(path.stat().st_size, b"\0"))
    with pytest.raises(MissingPieceError, match=r"ds0/12\.jpg.*can't be decoded"):
        moths.create(replace(RECIPE, resize_min_size=20))


def test_a_few_samples_are_written_by_threads_of_one_process(moths: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    moths.create(name="by-one-worker")
    monkeypatch.setattr(subprocess, "Popen", None)
    moths.create(workers=2)
    assert hashes(moths.root / "shards") == hashes(moths.root / "by-one-worker")


# Killed and started again

SCRIPT = """
import sys
from pathlib import Path
from gbif_webdataset.shards import create_webdataset
from gbif_webdataset.shards.create_webdataset import Recipe, create
create_webdataset.SAMPLES_PER_PROCESS = 1
root = Path(sys.argv[1])
recipe = Recipe("label", max_shard_size=60_000, shuffle=True, seed=42, resize_min_size=80)
create(root / "splits", root / "images", root / "shards", recipe, int(sys.argv[2]), root / "scratch",
       lambda done, total: print(done, flush=True))
"""  # without a guard for __main__: a worker must not run it again


def started(root: Path, workers: int) -> "subprocess.Popen[str]":
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


def finished_groups(root: Path) -> int:
    return len(list((root / "shards/.parts").glob("group-*.json")))


@pytest.mark.parametrize(
    ("workers", "groups", "number"),
    [(1, 1, signal.SIGKILL), (2, 2, signal.SIGKILL), (2, 4, signal.SIGTERM), (2, 3, signal.SIGINT)],
)
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    moths: Dataset, workers: int, groups: int, number: signal.Signals
) -> None:
    for more in range(200):  # long enough to be killed in its middle
        moths.add("train", f"ds2/{more}.jpg", encoded(photo(320, 240, more % 5), quality=80), "label 1")
    moths.write()
    recipe = replace(RECIPE, max_shard_size=60_000, resize_min_size=80)
    moths.create(recipe, name="undisturbed")
    process = started(moths.root, workers)
    while finished_groups(moths.root) < groups:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    left = finished_groups(moths.root)
    assert left >= groups
    assert not moths.shards()
    deadline = time.monotonic() + 10
    while running(moths.root):
        assert time.monotonic() < deadline, "a worker outlives its caller"
        time.sleep(0.05)
    moths.create(recipe, workers)
    assert moths.counts[-1] == (260, 260)
    assert hashes(moths.root / "shards") == hashes(moths.root / "undisturbed")
    assert sorted(path.name for path in (moths.root / "shards").iterdir()) == sorted(
        ["category_map.json", "classes.csv", "dropped.csv", "shards.csv", *SPLITS]
    )


def running(root: Path) -> list[Path]:
    """Files under the shards' folder that some process holds open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target.is_relative_to(root / "shards"):
                found.append(target)
    return found


def test_a_run_killed_between_its_last_renames_goes_on(moths: Dataset) -> None:
    moths.create(name="undisturbed")
    folder = moths.root / "shards"
    plan = prepare(moths.root / "splits", moths.root / "images", folder, RECIPE, moths.root / "scratch")
    for group in unwritten(folder, plan):
        write_group(folder, moths.root / "images", group, lambda samples: None)
    (folder / "train").mkdir()
    (folder / ".parts/group-000000-000.tar").rename(folder / "train/train-000000.tar")
    (folder / ".parts/.tmp-left").write_bytes(b"half")
    assert unwritten(folder, plan) == []
    moths.create()
    assert moths.counts[-1] == (60, 60)
    assert hashes(folder) == hashes(moths.root / "undisturbed")


def test_only_what_is_missing_is_written_again(moths: Dataset) -> None:
    moths.create(name="undisturbed")
    folder = moths.root / "shards"
    plan = prepare(moths.root / "splits", moths.root / "images", folder, RECIPE, moths.root / "scratch")
    groups = unwritten(folder, plan)
    for group in groups[:-1]:
        write_group(folder, moths.root / "images", group, lambda samples: None)
    part = folder / ".parts/group-000001-000.tar"
    part.write_bytes(part.read_bytes()[:5000])
    assert unwritten(folder, plan) == [1, groups[-1]]
    untouched = (folder / ".parts/group-000000-000.tar").stat().st_ino
    moths.create()
    assert (folder / "train/train-000000.tar").stat().st_ino == untouched
    assert hashes(folder) == hashes(moths.root / "undisturbed")


def test_a_folder_with_marks_of_a_url_reads_back(moths: Dataset) -> None:
    moths.create()
    moths.create(name="a b#c?{1..2}%20")
    assert hashes(moths.root / "a b#c?{1..2}%20") == hashes(moths.root / "shards")


# Workers


def test_a_worker_that_was_killed_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greedy.py").write_text(
        "import os, signal\n\n\ndef work(task, progress):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("greedy").work
    with pytest.raises(DatasetError, match="memory ran out: run again with fewer workers"):
        list(run_in_processes(work, [1, 2, 3], 2, lambda count: None))
