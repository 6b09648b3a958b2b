"""CreateWebDataset: create_webdataset."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.core import shards
from tasks.core.framing import RESIZE_MODES
from tasks.core.samples import IMAGE_FORMATS
from tasks.core.shard_recipe import FORMAT, Recipe, check
from tasks.core.tables import plain_csv
from tasks.dataset import DatasetTask
from tasks.parameters import Choice, Count, Flag, InputFile, Text, listed
from tasks.split import SplitDataset


class CreateWebDataset(DatasetTask):
    """Write each split as WebDataset shards that are the same, byte for byte, wherever and however they are made."""

    FORMAT = FORMAT

    label_column: str = Text(default="acceptedTaxonKey", description="column whose values are the classes")
    max_shard_size: int = Count(
        default=100 << 20, least=10_240, description="bytes of the largest shard, tar overhead included"
    )
    min_shards: int = Count(
        default=0,
        description="least number of shards of each split, for as many readers side by side: where max_shard_size "
        "gives fewer, they get equal numbers of samples; 0 for any",
    )
    shuffle_images: bool = Flag(default=True, description="put the samples in an order drawn by random_seed")
    image_format: str = Choice(
        default="jpg",
        choices=IMAGE_FORMATS,
        description="what images become; original keeps each file's own bytes and format",
    )
    resize_min_size: int = Count(
        default=0,
        description="pixels to shrink images to, on the side that resize_mode says, never enlarging; 0 for as they are",
    )
    resize_mode: str = Choice(
        default="shorter",
        choices=RESIZE_MODES,
        description="the side of at most resize_min_size pixels; square crops the middle and makes it just that large, "
        "enlarging smaller ones",
    )
    jpeg_quality: int = Count(
        default=95, least=1, most=100, description="quality, 1 to 100, of images encoded anew, JPEG or WebP"
    )
    category_map_json: str = InputFile(
        default="", description="a JSON object, label to class, to use instead of one made from train"
    )
    previous_category_map: str = InputFile(
        default="",
        description="category_map.json of an earlier dataset: its classes keep their numbers, new ones follow",
    )
    label_name: str = Text(
        default="",
        description="column with the labels' names for people, such as species or vernacularName, for classes.csv",
    )
    columns_to_json: str = Text(
        default="", description="columns, separated by commas, to put into each sample's .json; none without"
    )
    megadetector_results_json: str = InputFile(
        default="", description="MegaDetector's results: crop each image to its most confident box and 10 % around it"
    )
    random_seed: int = Count(default=42, description="seed of the shuffle")
    num_workers: int = Count(default=2, least=1, significant=False, description="processes that write shards")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.recipe = Recipe(
            label_column=self.label_column,
            max_shard_size=self.max_shard_size,
            min_shards=self.min_shards,
            shuffle=self.shuffle_images,
            seed=self.random_seed,
            image_format=self.image_format,
            resize_min_size=self.resize_min_size,
            resize_mode=self.resize_mode,
            jpeg_quality=self.jpeg_quality,
            category_map_json=Path(self.category_map_json) if self.category_map_json else None,
            previous_category_map=Path(self.previous_category_map) if self.previous_category_map else None,
            label_name=self.label_name,
            columns_to_json=listed(self.columns_to_json),
            megadetector_results_json=Path(self.megadetector_results_json) if self.megadetector_results_json else None,
        )
        check(self.recipe)

    def requires(self) -> SplitDataset:
        """The splits."""
        return self.clone(SplitDataset)

    def run(self) -> None:
        """Write the shards, and read them back."""
        paths = self.paths
        dealt = self.requires().output().record.facts
        total = sum(dealt[name] for name in ("train", "val", "test"))
        with self.making() as making, self.progress("shards", "images", total) as progress:
            outcome = shards.create(
                paths.splits, paths.images, paths.shards, self.recipe, self.num_workers, paths.scratch, progress.update
            )
            making.facts = asdict(outcome)
            with plain_csv(paths.shards / "shards.csv") as lines:
                for line in lines:
                    shard = paths.shards / line["shard"]
                    making.add(shard, line["sha256"])
                    making.add(shard.with_suffix(".idx"))
            for name in shards.TABLES:
                making.add(paths.shards / name)
