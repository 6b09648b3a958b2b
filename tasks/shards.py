"""CreateWebDataset: create_webdataset."""

from dataclasses import asdict
from pathlib import Path

from tasks.core import shards
from tasks.core.tables import plain_csv
from tasks.dataset import DatasetTask
from tasks.parameters import Count, Flag, InputFile, Text, listed
from tasks.split import SplitDataset


class CreateWebDataset(DatasetTask):
    """Write each split as WebDataset shards that are the same, byte for byte, wherever and however they are made."""

    label_column: str = Text(default="acceptedTaxonKey", description="column whose values are the classes")
    max_shard_size: int = Count(
        default=100 << 20, least=10_240, description="bytes of the largest shard, tar overhead included"
    )
    shuffle_images: bool = Flag(default=True, description="put the samples in an order drawn by random_seed")
    resize_min_size: int = Count(
        default=0, description="pixels of the shorter side to shrink images to, never enlarging; 0 for as they are"
    )
    jpeg_quality: int = Count(
        default=95, least=1, most=100, description="JPEG quality, 1 to 100, of images encoded anew"
    )
    category_map_json: str = InputFile(
        default="", description="a JSON object, label to class, to use instead of one made from train"
    )
    columns_to_json: str = Text(
        default="", description="columns, separated by commas, to put into each sample's .json; none without"
    )
    megadetector_results_json: str = InputFile(
        default="", description="MegaDetector's results: crop each image to its most confident box and 10 % around it"
    )
    random_seed: int = Count(default=42, description="seed of the shuffle")
    num_workers: int = Count(default=2, least=1, significant=False, description="processes that write shards")

    def requires(self) -> SplitDataset:
        """The splits."""
        return self.clone(SplitDataset)

    def run(self) -> None:
        """Write the shards, and read them back."""
        paths = self.paths
        recipe = shards.Recipe(
            label_column=self.label_column,
            max_shard_size=self.max_shard_size,
            shuffle=self.shuffle_images,
            seed=self.random_seed,
            resize_min_size=self.resize_min_size,
            jpeg_quality=self.jpeg_quality,
            category_map_json=Path(self.category_map_json) if self.category_map_json else None,
            columns_to_json=listed(self.columns_to_json),
            megadetector_results_json=Path(self.megadetector_results_json) if self.megadetector_results_json else None,
        )
        dealt = self.requires().output().record.facts
        total = sum(dealt[name] for name in ("train", "val", "test"))
        with self.making() as making, self.progress("shards", "images", total) as progress:
            outcome = shards.create(
                paths.splits, paths.images, paths.shards, recipe, self.num_workers, paths.scratch, progress.update
            )
            making.facts = asdict(outcome)
            with plain_csv(paths.shards / "shards.csv") as lines:
                for line in lines:
                    making.add(paths.shards / line["shard"], line["sha256"])
            for name in ("shards.csv", "category_map.json", "dropped.csv"):
                making.add(paths.shards / name)
