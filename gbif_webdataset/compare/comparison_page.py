"""How two datasets differ: a page with a drawing, and a few lines for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from gbif_webdataset.compare.compare_datasets import (
    ABSENT,
    ADDED,
    BOTH,
    DROPPED,
    LABEL,
    NOT_IN_ARCHIVE,
    SAME,
    SPLIT,
    Comparison,
)
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.reasons import MEANINGS as MEANINGS_OF_REASONS
from gbif_webdataset.terms.splits import SPLITS

MOST_CLASSES = 100
WIDTH, TALL, BAR, GAP, MARGIN = 900, 320, 14, 14, 170  # units of the drawing
MEANINGS = {**MEANINGS_OF_REASONS, NOT_IN_ARCHIVE: "the image is not in the archive"}
TOLD = {SAME: "unchanged", ADDED: "added", DROPPED: "dropped", LABEL: "with another label", SPLIT: "in another split"}
TOLD[BOTH] = "with another label in another split"


@dataclass(frozen=True)
class Node:
    """A split of one of the datasets, as a bar."""

    name: str
    images: int
    x: float
    y: float
    height: float
    text_x: float
    anchor: str

    @property
    def text_y(self) -> float:
        """Where its name stands."""
        return round(self.y + self.height / 2 + 5, 1)


@dataclass(frozen=True)
class Flow:
    """Images that went from a bar of the old dataset to one of the new."""

    kind: str
    told: str
    path: str


def write_page(path: Path, old: tuple[Path, str], new: tuple[Path, str], found: Comparison, table: Path) -> None:
    """Write the page; `old` and `new` are the datasets' folders and the columns that their labels are in."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.compare", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    nodes, flows, height = draw(found)
    page = environment.get_template("compare.html").render(
        old=old[0],
        old_label=old[1],
        new=new[0],
        new_label=new[1],
        figures=[(TOLD[name], found.changes[name]) for name in TOLD if name in found.changes],
        nodes=nodes,
        flows=flows,
        width=WIDTH,
        height=height,
        bar=BAR,
        reasons=found.reasons,
        meanings=MEANINGS,
        classes=found.classes,
        most=MOST_CLASSES,
        table=table.name,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def draw(found: Comparison) -> tuple[list[Node], list[Flow], float]:
    """The bars, the flows between them, and the drawing's height; as many units of height to each image."""
    scale = TALL / max(1, sum(found.flows.values()))
    names = [name for name in (*SPLITS, ABSENT) if any(name in flow for flow in found.flows)]
    sides = [_bars(found, side, names, scale) for side in (0, 1)]
    flows = []
    filled = [{name: node.y for name, node in bars.items()} for bars in sides]
    for one in names:
        for other in names:
            count = found.flows.get((one, other), 0)
            if count:
                tops = filled[0][one], filled[1][other]
                flows.append(Flow(_kind(one, other), f"{one} to {other}: {count:,}", _ribbon(*tops, count * scale)))
                filled[0][one] += count * scale
                filled[1][other] += count * scale
    nodes = [node for bars in sides for node in bars.values()]
    return nodes, flows, round(max((node.y + node.height for node in nodes), default=0) + GAP, 1)


def _bars(found: Comparison, side: int, names: Sequence[str], scale: float) -> dict[str, Node]:
    top = float(GAP)
    bars = {}
    x = (MARGIN, WIDTH - MARGIN - BAR)[side]
    text_x, anchor = ((x - 8, "end"), (x + BAR + 8, "start"))[side]
    for name in names:
        images = sum(count for flow, count in found.flows.items() if flow[side] == name)
        told = name if name != ABSENT else ("not there before", "no longer there")[side]
        if images:
            bars[name] = Node(told, images, x, round(top, 1), round(max(1.0, images * scale), 1), text_x, anchor)
            top += images * scale + GAP + 6
    return bars


def _kind(one: str, other: str) -> str:
    if one == other:
        return "stay"
    return "come" if one == ABSENT else "go" if other == ABSENT else "move"


def _ribbon(left: float, right: float, height: float) -> str:
    begin, end, middle = MARGIN + BAR, WIDTH - MARGIN - BAR, WIDTH / 2
    low, high = left + height, right + height
    return (
        f"M{begin} {left:.1f}C{middle} {left:.1f} {middle} {right:.1f} {end} {right:.1f}"
        f"V{high:.1f}C{middle} {high:.1f} {middle} {low:.1f} {begin} {low:.1f}Z"
    )


def text(found: Comparison, page: Path, table: Path) -> str:
    """What differs, for the terminal."""
    lines = [f"{found.total(0):,} images before, {found.total(1):,} now"]
    lines += [f"  {found.changes[name]:>9,} {told}" for name, told in TOLD.items() if name in found.changes]
    for change, head in ((ADDED, "added, before"), (DROPPED, "dropped, now")):
        reasons = [(f"{stage} {reason}", count) for of, stage, reason, count in found.reasons if of == change]
        lines += [f"  {head} {reason}: {count:,}" for reason, count in reasons]
    moved = [(one, other, n) for (one, other), n in found.flows.items() if one != other and ABSENT not in (one, other)]
    lines += [f"  from {one} to {other}: {count:,}" for one, other, count in sorted(moved)]
    return "\n".join((*lines, f"  page   {page}", f"  table  {table}"))
