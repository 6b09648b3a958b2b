"""The report: what every stage kept and why, for the page and, in a few lines, for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gbif_webdataset.account.accounting import Line

STAGES = {
    "read": ("Reading the archive", "media that are no usable photo"),
    "fetch": ("Fetching", "photos that did not come"),
    "verify": ("Verifying", "files that are no sound image"),
    "delete": ("Deleting", "images deleted on request"),
    "clean": ("Cleaning", "images that a filter took"),
    "split": ("Splitting", "images without a place in a split"),
    "shards": ("Sharding", "images that became no sample"),
}


@dataclass(frozen=True)
class Step:
    """A stage of the funnel: the images that reach it, those that leave it, and why the others don't."""

    stage: str
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
        steps.append(Step(stage, name, lost, before, left, reasons))
    return steps


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
