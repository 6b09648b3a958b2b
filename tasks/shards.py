"""CreateWebDataset: create_webdataset."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.images.crop import RESIZE_MODES
from gbif_webdataset.shards import create_webdataset
from gbif_webdataset.shards.recipe import FORMAT, Recipe, check
from gbif_webdataset.shards.sample import IMAGE_FORMATS
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms.splits import LABEL, SPLITS
from tasks.framework.dataset_task import LOCAL, SLURM, ChunkTask, DatasetTask
from tasks.framework.parameters import Choice, Count, Flag, InputFile, Text, listed
from tasks.split import SplitDataset


class CreateWebDataset(DatasetTask):
    """Write each split as WebDataset shards that are the same, byte for byte, wherever and however they are made."""

    FORMAT = FORMAT

    label_column: str = Text(
        default="", description="column whose values are the classes; what SplitDataset dealt by where none is given"
    )
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
        description="column with the labels' names for people, such as species or vernacularName, for classes.csv and "
        "label_names.json",
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
        dealt = self.clone(SplitDataset)
        self.label_column = self.label_column or (LABEL if dealt.roll_up else dealt.category_key)
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

    def requires(self) -> list[DatasetTask]:
        """The splits; and the groups of samples that Slurm's nodes write."""
        groups = [self.clone(ShardChunk, chunk=chunk) for chunk in range(self.chunks if self.runner == SLURM else 0)]
        return [self.clone(SplitDataset), *groups]

    def inputs(self) -> dict[str, str]:
        """The splits, whoever writes the shards."""
        splits = self.upstream[0]
        return {splits.label: splits.output().record.digest}

    def run(self) -> None:
        """Write the shards, and read them back."""
        paths = self.paths
        if create_webdataset.planned(paths.splits, paths.shards, self.recipe) is None:
            _delete_chunk_records(paths)
        images = self.upstream[0].output().record.results
        total = sum(images.get(split, 0) for split in SPLITS)
        with self.write_target() as target, self.progress("shards", "images", total) as progress:
            outcome = create_webdataset.create(
                paths.splits, paths.images, paths.shards, self.recipe, self.num_workers, paths.scratch, progress.update
            )
            target.results = asdict(outcome)
            with open_csv(paths.shard_list) as lines:
                for line in lines:
                    shard = paths.shards / line["shard"]
                    target.add(shard, line["sha256"])
                    target.add(shard.with_suffix(".idx"))
            for name in create_webdataset.TABLES + (create_webdataset.SOME_TABLES if self.label_name else ()):
                target.add(paths.shards / name)


def _delete_chunk_records(paths: DatasetPaths) -> None:
    """Delete the records of the chunks of older shards, whose costs the report would count."""
    for record in paths.record("").parent.glob("ShardChunk-*.json"):
        record.unlink(missing_ok=True)


class PlanShards(DatasetTask):
    """Plan the shards, for ShardChunk to write on many machines. CreateWebDataset does both where it runs alone."""

    HAS_SLURM_JOB = True
    IS_STAGE = False

    def requires(self) -> SplitDataset:
        """The splits."""
        return self.clone(SplitDataset)

    def complete(self) -> bool:
        """Whether these shards are planned, or written already."""
        return self.dataset.complete() or (self.upstream[0].complete() and self.load_plan() is not None)

    def run(self) -> None:
        """Plan the shards, in a folder cleared of older ones."""
        paths = self.paths
        with self.write_target():
            paths.record(self.dataset.label).unlink(missing_ok=True)
            _delete_chunk_records(paths)
            create_webdataset.prepare(paths.splits, paths.images, paths.shards, self.dataset.recipe, paths.scratch)

    @property
    def dataset(self) -> CreateWebDataset:
        """The shards."""
        return self.clone(CreateWebDataset, runner=LOCAL if self.runner == SLURM else self.runner)

    def load_plan(self) -> create_webdataset.Plan | None:
        """The plan, where it is made."""
        return create_webdataset.planned(self.paths.splits, self.paths.shards, self.dataset.recipe)


class ShardChunk(ChunkTask):
    """Write a part of the planned groups of samples; CreateWebDataset numbers them all and makes shards of them."""

    IS_STAGE = False

    def requires(self) -> PlanShards:
        """The plan."""
        return self.clone(PlanShards)

    def complete(self) -> bool:
        """Whether this part is written."""
        planning = self.requires()
        if planning.dataset.complete():
            return True
        plan = planning.load_plan() if planning.complete() else None
        return plan is not None and not self._missing(plan)

    def run(self) -> None:
        """Write what is missing of this part."""
        plan = self.requires().load_plan()
        if plan is None:
            raise MissingPieceError(f"{self.paths.shards}: the plan of the shards has gone; run make slurm again")
        samples = [sum(group.samples for group in plan.groups[chunk :: self.chunks]) for chunk in range(self.chunks)]
        workers, mine = self.requires().dataset.num_workers, self._missing(plan)
        with self.write_target(), self.chunk_progress("shards", samples) as progress:
            create_webdataset.write(
                self.paths.shards, self.paths.images, plan, mine, workers, samples[self.chunk], progress.update
            )

    def _missing(self, plan: create_webdataset.Plan) -> list[int]:
        return [
            group for group in create_webdataset.unwritten(self.paths.shards, plan) if group % self.chunks == self.chunk
        ]
