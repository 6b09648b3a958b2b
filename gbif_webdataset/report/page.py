"""The page: one file for people that opens offline, and its plots as files of their own beside it.

Every value of the archive is hostile: it is cut, freed of control characters and escaped, and stays text.
"""

import base64
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gbif_webdataset.account import costs
from gbif_webdataset.account.funnel import Step, funnel
from gbif_webdataset.formatting import format_duration, format_size
from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import Facts, Shard, told
from gbif_webdataset.read import dataset_titles
from gbif_webdataset.report import figures, thumbnails
from gbif_webdataset.report import svg as plots
from gbif_webdataset.report.equal_earth import CELL
from gbif_webdataset.report.facets import Breakdown
from gbif_webdataset.report.statistics import Overview, Places, look
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import MEANINGS
from gbif_webdataset.terms.splits import HOLDOUT, SPLITS

TREATMENTS = {
    "passed_through": "byte for byte as they came",
    "reencoded": "encoded anew",
    "cropped": "cropped to their box",
    "without_detection": "left whole, for want of a box",
    "enlarged": "enlarged to a square",
    "turned": "turned upright, as EXIF says",
    "transparent": "transparent, laid on white",
    "deep": "more than 8 bits a channel, scaled",
    "animated": "the first of several pictures taken",
    "cmyk": "inks (CMYK) converted to sRGB",
}

