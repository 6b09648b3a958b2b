"""Everything that decides the bytes of the shards, and a digest of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.images.crop import RESIZE_MODES
from gbif_webdataset.images.jpeg_decode import CODECS
from gbif_webdataset.shards.caption import CaptionTemplate, parse_template
from gbif_webdataset.shards.sample import IMAGE_FORMATS, ORIGINAL, ImageSettings
from gbif_webdataset.storage.atomic import file_sha256
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.splits import split_paths
from gbif_webdataset.terms.value_types import has_numeric_term, list_json_columns

FORMAT = 3  # raise it, and the next one, with any change of this code that changes a byte of the shards
FORMAT_OF_NUMBERS = 4  # of shards whose JSON has numeric terms of Darwin Core, which were text in format 3
MIN_SHARD_BYTES = 10_240  # the smallest tar


@dataclass(frozen=True)
class Recipe:
    """Everything that changes a byte of the shards, except the splits, the images and the machine's codecs.

    The fields are the parameters of CreateWebDataset; `shuffle` is shuffle_images, `seed` is random_seed.
    """

    label_column: str
    max_shard_size: int  # bytes
    shuffle: bool
    seed: int
    min_shards: int = 0
    image_format: str = "jpg"
    resize_min_size: int = 0  # pixels; 0: keep the size
    resize_mode: str = "shorter"
    jpeg_quality: int = 95
    category_map_json: Path | None = None
    previous_category_map: Path | None = None
    label_name: str = ""
    columns_to_json: tuple[str, ...] = ()
    hierarchy_to_json: bool = False
    caption_template: str = ""
    megadetector_results_json: Path | None = None
    detection_categories: tuple[str, ...] = ("animal",)  # empty: all categories that the file lists
    detection_threshold: float | None = None  # None: the file's typical threshold
    crosswalk: Path | None = None  # from the taxonomy of previous_category_map to that of the splits
    checklist: Checklist = field(default_factory=Checklist)  # that of the labels
    same_taxonomy: bool = False  # whether the user states that maps have the same taxonomy
    to: str = ""  # address of the shards, which changes no byte; but shards at another address are written again

    @property
    def format(self) -> int:
        """The version of the code that decides the bytes of these shards."""
        return FORMAT_OF_NUMBERS if has_numeric_term(self.columns_to_json) else FORMAT

    @property
    def json_columns(self) -> tuple[str, ...]:
        """The names in the `.json` of each sample; none if there is no `.json`."""
        return list_json_columns(self.columns_to_json, self.hierarchy_to_json)

    @property
    def caption(self) -> CaptionTemplate | None:
        """The template of the `.txt` of each sample; None if there is no `.txt`."""
        return parse_template(self.caption_template) if self.caption_template else None

    @property
    def image_settings(self) -> ImageSettings:
        """The settings that decide the bytes of each image."""
        return ImageSettings(self.image_format, self.resize_min_size, self.resize_mode, self.jpeg_quality)


def format_option(parameter: str, value: object = None) -> str:
    """A parameter of CreateWebDataset, with its value unless that is None, as users type it."""
    option = f"--CreateWebDataset-{parameter.replace('_', '-')}"
    return option if value is None else f"{option} {value}"


def compute_digest(splits: Path, recipe: Recipe) -> str:
    """A digest of everything that decides the bytes of the shards, except the images.

    Raises:
        MissingPieceError: a split is missing.
        ParameterError: a parameter is out of range, or names a file that does not exist.
    """
    check_recipe(recipe)
    contents = {name: value for name, value in asdict(recipe).items() if not isinstance(value, Path)}
    if not recipe.to:  # as in plans of versions without it
        del contents["to"]
    for name in ("category_map_json", "previous_category_map", "crosswalk", "megadetector_results_json"):
        path: Path | None = getattr(recipe, name)
        if path is not None and not path.is_file():
            raise missing_file_error(name, path)
        contents[name] = file_sha256(path) if path else None
    for split, path in split_paths(splits).items():
        contents[split] = file_sha256(path)
    contents["code"] = [recipe.format, CODECS]
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def missing_file_error(parameter: str, path: Path) -> ParameterError:
    """The error for a parameter that names a file that does not exist."""
    return ParameterError(f"{format_option(parameter, path)}: there is no such file; correct the path")


def check_recipe(recipe: Recipe) -> None:
    """Check the values of the parameters, and that they fit together.

    Raises:
        ParameterError: a value is out of range or not valid, or two parameters contradict each other.
    """
    _check_ranges(recipe)
    _ = recipe.caption
    _check_choices(recipe)
    if recipe.resize_mode == "square" and not recipe.resize_min_size:
        raise ParameterError(
            f"{format_option('resize_mode', 'square')}: the size of the square is not set; set "
            f"{format_option('resize_min_size')} to the length of a side in pixels"
        )
    if recipe.crosswalk and not recipe.previous_category_map:
        raise ParameterError(
            f"{format_option('crosswalk', recipe.crosswalk)}: there is no previous category map to translate; set "
            f"{format_option('previous_category_map')}"
        )
    if recipe.category_map_json and recipe.previous_category_map:
        raise ParameterError(
            f"{format_option('previous_category_map', recipe.previous_category_map)}: "
            f"{format_option('category_map_json')} already gives each label its class; set only one of the two"
        )
    if recipe.image_format == ORIGINAL and (recipe.resize_min_size or recipe.megadetector_results_json):
        other = "resize_min_size" if recipe.resize_min_size else "megadetector_results_json"
        raise ParameterError(
            f"{format_option('image_format', ORIGINAL)}: original keeps the bytes of each file, but "
            f"{format_option(other)} changes them; set only one of the two"
        )


def _check_ranges(recipe: Recipe) -> None:
    if recipe.max_shard_size < MIN_SHARD_BYTES:
        raise ParameterError(
            f"{format_option('max_shard_size', recipe.max_shard_size)}: the smallest tar has {MIN_SHARD_BYTES} bytes; "
            "give at least this number"
        )
    for name, value, is_valid, valid in (
        ("min_shards", recipe.min_shards, recipe.min_shards >= 0, "0 (no minimum) or more"),
        ("jpeg_quality", recipe.jpeg_quality, 1 <= recipe.jpeg_quality <= 100, "1 to 100"),
        ("resize_min_size", recipe.resize_min_size, recipe.resize_min_size >= 0, "0 (keep the size) or more pixels"),
        ("detection_threshold", recipe.detection_threshold, 0 <= (recipe.detection_threshold or 0) <= 1, "0 to 1"),
    ):
        if not is_valid:
            raise ParameterError(f"{format_option(name, value)}: out of range; set it to {valid}")


def _check_choices(recipe: Recipe) -> None:
    for name, value, choices in (
        ("image_format", recipe.image_format, IMAGE_FORMATS),
        ("resize_mode", recipe.resize_mode, RESIZE_MODES),
    ):
        if value not in choices:
            raise ParameterError(f"{format_option(name, value)}: not a known value; choose one of {', '.join(choices)}")
