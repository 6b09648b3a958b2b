"""The plan of the shards: which sample stands where, made before any of them is written."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gbif_webdataset.images.jpeg_decode import CODECS
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards.sample import Look, Sample
from gbif_webdataset.shards.sample_rows import load_classes, load_detections, load_rows
from gbif_webdataset.shards.size_groups import COLUMNS, Group, estimate, grouped
from gbif_webdataset.storage.arrow import write_parquet
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.tables import open_database
from gbif_webdataset.terms.splits import split_paths

PARTS = ".parts"
AT_ONCE = 1024  # samples that are read from the plan at a time


@dataclass(frozen=True)
class Plan:
    """What stands in `plan.json`; the samples themselves are in `plan.parquet`, group by group, in their order."""

    digest: str
    codecs: str
    max_shard_size: int
    look: Look
    groups: list[Group]
    samples: dict[str, int]
    dropped: dict[str, int]
    boxes_ignored: int
    without_detection: int


def read_plan(folder: Path) -> Plan | None:
    """The plan of the shards in `folder`; None where there is none, or only one of an older version of this code."""
    try:
        plan = json.loads((folder / PARTS / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if plan.keys() != Plan.__annotations__.keys():
        return None
    return Plan(**{**plan, "look": Look(**plan["look"]), "groups": [Group(**group) for group in plan["groups"]]})


def samples_of(folder: Path, group: int) -> Iterator[Sample]:
    """A group's samples in their order, read as a stream."""
    with pq.ParquetFile(folder / PARTS / "plan.parquet") as file:
        for number in range(file.num_row_groups):
            span = file.metadata.row_group(number).column(0).statistics
            if not span.min <= group <= span.max:
                continue
            for batch in file.iter_batches(AT_ONCE, row_groups=[number], use_threads=False):
                chosen = batch.filter(pc.equal(batch["group"], group))
                *columns, boxes, texts = (chosen[name].to_pylist() for name in COLUMNS.names[1:])
                exact = (tuple(box) if box else None for box in boxes)
                yield from starmap(Sample, zip(*columns, exact, texts, strict=True))


def make_plan(splits: Path, images: Path, folder: Path, recipe: Recipe, digest: str, scratch: Path) -> Plan:
    """Write category_map.json, classes.csv and dropped.csv to `folder`, and the plan to its `.parts`, plan.json last.

    Samples stand in the order of a seeded hash of their path, or of the path where `shuffle` is off. They are cut into
    groups of whole shards by their estimated bytes; neither depends on the order of rows. Raises SelectionError for
    an unknown column, a label that the map lacks, or nothing to write; MissingPieceError for an image that isn't as
    verified; ParameterError for an unreadable category map or unreadable detections.
    """
    with open_database(scratch) as connection:
        dropped = load_rows(connection, splits, folder, recipe)
        load_classes(connection, folder, recipe)
        ignored, without = load_detections(connection, recipe)
        estimate(connection, images, recipe)
        groups: list[Group] = []
        write_parquet(grouped(connection, recipe, groups), folder / PARTS / "plan.parquet", COLUMNS)
    plan = Plan(
        digest=digest,
        codecs=CODECS,
        max_shard_size=recipe.max_shard_size,
        look=recipe.look,
        groups=groups,
        samples={
            split: sum(group.samples for group in groups if group.split == split) for split in split_paths(splits)
        },
        dropped=dropped,
        boxes_ignored=ignored,
        without_detection=without,
    )
    with atomic_file(folder / PARTS / "plan.json") as temporary:
        temporary.write_text(json.dumps(asdict(plan)) + "\n", encoding="utf-8")
    return plan
