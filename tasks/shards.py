"""CreateWebDataset: the shards. PlanShards and ShardChunk write them on several machines."""

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from gbif_webdataset.errors import ChangedImageError, MissingPieceError
from gbif_webdataset.images.crop import RESIZE_MODES
from gbif_webdataset.shards.categories import NAME as CATEGORIES
from gbif_webdataset.shards.changed_images import changed_images_error, find_changed_images
from gbif_webdataset.shards.check_request import check_columns, check_files, match_category_map, match_detections
from gbif_webdataset.shards.create_webdataset import create_shards
from gbif_webdataset.shards.plan_shards import Plan, find_plan, prepare_plan
from gbif_webdataset.shards.recipe import Recipe, check_recipe
from gbif_webdataset.shards.sample import IMAGE_FORMATS
from gbif_webdataset.shards.shard_chunk import write_groups
from gbif_webdataset.shards.shard_files import OPTIONAL_TABLES, TABLES, ShardFolders, find_unwritten_groups
from gbif_webdataset.shards.shard_store import ShardStore, check_address, parse_address
from gbif_webdataset.shards.stage_packs import stage_packs
from gbif_webdataset.split.labels import label_value
from gbif_webdataset.storage.chunks import parse_chunk_name
from gbif_webdataset.storage.ledger_marks import has_image, mark_in_ledger
from gbif_webdataset.storage.manifest_checklist import load_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.tables import describe_columns, open_csv, quote_name
from gbif_webdataset.storage.target_record import FileRecord
from gbif_webdataset.terms.splits import LABEL, SPLITS
from tasks.fetch import FetchChunk
from tasks.framework import validation
from tasks.framework.dataset_task import LOCAL, SLURM, ChunkTask, DatasetTask
from tasks.framework.parameters import (
    Choice,
    Count,
    Flag,
    InputFile,
    Real,
    StoreFolder,
    Template,
    Text,
    split_list,
)
from tasks.framework.slurm_runner import NO, slurm
from tasks.framework.target import TargetBuilder
from tasks.split import SplitDataset

LOCAL_DISK = "SLURM_TMPDIR"
"""The variable of a Slurm job that names a folder on a disk of its node."""


