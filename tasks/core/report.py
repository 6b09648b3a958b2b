"""The report: a page for people, and a summary for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from tasks.core import accounting, costs
from tasks.core.accounting import Line
from tasks.core.files import whole_file

STAGES = {
    "read": ("Reading the archive", "media that are no usable photo"),
    "fetch": ("Fetching", "photos that did not come"),
    "verify": ("Verifying", "files that are no sound image"),
    "delete": ("Deleting", "images deleted on request"),
    "clean": ("Cleaning", "images that a filter took"),
    "split": ("Splitting", "images without a place in a split"),
    "shards": ("Sharding", "images that became no sample"),
}

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


@dataclass(frozen=True)
class Step:
    """A stage of the funnel: the images that reach it, those that leave it, and why the others don't."""

    name: str
    lost: str
    before: int
    after: int
    reasons: tuple[Line, ...]


def funnel(media_lines: int, lines: Sequence[Line]) -> list[Step]:
    """The stages in order, each with what it kept of what reached it."""
    steps = []
    left = media_lines
    by_stage = {stage: tuple(found) for stage, found in groupby(lines, key=lambda line: line.stage)}
    for stage, (name, lost) in STAGES.items():
        reasons = by_stage.get(stage, ())
        before, left = left, left - sum(line.images for line in reasons)
        steps.append(Step(name, lost, before, left, reasons))
    return steps


def write_page(
    path: Path,
    archive: str,
    media_lines: int,
    lines: Sequence[Line],
    shards: Path,
    made: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    spent: Sequence[costs.Cost],
) -> None:
    """Write the page to `path`, one file that opens offline.

    `made` counts what images went through on their way into the shards, `settings` are the parameters by task, `spent`
    is what each part of a stage took; where Slurm has accounts of it they are shown, else the tasks' own.
    """
    import pandas as pd  # a third of the start of every task, if it stood above

    listing = pd.read_csv(shards, dtype={"split": str, "shard": str, "sha256": str}, keep_default_na=False)
    by_split = listing.groupby("split", sort=False)[["samples", "bytes"]].agg(["sum", "count"])
    splits = [
        (name, int(row["samples", "sum"]), int(row["samples", "count"]), int(row["bytes", "sum"]))
        for name, row in by_split.iterrows()
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks.core", "pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["size"] = size
    environment.filters["duration"] = duration
    page = environment.get_template("report.html").render(
        archive=archive,
        media=media_lines,
        samples=sum(line.images for line in lines if line.kept),
        steps=funnel(media_lines, lines),
        splits=splits,
        shards=listing.to_dict("records"),
        treatments=[(made[name], name, told) for name, told in TREATMENTS.items() if made.get(name)],
        meanings=accounting.MEANINGS,
        settings=settings,
        spent=costs.totals(_of_slurm(spent) or spent),
        is_of_slurm=bool(_of_slurm(spent)),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _of_slurm(spent: Sequence[costs.Cost]) -> list[costs.Cost]:
    return [cost for cost in spent if cost.source == costs.SLURM]


def summary(media_lines: int, lines: Sequence[Line], classes: int, shards: int, output: Path) -> str:
    """What came of it and where it is, in a few lines."""
    kept = {line.reason: line.images for line in lines if line.kept}
    dealt = ", ".join(f"{split} {images:,}" for split, images in kept.items())
    lost = [f"{stage} {sum(line.images for line in found):,}" for stage, found in _lost(lines)]
    return "\n".join(
        (
            f"{sum(kept.values()):,} samples of {classes:,} classes in {shards:,} shards, from {media_lines:,} media",
            f"  samples  {dealt}",
            f"  dropped  {', '.join(lost) or 'none'}",
            f"  shards   {output / 'shards'}",
            f"  report   {output / 'report' / 'index.html'}",
            f"  every number adds up in {output / 'accounting.csv'}",
        )
    )


def _lost(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    return [(stage, list(found)) for stage, found in groupby((x for x in lines if not x.kept), key=lambda x: x.stage)]


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 60:
        return f"{seconds:,.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
