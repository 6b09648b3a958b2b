"""The recipe: values that are rejected, and what changes its digest."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import MissingPieceError, ParameterError
from gbif_webdataset.shards import recipe
from gbif_webdataset.shards.recipe import FORMAT, FORMAT_OF_NUMBERS, check_recipe, compute_digest
from gbif_webdataset.terms.checklists import Checklist
from tests.support.shard_run import RECIPE, ShardRun


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            {"image_format": "original", "resize_min_size": 100},
            "image-format original: .* but --CreateWebDataset-resize-min-size changes",
        ),
        (
            {"image_format": "original", "megadetector_results_json": Path("a")},
            "image-format original: .* but --CreateWebDataset-megadetector-results-json changes",
        ),
        ({"image_format": "gif"}, "image-format gif: not a known value; choose one of jpg, webp, original"),
        ({"resize_mode": "square"}, "resize-mode square: .*; set --CreateWebDataset-resize-min-size to"),
        ({"resize_mode": "wide"}, "resize-mode wide: not a known value; choose one of "),
        ({"min_shards": -1}, "min-shards -1: out of range; set it to 0 .no minimum. or more"),
        (
            {"max_shard_size": 10_000},
            "max-shard-size 10000: the smallest tar has 10240 bytes; give at least this number",
        ),
        ({"jpeg_quality": 0}, "jpeg-quality 0: out of range; set it to 1 to 100"),
        ({"jpeg_quality": 101}, "jpeg-quality 101: out of range"),
        ({"resize_min_size": -1}, "resize-min-size -1: out of range; set it to 0 .keep the size. or more pixels"),
        (
            {"crosswalk": Path("a")},
            "crosswalk a: there is no previous category map to translate; set .*previous-category",
        ),
        (
            {"category_map_json": Path("a"), "previous_category_map": Path("b")},
            "previous-category-map b: --CreateWebDataset-category-map-json already .*; set only one",
        ),
    ],
)
def test_a_value_out_of_range_or_in_conflict_with_another_is_rejected(change: dict[str, Any], error: str) -> None:
    with pytest.raises(ParameterError, match=f"^--CreateWebDataset-{error}"):
        check_recipe(replace(RECIPE, **change))


@pytest.mark.parametrize("name", ["category_map_json", "previous_category_map", "megadetector_results_json"])
def test_a_file_that_does_not_exist_is_named_with_its_option(tmp_path: Path, name: str) -> None:
    option = f"--CreateWebDataset-{name.replace('_', '-')}"
    with pytest.raises(ParameterError, match=f"^{option} none.json: there is no such file"):
        compute_digest(tmp_path, replace(RECIPE, **{name: Path("none.json")}))


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    run.write()
    (tmp_path / "splits/val.csv").unlink()
    with pytest.raises(MissingPieceError, match=r"val\.csv.*run SplitDataset again"):
        compute_digest(tmp_path / "splits", RECIPE)


def test_a_recipe_without_an_address_has_the_digest_of_versions_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ShardRun(tmp_path)
    run.write()
    monkeypatch.setattr(recipe, "CODECS", "codecs")
    digest = "ddd715e205674576c93ad80e263d38e0d4a29931497dba964a67165d93940b6c"
    assert compute_digest(tmp_path / "splits", RECIPE) == digest


def test_every_field_and_every_split_changes_the_digest(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    run.write()
    file = tmp_path / "file.json"
    file.write_text("{}")
    changes: dict[str, Any] = {
        "label_column": "country", "max_shard_size": 200_000, "shuffle": False, "seed": 1, "min_shards": 2,
        "image_format": "webp", "resize_min_size": 10, "resize_mode": "longer", "jpeg_quality": 90,
        "category_map_json": file, "previous_category_map": file, "label_name": "country",
        "columns_to_json": ("country",), "hierarchy_to_json": True, "caption_template": "{country}",
        "megadetector_results_json": file, "detection_categories": (), "detection_threshold": 0.5, "crosswalk": file,
        "checklist": Checklist("col"), "same_taxonomy": True, "to": "s3://bucket/moths",
    }  # fmt: skip
    assert changes.keys() == {field.name for field in fields(RECIPE)}
    needed = {"crosswalk": {"previous_category_map": file}}
    recipes = [replace(RECIPE, **{name: changes[name]}, **needed.get(name, {})) for name in changes]
    digests = [compute_digest(tmp_path / "splits", recipe) for recipe in recipes]
    digests.append(compute_digest(tmp_path / "splits", RECIPE))
    with (tmp_path / "splits/val.csv").open("a") as split:
        split.write("more")
    digests.append(compute_digest(tmp_path / "splits", RECIPE))
    file.write_text('{"a": 1}')
    digests.append(compute_digest(tmp_path / "splits", replace(RECIPE, category_map_json=file)))
    assert len(set(digests)) == len(changes) + 3


@pytest.mark.parametrize(
    ("columns", "is_newer"), [((), False), (("sex", "eventDate", "width"), False), (("sex", "year"), True)]
)
def test_only_shards_whose_json_has_numeric_terms_have_a_newer_format(columns: tuple[str, ...], is_newer: bool) -> None:
    assert replace(RECIPE, columns_to_json=columns).format == (FORMAT_OF_NUMBERS if is_newer else FORMAT)


def test_a_caption_template_that_is_not_valid_is_refused_with_the_other_parameters() -> None:
    with pytest.raises(ParameterError, match=r"--CreateWebDataset-caption-template .*braces do not match"):
        check_recipe(replace(RECIPE, caption_template="a photo of {species"))