class CreateWebDataset(DatasetTask):
    """Write each split as WebDataset shards. The same input and parameters give the same bytes on every machine."""

    COLUMN_PARAMETERS = ("label_column", "label_name", "columns_to_json", "caption_template")

    label_column: str = Text(
        default="",
        description="Column whose values are the labels of the classes. Empty: SplitDataset's category_key, or, with "
        "roll_up, the column label.",
    )
    max_shard_size: int = Count(
        default=100 << 20, minimum=10_240, description="Maximum size of a shard in bytes, including the tar's overhead."
    )
    min_shards: int = Count(
        default=0,
        description="Minimum number of shards of each split, so that each of your training processes can read one. If "
        "max_shard_size gives fewer, the split is cut into shards with equal numbers of samples. 0: no minimum.",
    )
    shuffle_images: bool = Flag(
        default=True, description="true: write the samples in random order. false: in the order of their paths."
    )
    image_format: str = Choice(
        default="jpg",
        choices=IMAGE_FORMATS,
        description="Format of the images in the shards. jpg, webp: convert images of other formats. original: keep "
        "the bytes and the format of each file.",
    )
    resize_min_size: int = Count(
        default=0,
        description="Length of the side that resize_mode names, in pixels. Images with a longer side are shrunk to it. "
        "0: keep the size.",
    )
    resize_mode: str = Choice(
        default="shorter",
        choices=RESIZE_MODES,
        description="Side that resize_min_size limits. shorter, longer: that side; smaller images are not enlarged. "
        "square: crop the middle and make it a square of exactly this size; smaller images are enlarged.",
    )
    jpeg_quality: int = Count(
        default=95,
        minimum=1,
        maximum=100,
        description="Quality of the images that are encoded, JPEG or WebP: 1 (smallest files) to 100 (best images).",
    )
    category_map_json: str = InputFile(
        default="",
        description='JSON file that maps each label to its class number, such as {"5WZLF": 0}. Empty: number the '
        "labels of train from 0, in the order of their text.",
    )
    previous_category_map: str = InputFile(
        default="",
        beside=(CATEGORIES,),
        description="category_map.json of an earlier dataset, or its address, such as "
        "s3://bucket/moths/category_map.json. Its labels keep their class numbers; new labels get the "
        "next numbers. Empty: number all labels from 0.",
    )
    crosswalk: str = InputFile(
        default="",
        description="crosswalk.csv of `make crosswalk`, from the taxonomy of previous_category_map to that of this "
        "archive. Classes keep their numbers when their labels change; what became of each class is in "
        "class_changes.csv. Empty: none.",
    )
    label_name: str = Text(
        default="",
        description="Column with a readable name for each label, such as species or vernacularName. The names are "
        "written to classes.csv and label_names.json. Empty: the scientific names of the labels, such as species for "
        "speciesKey, if the archive has them.",
    )
    columns_to_json: str = Text(
        default="",
        description="Columns to write into the .json of each sample, separated by commas. Numeric terms, such as "
        "decimalLatitude and year, become numbers; all others are text. A missing value is null. Empty: no .json.",
    )
    hierarchy_to_json: bool = Flag(
        default=False,
        description="true: also write the names and keys of all ranks from kingdom to species into the .json of each "
        "sample. false: only columns_to_json.",
    )
    caption_template: str = Template(
        default="",
        description="Text of the .txt of each sample, with columns in braces, such as 'a photo of {species}, "
        "{vernacularName}'. An empty column is left out with the text before it. Empty: no .txt.",
    )
    megadetector_results_json: str = InputFile(
        default="",
        description="Output file of MegaDetector: crop each image to its most confident box, with a margin of 10 % of "
        "the box on each side. An image without a box is kept whole. Paths may be absolute, relative or bare names. "
        "Empty: no cropping.",
    )
    detection_categories: str = Text(
        default="animal",
        description="Categories of MegaDetector to crop to, separated by commas. Empty: all that its file lists.",
    )
    detection_threshold: float = Real(
        default=-1.0,
        minimum=-1,
        maximum=1,
        description="Minimum confidence of a box, from 0 to 1. Negative: the typical threshold that MegaDetector's "
        "file states, or else 0.2.",
    )
    to: str = StoreFolder(
        default="",
        description="Address for the shards, such as s3://bucket/moths, gs://bucket/moths, az://container/moths or "
        "file:///mnt/x. The tars are written there, and only one at a time for each process is on the local disk; "
        "everything else is in <output>/shards. A process that sends a tar has up to 128 MiB of it in memory, with "
        "gs:// the whole tar. Empty: <output>/shards.",
    )
    random_seed: int = Count(default=42, description="Seed of the random order of samples (shuffle_images).")
    num_workers: int = Count(
        default=2,
        minimum=1,
        significant=False,
        description="Number of processes, or of threads for few images, that write shards at the same time. It does "
        "not change the shards.",
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        splits = self.clone(SplitDataset)
        self.label_column = self.label_column or (LABEL if splits.roll_up else splits.category_key)
        self.options = Recipe(
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
            columns_to_json=split_list(self.columns_to_json),
            hierarchy_to_json=self.hierarchy_to_json,
            caption_template=self.caption_template,
            megadetector_results_json=Path(self.megadetector_results_json) if self.megadetector_results_json else None,
            detection_categories=split_list(self.detection_categories),
            detection_threshold=None if self.detection_threshold < 0 else self.detection_threshold,
            crosswalk=Path(self.crosswalk) if self.crosswalk else None,
            same_taxonomy=self.same_taxonomy,
            to=self.to,
        )
        check_recipe(self.options)
        self.FORMAT = self.options.format
        self.address = parse_address(self.to, self.paths.output) if self.to else None

    @property
    def folders(self) -> ShardFolders:
        """The folders to read and write, and the address of the shards."""
        paths = self.paths
        return ShardFolders(paths.splits, paths.images, paths.shards, paths.scratch, to=self.address)

    @property
    def recipe(self) -> Recipe:
        """The options with the checklist of the present manifest."""
        return replace(self.options, checklist=load_checklist(self.paths))

    def check_options(self, columns: Collection[str]) -> None:
        """Check the columns and files that the options name. SplitDataset itself checks category_key."""
        splits = self.clone(SplitDataset)
        made = [splits.category_key, *([LABEL] if splits.roll_up else [])]
        check_columns(self.options, list(dict.fromkeys([*columns, *made])))
        check_files(self.options)

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Count the labels of the category map, and the entries of MegaDetector's file, that occur."""
        return [*self._match_labels(connection), *match_detections(connection, self.options, "manifest")]

    def _match_labels(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        options, columns = self.clone(SplitDataset).options, describe_columns(connection, "manifest")
        if self.label_column == LABEL:
            label = label_value(options, columns)
        elif self.label_column in columns:
            label = f"clean.{quote_name(self.label_column)}"
        else:  # a later stage adds the column
            return []
        recipe = replace(self.options, checklist=validation.find_checklist(connection))
        return match_category_map(connection, recipe, "manifest AS clean", label)

    def requires(self) -> list[DatasetTask]:
        """The splits. With --runner slurm also the chunks that Slurm writes."""
        groups = [self.clone(ShardChunk, chunk=chunk) for chunk in range(self.chunks if self.runner == SLURM else 0)]
        return [self.clone(SplitDataset), *groups]

    def check_images(self) -> None:
        """Check that the images were not removed."""
        self.clone(FetchChunk, chunk=0).check_images()

    def check_store(self, with_writing: bool) -> None:
        """Check that the shards can be written to their address."""
        if self.address:
            check_address(self.address, self.paths.shards, with_writing)

    def claim_address(self) -> None:
        """Mark the address as that of these shards. Raises StoreError before any record or shard is deleted."""
        if self.address:
            ShardStore(self.address).claim(self.paths.shards)

    def inputs(self) -> dict[str, str]:
        """The splits only: who writes the chunks changes no byte."""
        splits = self.upstream[0]
        return {splits.label: splits.output().record.digest_of_images}

    def run(self) -> None:
        """Write the shards and read them back."""
        paths = self.paths
        self.claim_address()
        if find_plan(paths.splits, paths.shards, self.recipe) is None:
            _delete_chunk_records(paths)
        images = self.upstream[0].output().record.results
        total = sum(images.get(split, 0) for split in SPLITS)
        with self.write_target() as target, self.progress("shards", "images", total) as progress:
            with _marking_changed_images(paths):
                counts = create_shards(self.folders, self.recipe, self.num_workers, progress.update)
            target.results, target.store = asdict(counts), self.to
            with open_csv(paths.shard_list) as lines:
                for line in lines:
                    _add_shard(target, paths, line)
            for name in (*TABLES, *OPTIONAL_TABLES):
                if name in TABLES or (paths.shards / name).is_file():
                    target.add(paths.shards / name)


@contextlib.contextmanager
def _marking_changed_images(paths: DatasetPaths) -> Iterator[None]:
    """If an image has changed, mark all that have in the ledger, so that the next run downloads them.

    Raises:
        MissingPieceError: an image has changed. It states their number.
    """
    try:
        yield
    except ChangedImageError:
        changed = find_changed_images(paths.splits, paths.images)
        if not changed:
            raise
        for ledger in paths.list_chunks("fetched"):
            if has_image(ledger, changed):
                paths.record(f"FetchChunk-{parse_chunk_name(ledger.name):05d}").unlink(missing_ok=True)
                mark_in_ledger(ledger, changed)
        raise changed_images_error(paths.images, changed) from None


def _add_shard(target: TargetBuilder, paths: DatasetPaths, line: dict[str, str]) -> None:
    """Add a shard and its index to a target. At an address both are objects, and the index is also a file."""
    shard = paths.shards / line["shard"]
    index = shard.with_suffix(".idx")
    target.add(index)
    if target.store:
        name = index.relative_to(paths.shards).as_posix()
        target.objects[line["shard"]] = FileRecord(int(line["bytes"]), line["sha256"])
        target.objects[name] = target.files[index.relative_to(paths.output).as_posix()]
    else:
        target.add(shard, line["sha256"])


def _delete_chunk_records(paths: DatasetPaths) -> None:
    """Delete the records of the chunks of older shards, whose costs the report would count."""
    for record in paths.record("").parent.glob("ShardChunk-*.json"):
        record.unlink(missing_ok=True)


class PlanShards(DatasetTask):
    """Plan the shards, so that ShardChunk can write them on several machines."""

    HAS_SLURM_JOB = True
    IS_STAGE = False

    def requires(self) -> SplitDataset:
        """The splits."""
        return self.clone(SplitDataset)

    def complete(self) -> bool:
        """Whether the shards are planned or written."""
        return self.dataset.complete() or (self.upstream[0].complete() and self.load_plan() is not None)

    def check_images(self) -> None:
        """Check that the images were not removed: the plan measures some of them."""
        self.dataset.check_images()

    def run(self) -> None:
        """Delete older shards and plan the new ones."""
        paths = self.paths
        self.dataset.claim_address()
        with self.write_target():
            paths.record(self.dataset.label).unlink(missing_ok=True)
            _delete_chunk_records(paths)
            with _marking_changed_images(paths):
                prepare_plan(self.dataset.folders, self.dataset.recipe)

    @property
    def dataset(self) -> CreateWebDataset:
        """The task that completes the shards."""
        return self.clone(CreateWebDataset, runner=LOCAL if self.runner == SLURM else self.runner)

    def load_plan(self) -> Plan | None:
        """The plan; None if there is none."""
        return find_plan(self.paths.splits, self.paths.shards, self.dataset.recipe)


class ShardChunk(ChunkTask):
    """Write a part of the planned groups of samples. When all are written, CreateWebDataset names the shards."""

    IS_STAGE = False

    def requires(self) -> PlanShards:
        """The plan."""
        return self.clone(PlanShards)

    def complete(self) -> bool:
        """Whether the groups of this chunk are written."""
        planning = self.requires()
        if planning.dataset.complete():
            return True
        plan = planning.load_plan() if planning.complete() else None
        return plan is not None and not self._missing(plan)

    def check_images(self) -> None:
        """Check that the images were not removed."""
        self.requires().check_images()

    def run(self) -> None:
        """Write the groups of this chunk that are missing."""
        plan = self.requires().load_plan()
        if plan is None:
            raise MissingPieceError(f"{self.paths.shards}: the plan of the shards is missing; run `make slurm` again")
        samples = [sum(group.samples for group in plan.groups[chunk :: self.chunks]) for chunk in range(self.chunks)]
        groups = range(self.chunk, len(plan.groups), self.chunks)
        workers = self.requires().dataset.num_workers
        progress = self.chunk_progress("shards", samples)
        with self.write_target(), progress, _marking_changed_images(self.paths), contextlib.ExitStack() as stack:
            folders = self.requires().dataset.folders
            if slurm().stage_in != NO and (disk := os.environ.get(LOCAL_DISK)):
                folders = stack.enter_context(
                    stage_packs(folders, self._missing(plan), Path(disk), progress.print_once)
                )
            write_groups(folders, plan, groups, workers, progress.update)

    def slurm_options(self) -> list[str]:
        """The option that the Slurm job needs, too."""
        return [f"--slurm-stage-in={slurm().stage_in}"]

    def _missing(self, plan: Plan) -> list[int]:
        unwritten = find_unwritten_groups(self.paths.shards, plan.groups, bool(self.requires().dataset.to))
        return [group for group in unwritten if group % self.chunks == self.chunk]
