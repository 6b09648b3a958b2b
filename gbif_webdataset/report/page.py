"""report/index.html, one file that works offline, and its plots as files beside it.

Every value of the archive may be hostile: `safe_text` shortens it, and the template escapes it.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from gbif_webdataset.account import costs
from gbif_webdataset.account.cost_table import StageCost, sum_by_stage
from gbif_webdataset.account.funnel import FunnelStage, build_funnel
from gbif_webdataset.account.subset_stages import SubsetTable
from gbif_webdataset.formatting import format_count, format_duration, format_size, split_scientific_name
from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import DatasetDescription, Shard, list_public_parameters
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.read import dataset_titles
from gbif_webdataset.report import thumbnails
from gbif_webdataset.report.facets import Breakdown
from gbif_webdataset.report.figures import INLINE, draw_figures
from gbif_webdataset.report.plot import STYLE, Plot
from gbif_webdataset.report.safe_text import MAX_TEXT_CHARACTERS, shorten, shorten_lines, to_script_json
from gbif_webdataset.report.statistics import DatasetStatistics, collect_statistics
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_store import restore_indexes
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
LICENCE_NAMES = {code: licences.display_name(code) for code in map(str, licences.Licence)}
RANK_MARKS = re.compile(r"( (?:subsp|ssp|var|f)\. )")
OPTION = re.compile(r"(--[A-Z]\w*-[\w-]+(?: [^\s(]+)?)")
DUPLICATES = {"exact": "the same bytes", "near": "nearly the same picture"}

FIRST_CLASSES = 25  # lines of the table of classes without JavaScript
MAX_SHARDS = 200
PLOT_LINES = 10  # of a breakdown that is as high as a plot
IMAGES_PER_CLASS = IMAGES_PER_REASON = 6
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

    archives: paths of the archives, which have the titles of the source datasets.
    transforms: the record of CreateWebDataset, which counts the images that were changed, by kind of change.
    costs: of each part of each stage.
    files: names of the files in report/, for links.
    subset: what became of the user's list of taxa; None without one.
    """

    archives: Sequence[Path]
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
    """Write index.html, which is smaller than 10 MB, and the plots of figures/ into report/; all files written."""
    description = content.description
    label_column = str(description.settings["CreateWebDataset"]["label_column"])
    statistics = collect_statistics(paths, description.classes, label_column)
    stages = build_funnel(description.media_lines, description.lines)
    titles: dict[str, str] = {}
    for archive in sorted(content.archives):
        titles |= dataset_titles.read_titles(archive, _list_values(statistics, "dataset"))
    names = {"dataset": {key: shorten(title) for key, title in titles.items()}, "licence": LICENCE_NAMES}
    figures = draw_figures(_shorten_texts(statistics), stages, names)
    page = (
        _create_environment()
        .get_template("report.html")
        .render(
            **_collect_results(content, stages, statistics),
            **_collect_origin(description),
            **_collect_tables(statistics, content),
            **_collect_pictures(statistics, paths.images),
            plots={name: figures[name] for name in INLINE if name in figures},
            titles=titles,
            loading=write_loading_code(
                str(paths.shards), description.shards, description.extensions, address=description.shards_address
            ),
            figures=list(figures),
            origin_cards=_sort_cards(
                statistics, ("country", "dataset", "licence", "life stage", "by-year", "by-month", "host"), figures
            ),
            image_cards=_sort_cards(statistics, ("image-sizes", "file-sizes"), figures),
        )
    )
    with atomic_file(paths.report_page) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return [paths.report_page, *_write_figures(paths.report / "figures", figures)]


def _write_figures(folder: Path, figures: Mapping[str, Plot]) -> Iterator[Path]:
    """Write each plot as SVG and PNG; plots of an earlier report that this one does not have are deleted."""
    names = {f"{name}.{ending}" for name in figures for ending in ("svg", "png")}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            path.unlink()
    for name, plot in figures.items():
        for ending, content in (("svg", plot.draw_file().encode()), ("png", plot.draw_png())):
            path = folder / f"{name}.{ending}"
            with atomic_file(path) as temporary:
                temporary.write_bytes(content)
            yield path


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
        "taxonomy": str(description.taxonomy),
        "sources": description.sources,
        "citations": list(map(citation.cite_source, description.sources)),
        "is_of_gbif": description.is_of_gbif,
        "licence": licences.display_name(description.licence),
        "conditions": licences.list_obligations(description.attribution.codes),
        "licences": description.licence_table,
        "strictest": description.strictest_licences,
        "unknown_texts": description.attribution.unknown_texts,
    }


