"""Everything that decides the bytes of the shards, and a fingerprint of it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.images.crop import RESIZE_MODES
from gbif_webdataset.images.jpeg_decode import CODECS
from gbif_webdataset.shards.sample import IMAGE_FORMATS, Look
from gbif_webdataset.storage.atomic import file_sha256
from gbif_webdataset.terms.splits import split_paths

FORMAT = 3  # goes up with any change of this code that changes a byte of the shards
SMALLEST_TAR = 10_240


@dataclass(frozen=True)
class Recipe:
    """Everything that changes a byte of the shards, beside the splits, the images and the machine's codecs."""

    label_column: str
    max_shard_size: int  # bytes, tar overhead included
    shuffle: bool
    seed: int
    min_shards: int = 0  # of each split that has so many samples
    image_format: str = "jpg"  # one of IMAGE_FORMATS
    resize_min_size: int = 0  # pixels, 0: as it is
    resize_mode: str = "shorter"  # one of RESIZE_MODES
    jpeg_quality: int = 95  # of WebP too
    category_map_json: Path | None = None
    previous_category_map: Path | None = None  # whose classes keep their numbers
    label_name: str = ""  # the column of the labels' names for people
    columns_to_json: tuple[str, ...] = ()
    megadetector_results_json: Path | None = None

    @property
    def look(self) -> Look:
        """How images become members."""
        return Look(self.image_format, self.resize_min_size, self.resize_mode, self.jpeg_quality)


def digest_of(splits: Path, recipe: Recipe) -> str:
    """A fingerprint of all that the shards follow from, the images excepted.

    Raises MissingPieceError for a split that isn't there, ParameterError for a parameter out of range or a file that
    isn't there.
    """
    check(recipe)
    facts = {name: value for name, value in asdict(recipe).items() if not isinstance(value, Path)}
    for name in ("category_map_json", "previous_category_map", "megadetector_results_json"):
        path: Path | None = getattr(recipe, name)
        if path is not None and not path.is_file():
            raise ParameterError(f"{name}: there is no file {path}")
        facts[name] = file_sha256(path) if path else None
    for split, path in split_paths(splits).items():
        facts[split] = file_sha256(path)
    facts["code"] = [FORMAT, CODECS]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check(recipe: Recipe) -> None:
    """Raise ParameterError for a parameter that is out of range, or that another one rules out."""
    if recipe.max_shard_size < SMALLEST_TAR:
        raise ParameterError(
            f"max_shard_size: {recipe.max_shard_size} bytes are less than the smallest tar, {SMALLEST_TAR}; raise it"
        )
    if recipe.min_shards < 0:
        raise ParameterError(f"min_shards: {recipe.min_shards} is below 0; 0 asks for no number of shards")
    if not 1 <= recipe.jpeg_quality <= 100:
        raise ParameterError(f"jpeg_quality: {recipe.jpeg_quality} is not between 1 and 100")
    if recipe.resize_min_size < 0:
        raise ParameterError(f"resize_min_size: {recipe.resize_min_size} is below 0; 0 leaves images as they are")
    for name, value, choices in (
        ("image_format", recipe.image_format, IMAGE_FORMATS),
        ("resize_mode", recipe.resize_mode, RESIZE_MODES),
    ):
        if value not in choices:
            raise ParameterError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    if recipe.resize_mode == "square" and not recipe.resize_min_size:
        raise ParameterError("resize_mode: square needs resize_min_size, the pixels of a side")
    if recipe.category_map_json and recipe.previous_category_map:
        raise ParameterError(
            "previous_category_map: category_map_json says already which class each label is; leave one of them out"
        )
    if recipe.image_format == "original" and (recipe.resize_min_size or recipe.megadetector_results_json):
        changing = "resize_min_size" if recipe.resize_min_size else "megadetector_results_json"
        raise ParameterError(
            f"image_format: original keeps each file's bytes, which {changing} would change; leave one of them out"
        )
