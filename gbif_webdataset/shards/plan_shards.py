"""The plan of the shards: the order of the samples and their groups, fixed before any sample is written."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gbif_webdataset.images.jpeg_decode import CODECS
from gbif_webdataset.shards.megadetector import load_detections
from gbif_webdataset.shards.recipe import Recipe, compute_digest
from gbif_webdataset.shards.sample import ImageSettings, Sample
from gbif_webdataset.shards.sample_classes import load_classes
from gbif_webdataset.shards.sample_rows import load_rows
from gbif_webdataset.shards.shard_files import PARTS, PLAN, ShardFolders, delete_shards, delete_temporary_files
from gbif_webdataset.shards.shard_store import ShardStore
from gbif_webdataset.shards.size_groups import COLUMNS, Group, estimate_sizes, group_samples
from gbif_webdataset.storage.arrow import reading_table, write_parquet
from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json
from gbif_webdataset.storage.pack_store import restore_indexes
from gbif_webdataset.storage.recorded_files import is_as_recorded
from gbif_webdataset.storage.tables import open_database
from gbif_webdataset.storage.target_record import FileRecord
from gbif_webdataset.terms.splits import split_paths

SAMPLES = "plan.parquet"
READ_ROWS = 1024  # rows of the plan in memory


@dataclass(frozen=True)
class Plan:
    """The content of plan.json. The samples are in plan.parquet, group by group, in their order.

    `samples_file` has the size and SHA-256 of plan.parquet.
    """

    digest: str
    codecs: str
    max_shard_size: int
    image_settings: ImageSettings
    caption_template: str
    groups: list[Group]
    samples: dict[str, int]
    dropped: dict[str, int]
    boxes_ignored: int
    without_detection: int
    samples_file: FileRecord


def read_plan(shards: Path) -> Plan | None:
    """The plan in the folder of the shards; None if there is none, a damaged one, or one of another version."""
    try:
        plan, has_checksum = read_checked_json(shards / PARTS / PLAN)
    except (FileNotFoundError, DamagedJsonError):
        return None
    if plan.keys() != Plan.__annotations__.keys() or not has_checksum:
        return None
    try:
        settings, groups = ImageSettings(**plan["image_settings"]), [Group(**group) for group in plan["groups"]]
        samples = FileRecord(**plan["samples_file"])
    except TypeError:
        return None
    return Plan(**{**plan, "image_settings": settings, "groups": groups, "samples_file": samples})


def find_plan(splits: Path, shards: Path, recipe: Recipe) -> Plan | None:
    """The plan for these splits and this recipe; None if there is none, or one for others."""
    plan = read_plan(shards)
    return plan if plan is not None and plan.digest == compute_digest(splits, recipe) else None


def prepare_plan(folders: ShardFolders, recipe: Recipe) -> Plan:
    """The plan that a stopped run left; or else a new one, after the older shards are deleted.

    A new plan comes with category_map.json, classes.csv, dropped.csv and, if labels have names, label_names.json. It
    does not depend on the order of the rows.

    Raises:
        SelectionError: a column is unknown, the category map lacks a label, or no row has a label.
        MissingPieceError: a split is missing, or an image has changed since it was verified.
        ParameterError: a parameter is out of range, or a file that it names is missing or not valid.
        StoreError: the address of the shards cannot be used, or has shards that this folder did not write.
    """
    digest = compute_digest(folders.splits, recipe)  # before anything is deleted, because it checks the recipe
    store = ShardStore(folders.to) if folders.to else None
    if store:
        store.claim(folders.shards)
    plan = read_plan(folders.shards)
    samples = folders.shards / PARTS / SAMPLES
    if plan is not None and plan.digest == digest and is_as_recorded(samples, plan.samples_file):
        delete_temporary_files(folders.shards)
        return plan
    if store:
        store.delete_shards(max(recipe.max_shard_size, plan.max_shard_size if plan else 0))
    delete_shards(folders.shards)
    return _make_plan(folders, recipe, digest)


def _make_plan(folders: ShardFolders, recipe: Recipe, digest: str) -> Plan:
    groups: list[Group] = []
    restore_indexes(folders.images)
    with open_database(folders.scratch) as connection:
        dropped = load_rows(connection, folders.splits, folders.shards, recipe)
        load_classes(connection, folders.shards, recipe)
        boxes_ignored, without_detection = load_detections(connection, recipe)
        estimate_sizes(connection, folders.images, recipe)
        batches = group_samples(connection, recipe, groups)
        samples = folders.shards / PARTS / SAMPLES
        write_parquet(batches, samples, COLUMNS)
    plan = Plan(
        digest=digest,
        codecs=CODECS,
        max_shard_size=recipe.max_shard_size,
        image_settings=recipe.image_settings,
        caption_template=recipe.caption_template,
        groups=groups,
        samples={
            split: sum(group.samples for group in groups if group.split == split)
            for split in split_paths(folders.splits)
        },
        dropped=dropped,
        boxes_ignored=boxes_ignored,
        without_detection=without_detection,
        samples_file=FileRecord.of(samples),
    )
    write_checked_json(folders.shards / PARTS / PLAN, asdict(plan))
    return plan


def read_samples(shards: Path, group: int) -> Iterator[Sample]:
    """The samples of a group in their order; a few of them are in memory at a time.

    Raises:
        DamagedFileError: the plan is damaged.
    """
    with reading_table(shards / PARTS / SAMPLES), pq.ParquetFile(shards / PARTS / SAMPLES) as file:
        for number in range(file.num_row_groups):
            span = file.metadata.row_group(number).column(0).statistics
            if not span.min <= group <= span.max:
                continue
            for batch in file.iter_batches(READ_ROWS, row_groups=[number], use_threads=False):
                chosen = batch.filter(pc.equal(batch["group"], group))
                names = [name for name in COLUMNS.names[1:] if name in chosen.schema.names]  # an older plan lacks one
                values = {name: chosen[name].to_pylist() for name in names}
                values["box"] = [tuple(box) if box else None for box in values["box"]]
                yield from starmap(Sample, zip(*values.values(), strict=True))
