"""report/index.html, one file that works offline, and its plots as files beside it.

Every value of the archive may be hostile: `safe_text` shortens it, and the template escapes it.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gbif_webdataset.account import costs
from gbif_webdataset.account.cost_table import StageCost, sum_by_stage
from gbif_webdataset.account.funnel import FunnelStage, build_funnel
from gbif_webdataset.account.subset_stages import SubsetTable
from gbif_webdataset.formatting import format_count, format_duration, format_size
from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import DatasetDescription, Shard, list_public_parameters
from gbif_webdataset.read import dataset_titles
from gbif_webdataset.report import svg, thumbnails
from gbif_webdataset.report.equal_earth import CELL
from gbif_webdataset.report.facets import Breakdown
from gbif_webdataset.report.figures import draw_figures
from gbif_webdataset.report.safe_text import MAX_TEXT_CHARACTERS, shorten, shorten_lines, to_script_json
from gbif_webdataset.report.statistics import DatasetStatistics, collect_statistics
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import explain_reason
from gbif_webdataset.terms.splits import HOLDOUT, SPLITS

TRANSFORMS = {
    "passed_through": "copied byte for byte",
    "reencoded": "encoded again",
    "cropped": "cropped to the box that MegaDetector found",
    "without_detection": "not cropped, because MegaDetector found no box",
    "enlarged": "enlarged to the requested square",
    "turned": "rotated upright, as EXIF says",
    "transparent": "transparent: placed on white",
    "deep": "more than 8 bits per channel: scaled to 8 bits",
    "animated": "several frames: only the first is kept",
    "cmyk": "converted from CMYK to sRGB",
}
"""Counts in the record of CreateWebDataset, and what they count."""
TRAITS = {
    "occurrence": "the same occurrence",
    "observer": "the same observer",
    "place+date": "the same place and day",
    "event": "the same event",
    "content": "the same bytes",
    "near-duplicate": "nearly the same picture",
}
"""Values of `shares` in leakage.csv, in words."""
DUPLICATES = {"exact": "the same bytes", "near": "nearly the same picture"}

FIRST_CLASSES = 60  # lines of the table of classes without JavaScript
MAX_SHARDS = 200
IMAGES_PER_CLASS, IMAGES_PER_REASON = 6, 12
REACHED_STAGES = {
    "ReadArchive": "read", "read": "read", "FetchChunk": "fetch", "fetch": "fetch", "VerifyChunk": "verify",
    "verify": "verify", "VerifyImages": "verify", "tables": "verify", "DeleteImages": "delete",
    "CleanDataset": "clean", "SplitDataset": "split", "PlanShards": "shards", "ShardChunk": "shards",
    "CreateWebDataset": "shards", "shards": "shards",
}  # fmt: skip
"""By task or Slurm job array, the stage of the funnel with the images that it works on."""


@dataclass(frozen=True)
class ReportContent:
    """The results of all stages.

    archive: path of the archive, which has the titles of the source datasets.
    transforms: the record of CreateWebDataset, which counts the images that were changed, by kind of change.
    costs: of each part of each stage.
    files: names of the files in report/, for links.
    subset: what became of the user's list of taxa; None without one.
    """

    archive: Path
    description: DatasetDescription
    transforms: Mapping[str, Any]
    costs: Sequence[costs.Cost]
    files: Sequence[str] = ()
    subset: SubsetTable | None = None


@dataclass(frozen=True)
class StageSpeed:
    """The cost of a stage, images per second of one of its parts, and all its bytes; 0 if there is no number."""

    cost: StageCost
    images_per_second: float
    bytes: int


@dataclass(frozen=True)
class SplitSummary:
    """The samples of a split, its shards, and the bytes of these."""

    name: str
    samples: int
    shards: int
    bytes: int


def write_page(paths: DatasetPaths, content: ReportContent) -> list[Path]:
    """Write index.html, which is smaller than 10 MB, and figures/*.svg into report/; all files written."""
    description = content.description
    label_column = str(description.settings["CreateWebDataset"]["label_column"])
    statistics = collect_statistics(paths, description.classes, label_column)
    stages = build_funnel(description.media_lines, description.lines)
    figures = draw_figures(_shorten_names(statistics), stages)
    files = figures.list_files()
    page = (
        _create_environment()
        .get_template("report.html")
        .render(
            **_collect_results(content, stages, statistics),
            **_collect_origin(description),
            **_collect_tables(statistics, content.archive),
            **_collect_pictures(statistics, paths.images),
            plots={name: Markup(plot) for name, plot in figures.list_inline().items()},  # noqa: S704 - escaped in svg.py
            scale=figures.scale,
            figures=list(files),
        )
    )
    written = {f"figures/{name}.svg": figure for name, figure in files.items()} | {"index.html": page}
    for name, text in written.items():
        with atomic_file(paths.report / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [paths.report / name for name in written]


def _collect_results(
    content: ReportContent, stages: Sequence[FunnelStage], statistics: DatasetStatistics
) -> dict[str, Any]:
    description = content.description
    splits = list(_summarize_splits(description.shards))
    slurm_costs = [cost for cost in content.costs if cost.source == costs.SLURM]
    bytes_by_stage = {"fetch": statistics.fetched_bytes, "shards": sum(split.bytes for split in splits)}
    transforms = [(content.transforms.get(name), name, text) for name, text in TRANSFORMS.items()]
    parameters = {task: list_public_parameters(values) for task, values in description.settings.items()}
    return {
        "media": description.media_lines,
        "samples": sum(line.images for line in description.lines if line.kept),
        "stages": stages,
        "splits": splits,
        "shards": description.shards[:MAX_SHARDS],
        "more_shards": len(description.shards[MAX_SHARDS:]),
        "transforms": [transform for transform in transforms if transform[0]],
        "parameters": {task: values for task, values in parameters.items() if values},
        "speeds": list(_measure_speeds(slurm_costs or content.costs, stages, bytes_by_stage)),
        "is_from_slurm": bool(slurm_costs),
        "files": content.files,
        "subset": content.subset,
        "requested": description.settings.get("SplitDataset", {}),
    }


def _collect_origin(description: DatasetDescription) -> dict[str, Any]:
    """Title, licences and citation."""
    return {
        "title": description.title,
        "taxonomy": description.taxonomy,
        "source": description.source,
        "citation": citation.cite_source(description.source),
        "licence": licences.display_name(description.licence),
        "conditions": licences.list_obligations(description.attribution.codes),
        "licences": description.licence_table,
        "strictest": description.strictest_licences,
        "unknown_texts": description.attribution.unknown_texts,
    }


def _collect_tables(statistics: DatasetStatistics, archive: Path) -> dict[str, Any]:
    classes = statistics.classes
    keys = [count.value for count in statistics.breakdowns.get("dataset", Breakdown()).values]
    splits = [split for split in SPLITS if split != HOLDOUT or any(one.samples[split] for one in classes)]
    rows = [[shorten(one.label), shorten(one.name), *(one.samples[split] for split in splits)] for one in classes]
    return {
        "archive": archive.name,
        "statistics": statistics,
        "breakdowns": statistics.breakdowns,
        "class_names": {one.label: one.name for one in classes},
        "classes": classes[:FIRST_CLASSES],
        "number_of_classes": len(classes),
        "class_splits": splits,
        "has_names": any(one.name for one in classes),
        "rows": to_script_json(rows),
        "cells": to_script_json({f"{cell.column},{cell.row}": images for cell, images in statistics.cells.items()}),
        "titles": dataset_titles.read_titles(archive, keys),
        "licence_names": {code: licences.display_name(code) for code in map(str, licences.Licence)},
        "traits": TRAITS,
        "duplicate_kinds": DUPLICATES,
    }


def _collect_pictures(statistics: DatasetStatistics, images: Path) -> dict[str, Any]:
    """Thumbnails of samples of the largest classes, and of dropped images by reason."""
    by_label = {one.label: one for one in statistics.classes}
    by_class = thumbnails.make_contact_sheet(images, statistics.class_examples, IMAGES_PER_CLASS)
    paths = {dropped: dropped.paths for dropped in statistics.dropped}
    return {
        "class_pictures": [(by_label[label], pictures) for label, pictures in by_class.items() if pictures],
        "dropped_pictures": list(thumbnails.make_contact_sheet(images, paths, IMAGES_PER_REASON).items()),
    }


def _summarize_splits(shards: Sequence[Shard]) -> Iterator[SplitSummary]:
    for name in dict.fromkeys(shard.split for shard in shards):
        own = [shard for shard in shards if shard.split == name]
        yield SplitSummary(name, sum(shard.samples for shard in own), len(own), sum(shard.bytes for shard in own))


def _measure_speeds(
    parts: Sequence[costs.Cost], stages: Sequence[FunnelStage], bytes_by_stage: Mapping[str, int]
) -> Iterator[StageSpeed]:
    images = {stage.stage: stage.before for stage in stages}
    for cost in sum_by_stage(parts):
        stage = REACHED_STAGES.get(cost.stage, "")
        handles_bytes = cost.stage in ("FetchChunk", "fetch", "ShardChunk", "CreateWebDataset", "shards")
        rate = images.get(stage, 0) / cost.seconds if cost.seconds else 0.0
        yield StageSpeed(cost, rate, bytes_by_stage.get(stage, 0) if handles_bytes else 0)


def _shorten_names(statistics: DatasetStatistics) -> DatasetStatistics:
    classes = (replace(one, label=shorten(one.label), name=shorten(one.name)) for one in statistics.classes)
    return replace(statistics, classes=tuple(classes))


def _create_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _read_template("report.js")
    environment.filters |= {
        "count": "{:,}".format,
        "duration": format_duration,
        "explain": explain_reason,
        "noun": format_count,
        "rate": lambda rate: f"{rate:,.{0 if rate >= 10 else 1}f}",
        "shorten": shorten,
        "shorten_lines": shorten_lines,
        "size": format_size,
    }
    environment.globals |= {
        "style": Markup(_read_template("report.css") + svg.STYLE),  # noqa: S704 - no text of the archive
        "script": Markup(script),  # noqa: S704 - no text of the archive
        "script_hash": "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode("ascii"),
        "max_characters": MAX_TEXT_CHARACTERS,
        "cell": CELL,
    }
    return environment


def _read_template(name: str) -> str:
    return resources.files("gbif_webdataset.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