LONGEST = 120  # characters of a value that are shown
LONGEST_SETTING = 2000
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of Unicode: controls, marks of direction, separators of lines
FIRST_ROWS = 60  # of the classes, for readers without scripts
MOST_SHARDS = 200
PER_CLASS, PER_REASON = 6, 12
# What each task, or Slurm's job array, works at: the images that reach this stage.
REACHED = {
    "ReadArchive": "read", "read": "read", "FetchChunk": "fetch", "fetch": "fetch", "VerifyChunk": "verify",
    "verify": "verify", "VerifyImages": "verify", "tables": "verify", "DeleteImages": "delete",
    "CleanDataset": "clean", "SplitDataset": "split", "PlanShards": "shards", "ShardChunk": "shards",
    "CreateWebDataset": "shards", "shards": "shards",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What the stages' records tell: the archive, the facts of what was made of it, what images went through on their
    way into the shards (`made`), what each part of a stage took, and the names of the `files` beside the page."""

    archive: Path
    facts: Facts
    made: Mapping[str, Any]
    spent: Sequence[costs.Cost]
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Pace:
    """What a stage took, the images a second of one of its parts, and its bytes; 0 where nothing tells."""

    total: costs.Total
    images_a_second: float
    bytes: int


@dataclass(frozen=True)
class Split:
    """A split's samples, shards, and the shards' bytes."""

    name: str
    samples: int
    shards: int
    bytes: int


def write(folder: Path, places: Places, of: Told, scratch: Path) -> list[Path]:
    """Write index.html, below 10 MB, and figures/*.svg into `folder`; all that was written."""
    overview = look(places, str(of.facts.settings["CreateWebDataset"]["label_column"]), scratch)
    steps = funnel(of.facts.media_lines, of.facts.lines)
    drawn = figures.draw(_cut(overview), steps)
    written = []
    for name, svg in drawn.figures().items():
        written.append(folder / "figures" / f"{name}.svg")
        with atomic_file(written[-1]) as temporary:
            temporary.write_text(svg, encoding="utf-8")
    template = _environment().get_template("report.html")
    page = template.render(
        **_of_records(of, steps, overview),
        **_of_origin(of.facts),
        **_of_tables(overview, of.archive),
        **_pictures(overview, places.images),
        drawn={name: Markup(svg) for name, svg in drawn.inline().items()},  # noqa: S704 - plots escape what they tell
        scale=drawn.scale,
        figures=list(drawn.figures()),
    )
    with atomic_file(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return [folder / "index.html", *written]


def _of_records(of: Told, steps: Sequence[Step], overview: Overview) -> dict[str, Any]:
    facts = of.facts
    splits = list(_splits(facts.shards))
    of_slurm = [cost for cost in of.spent if cost.source == costs.SLURM]
    bytes_of = {"fetch": overview.fetched_bytes, "shards": sum(split.bytes for split in splits)}
    return {
        "archive": of.archive.name,
        "media": facts.media_lines,
        "samples": sum(line.images for line in facts.lines if line.kept),
        "steps": steps,
        "splits": splits,
        "shards": facts.shards[:MOST_SHARDS],
        "more_shards": len(facts.shards[MOST_SHARDS:]),
        "treatments": [(of.made[name], name, text) for name, text in TREATMENTS.items() if of.made.get(name)],
        "meanings": MEANINGS,
        "settings": {task: shown for task, values in facts.settings.items() if (shown := told(values))},
        "paces": list(_paces(of_slurm or of.spent, steps, bytes_of)),
        "is_of_slurm": bool(of_slurm),
        "files": of.files,
        "asked": facts.settings.get("SplitDataset", {}),
    }


def _of_origin(facts: Facts) -> dict[str, Any]:
    """Whose the samples are, and how they are cited."""
    return {
        "title": facts.title,
        "source": facts.source,
        "citation": citation.text(facts.source),
        "licence": licences.display_name(facts.licence),
        "conditions": licences.list_obligations(facts.uses.codes),
        "licences": facts.licences,
        "strictest": facts.strictest,
    }


def _of_tables(overview: Overview, archive: Path) -> dict[str, Any]:
    classes = overview.classes
    keys = [bar.value for bar in overview.by.get("dataset", Breakdown()).bars]
    splits = [split for split in SPLITS if split != HOLDOUT or any(one.holdout for one in classes)]
    rows = [[shown(one.label), shown(one.name), *(getattr(one, split) for split in splits)] for one in classes]
    return {
        "overview": overview,
        "names": {one.label: one.name for one in classes},
        "classes": classes[:FIRST_ROWS],
        "number_of_classes": len(classes),
        "dealt": splits,
        "are_named": any(one.name for one in classes),
        "rows": _json(rows),
        "cells": _json({f"{cell.column},{cell.row}": images for cell, images in overview.cells.items()}),
        "titles": dataset_titles.read_titles(archive, keys),
        "licence_names": {code: licences.display_name(code) for code in licences.Licence},
    }


def _pictures(overview: Overview, images: Path) -> dict[str, Any]:
    """The contact sheets: of the largest classes, and of what was dropped."""
    by_label = {one.label: one for one in overview.classes}
    of_classes = thumbnails.sheet(images, overview.of_classes, PER_CLASS)
    of_reasons = thumbnails.sheet(images, {one: one.paths for one in overview.dropped}, PER_REASON)
    return {
        "of_classes": [(by_label[label], pictures) for label, pictures in of_classes.items() if pictures],
        "of_reasons": list(of_reasons.items()),
    }


def _splits(shards: Sequence[Shard]) -> Iterator[Split]:
    for name in dict.fromkeys(shard.split for shard in shards):
        own = [shard for shard in shards if shard.split == name]
        yield Split(name, sum(shard.samples for shard in own), len(own), sum(shard.bytes for shard in own))


def _paces(spent: Sequence[costs.Cost], steps: Sequence[Step], bytes_of: Mapping[str, int]) -> Iterator[Pace]:
    images = {step.stage: step.before for step in steps}
    for total in costs.totals(spent):
        stage = REACHED.get(total.stage, "")
        is_all_of_it = total.stage in ("FetchChunk", "fetch", "ShardChunk", "CreateWebDataset", "shards")
        rate = images.get(stage, 0) / total.seconds if total.seconds else 0.0
        yield Pace(total, rate, bytes_of.get(stage, 0) if is_all_of_it else 0)


def _cut(overview: Overview) -> Overview:
    """The overview with names fit to be shown."""
    classes = (one._replace(label=shown(one.label), name=shown(one.name)) for one in overview.classes)
    return replace(overview, classes=tuple(classes))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _resource("report.js")
    environment.filters |= {
        "size": format_size,
        "duration": format_duration,
        "shown": shown,
        "shown_lines": shown_lines,
    }
    environment.filters |= {"count": "{:,}".format, "rate": lambda rate: f"{rate:,.{0 if rate >= 10 else 1}f}"}
    environment.globals |= {
        "style": Markup(_resource("report.css") + plots.STYLE),  # noqa: S704 - our own
        "script": Markup(script),  # noqa: S704 - our own
        "script_hash": "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode("ascii"),
        "longest_setting": LONGEST_SETTING,
        "cell": CELL,
    }
    return environment


def shown(value: object, longest: int = LONGEST) -> str:
    """A value as one line of text: without characters that control, or turn, what is around it, cut at `longest`."""
    text = str(value)[: 4 * longest]
    plain = "".join(" " if unicodedata.category(letter) in UNSEEN else letter for letter in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


def shown_lines(value: str, longest: int = LONGEST_SETTING) -> str:
    """A text of several lines, each as `shown`, cut at `longest` in all."""
    lines = [shown(line, longest) for line in value[:longest].splitlines()]
    return "\n".join(line for line in lines if line)


def _json(value: object) -> Markup:
    """JSON for a script element, which nothing in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))  # noqa: S704


def _resource(name: str) -> str:
    return resources.files("gbif_webdataset.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
