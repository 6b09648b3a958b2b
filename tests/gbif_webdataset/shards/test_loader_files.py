"""The files that loaders read beside the shards. tests/end_to_end/test_loaders.py reads them with the loaders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gbif_webdataset.shards.loader_files import BETA, MAX_CLASSES, read_index, weigh_classes, write_loader_files
from gbif_webdataset.shards.shard_files import LOADER_FILES
from gbif_webdataset.shards.tar_writer import TarWriter, make_member
from tests.support.shard_run import RECIPE, ShardRun, encoded, hash_files, photo


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    run = ShardRun(tmp_path)
    for number in range(6):
        run.add("train", f"ds/{number}.jpg", encoded(photo(60, 50, number)), label=f"moth {int(number > 0)}")
    run.add("val", "ds/8.jpg", encoded(photo(60, 50, 8)), label="moth 0")
    run.write()
    return run


def load(run: ShardRun, name: str) -> object:
    return yaml.safe_load((run.root / "shards" / name).read_text())


def test_each_file_describes_the_shards(run: ShardRun) -> None:
    run.create(replace(RECIPE, max_shard_size=10_240))
    names = [path.relative_to(run.root / "shards").as_posix() for path in run.shards()]
    train = [name for name in names if name.startswith("train")]
    assert len(train) > 1
    info = json.loads((run.root / "shards" / "_info.json").read_text())["splits"]
    assert info.keys() == {"train", "val"}
    assert (info["train"]["name"], info["train"]["filenames"], info["train"]["num_samples"]) == ("train", train, 6)
    assert len(info["train"]["shard_lengths"]) == len(train)
    assert sum(info["train"]["shard_lengths"]) == 6
    assert load(run, ".nv-meta/.info.json") == {
        "shard_counts": dict(
            zip(
                [*info["train"]["filenames"], *info["val"]["filenames"]],
                [*info["train"]["shard_lengths"], *info["val"]["shard_lengths"]],
                strict=True,
            )
        )
    }
    assert load(run, ".nv-meta/split.yaml") == {"split_parts": {"train": train, "val": ["val/val-000000.tar"]}}
    assert load(run, ".nv-meta/dataset.yaml") == {
        "sample_type": {"__module__": "megatron.energon", "__class__": "ImageClassificationSample"},
        "field_map": {"image": "jpg", "label": "cls"},
    }


def test_the_files_can_be_written_again_and_are_the_same(run: ShardRun) -> None:
    run.create()
    before = hash_files(run.root / "shards")
    written = write_loader_files(run.root / "shards")
    assert hash_files(run.root / "shards") == before
    indexes = {path.with_suffix(".tar.idx") for path in run.shards()}
    assert set(written) == {*(run.root / "shards" / name for name in LOADER_FILES), *indexes}


def test_new_shards_have_no_file_of_the_old_ones(run: ShardRun) -> None:
    run.create(replace(RECIPE, max_shard_size=10_240))
    old = set((run.root / "shards").rglob("*.tar.idx"))
    run.create()
    assert set((run.root / "shards").rglob("*.tar.idx")) < old


def test_the_index_follows_long_and_foreign_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    starts = []
    with path.open("wb") as file:
        tar = TarWriter(file)
        for key in ("short", "é" * 10, "long" * 60):
            starts.append(tar.bytes)
            tar.add(
                [make_member(f"{key}.cls", b"1"), make_member(f"{key}.jpg", b"x" * 700), make_member(f"{key}.txt", b"")]
            )
        end = tar.bytes
        tar.close()
    path.with_suffix(".idx").write_bytes(tar.index)
    assert read_index(path.with_suffix(".idx")) == ([*starts, end], {"cls", "jpg", "txt"})


def test_weights_are_those_of_the_definitions_with_mean_1() -> None:
    counts = [1, 10, 100, 10_000]
    weights = weigh_classes(counts)
    for values in weights.values():
        assert sum(values) / len(values) == pytest.approx(1, rel=1e-5)
        assert values == sorted(values, reverse=True)
    inverse, effective = weights["inverse_frequency"], weights["effective_number"]
    assert [inverse[0] / weight for weight in inverse] == pytest.approx(counts, rel=1e-4)
    expected = [(1 - BETA**count) / (1 - BETA) for count in counts]
    assert [effective[0] / weight for weight in effective] == pytest.approx(expected, rel=1e-4)


def test_a_class_without_samples_has_no_weight_and_changes_no_other() -> None:
    weights, without = weigh_classes([4, 0, 16]), weigh_classes([4, 16])
    for method, values in weights.items():
        assert [values[0], values[2]] == without[method]
        assert values[1] == 0
    assert weigh_classes([0, 0]) == {"inverse_frequency": [0, 0], "effective_number": [0, 0]}


def test_the_weights_are_of_train_in_the_order_of_the_class_numbers(run: ShardRun, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"moth 1": 2, "never": 4, "moth 0": 5}')
    run.create(replace(RECIPE, category_map_json=path))
    content = load_weights(run)
    assert (content["beta"], content["classes"], content["samples"]) == (BETA, list(range(6)), [0, 0, 5, 0, 0, 1])
    assert content["inverse_frequency"] == pytest.approx([0, 0, 1 / 3, 0, 0, 5 / 3], rel=1e-4)


def test_there_is_a_weight_for_each_class_that_categories_json_states(run: ShardRun) -> None:
    run.create()
    path = run.root / "shards" / "categories.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": 4}))
    write_loader_files(run.root / "shards")
    assert load_weights(run)["samples"] == [1, 5, 0, 0]
    path.unlink()  # as in shards of older versions
    write_loader_files(run.root / "shards")
    assert load_weights(run)["samples"] == [1, 5]


def test_a_huge_class_number_gives_no_huge_list(run: ShardRun, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"moth 0": 5, "moth 1": MAX_CLASSES}))
    run.create(replace(RECIPE, category_map_json=path))
    assert (load_weights(run)["classes"], load_weights(run)["samples"]) == ([5, MAX_CLASSES], [1, 5])


def load_weights(run: ShardRun) -> Any:
    return json.loads((run.root / "shards" / "class_weights.json").read_text())