def _collect_tables(statistics: DatasetStatistics, content: ReportContent) -> dict[str, Any]:
    classes, findings = statistics.classes, content.description.findings
    splits = [split for split in SPLITS if split != HOLDOUT or any(one.samples[split] for one in classes)]
    rows = [
        [shorten(one.label), *_split_name(one.name or one.label), *(one.samples[split] for split in splits)]
        for one in classes
    ]
    return {
        "statistics": statistics,
        "breakdowns": statistics.breakdowns,
        "unstated": [name for name in ("country", "year", "month", "life stage") if not _list_values(statistics, name)],
        "placed": sum(statistics.cells.values()),
        "findings": findings,
        "class_names": {one.label: one.name for one in classes},
        "classes": classes[:FIRST_CLASSES],
        "class_numbers": _summarize_classes([one.total for one in classes if one.total]),
        "number_of_classes": len(classes),
        "class_splits": splits,
        "has_names": any(one.name for one in classes),
        "rows": to_script_json(rows),
        "cells": to_script_json({f"{cell.column},{cell.row}": images for cell, images in statistics.cells.items()}),
        "cell": statistics.view.cell * statistics.view.zoom,
        "licence_names": LICENCE_NAMES,
        "duplicate_kinds": DUPLICATES,
    }


def _sort_cards(statistics: DatasetStatistics, names: Sequence[str], figures: Mapping[str, Plot]) -> list[str]:
    """The plots and breakdowns that exist, the highest first, so that neighbours have similar heights."""
    lines = {
        name: len(breakdown.values) + bool(breakdown.others.images) + bool(breakdown.missing.images)
        for name, breakdown in statistics.breakdowns.items()
    }
    has_values = {name for name, breakdown in statistics.breakdowns.items() if breakdown.values}
    heights = {
        name: PLOT_LINES if name in figures else lines[name] for name in names if name in figures or name in has_values
    }
    return sorted(heights, key=lambda name: -heights[name])


def _summarize_classes(samples: Sequence[int]) -> list[tuple[str, int]]:
    """What the curve of the classes shows, in numbers; `samples` of each class, the largest first."""
    if not samples:
        return []
    half = sum(samples) / 2
    return [
        ("classes", len(samples)),
        ("samples of the largest class", samples[0]),
        ("samples of the class in the middle", samples[len(samples) // 2]),
        ("samples of the smallest class", samples[-1]),
        ("classes with one sample", sum(count == 1 for count in samples)),
        ("classes with fewer than 10 samples", sum(count < 10 for count in samples)),
        ("largest classes that have half of the samples", 1 + sum(total < half for total in accumulate(samples))),
    ]


def _list_values(statistics: DatasetStatistics, facet: str) -> list[str]:
    return [count.value for count in statistics.breakdowns.get(facet, Breakdown()).values]


def _split_name(name: str) -> tuple[str, str]:
    return split_scientific_name(shorten(name))


def _mark_name(name: str) -> Markup:
    """A name of a class as HTML, scientific names in italics, but not their marks of rank."""
    italic, rest = _split_name(name)
    parts = RANK_MARKS.split(italic)
    marked = (
        Markup("<i>{}</i>").format(part) if place % 2 == 0 and part else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(marked) + rest


def _mark_options(text: str) -> Markup:
    """A text as HTML, with the options that users type as code."""
    parts = OPTION.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def _collect_pictures(statistics: DatasetStatistics, images: Path) -> dict[str, Any]:
    """Thumbnails of samples of the largest classes, and of dropped images by reason."""
    by_label = {one.label: one for one in statistics.classes}
    paths = {dropped: dropped.paths for dropped in statistics.dropped}
    restore_indexes(images)
    reader = ImageReader(images)
    reader.find_places(list(chain.from_iterable([*statistics.class_examples.values(), *paths.values()])))
    by_class = thumbnails.make_contact_sheet(reader, statistics.class_examples, IMAGES_PER_CLASS)
    return {
        "class_pictures": [(by_label[label], pictures) for label, pictures in by_class.items() if pictures],
        "dropped_pictures": list(thumbnails.make_contact_sheet(reader, paths, IMAGES_PER_REASON).items()),
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


def _shorten_texts(statistics: DatasetStatistics) -> DatasetStatistics:
    """The statistics with all texts of the archive that a plot shows made safe."""
    classes = tuple(replace(one, label=shorten(one.label), name=shorten(one.name)) for one in statistics.classes)
    breakdowns = {
        name: replace(breakdown, values=tuple(count._replace(value=shorten(count.value)) for count in breakdown.values))
        for name, breakdown in statistics.breakdowns.items()
    }
    return replace(statistics, classes=classes, breakdowns=breakdowns)


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
        "capitalise": lambda text: text[:1].upper() + text[1:],
        "count": "{:,}".format,
        "duration": format_duration,
        "explain": explain_reason,
        "name": _mark_name,
        "noun": format_count,
        "options": _mark_options,
        "percent": lambda share: f"{100 * share:g} %",
        "rate": lambda rate: f"{rate:,.{0 if rate >= 10 else 1}f}",
        "shorten": shorten,
        "shorten_lines": shorten_lines,
        "size": format_size,
    }
    environment.filters["draw"] = lambda plot: Markup(plot.draw_inline())  # noqa: S704 - its texts are escaped
    environment.globals |= {
        "style": Markup(_read_template("report.css") + STYLE),  # noqa: S704 - no text of the archive
        "script": Markup(script),  # noqa: S704 - no text of the archive
        "script_hash": "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode("ascii"),
        "max_characters": MAX_TEXT_CHARACTERS,
    }
    return environment


def _read_template(name: str) -> str:
    return resources.files("gbif_webdataset.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
