"""The images that each stage kept and dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from gbif_webdataset.account.accounting import AccountLine

STAGES = {
    "read": ("Read the archive", "media that are not usable photos"),
    "fetch": ("Fetch the images", "images that were not downloaded"),
    "verify": ("Verify the images", "files that are not intact images"),
    "delete": ("Delete listed images", "images that were deleted"),
    "clean": ("Clean the dataset", "images that a filter dropped"),
    "split": ("Split the dataset", "images that are in no split"),
    "shards": ("Create the shards", "images that are not in a shard"),
}
"""By stage: its name, and what the images are that it drops."""


@dataclass(frozen=True)
class FunnelStage:
    """The images that reach a stage (`before`) and leave it (`after`), and the reasons for the difference."""

    stage: str
    name: str
    dropped: str
    before: int
    after: int
    reasons: tuple[AccountLine, ...]


def build_funnel(media_lines: int, lines: Sequence[AccountLine]) -> list[FunnelStage]:
    """All stages in their order; `media_lines` images reach the first."""
    by_stage = {stage: tuple(own) for stage, own in groupby(lines, key=lambda line: line.stage)}
    stages = []
    before = media_lines
    for stage, (name, dropped) in STAGES.items():
        reasons = by_stage.get(stage, ())
        after = before - sum(line.images for line in reasons)
        stages.append(FunnelStage(stage, name, dropped, before, after, reasons))
        before = after
    return stages
