"""The comparison of two datasets as a page with a drawing, and as a few lines for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from gbif_webdataset.compare.comparison import (
    ABSENT,
    ADDED,
    BOTH,
    DROPPED,
    LABEL,
    NOT_IN_ARCHIVE,
    SPLIT,
    TAXONOMY,
    TAXONOMY_AND_SPLIT,
    UNCHANGED,
    Comparison,
)
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.reasons import explain_reason
from gbif_webdataset.terms.splits import SPLITS

MAX_LABEL_PAIRS = 100
WIDTH, FLOW_HEIGHT, NODE_WIDTH, GAP, MARGIN = 900, 320, 14, 14, 170  # units of the drawing
CHANGES = {
    UNCHANGED: "unchanged",
    ADDED: "added",
    DROPPED: "dropped",
    LABEL: "with another label",
    SPLIT: "in another split",
    BOTH: "with another label and in another split",
    TAXONOMY: "with another label, as the crosswalk explains",
    TAXONOMY_AND_SPLIT: "with another label, as the crosswalk explains, and in another split",
}


@dataclass(frozen=True)
class ComparedDataset:
    """The output folder of a dataset, and the column with its labels."""

    folder: Path
    label_column: str


@dataclass(frozen=True)
class SplitNode:
    """The rectangle of a split of one of the datasets, and the place of its name."""

    name: str
    images: int
    x: float
    y: float
    height: float
    text_x: float
    anchor: str

    @property
    def text_y(self) -> float:
        """The baseline of its name."""
        return round(self.y + self.height / 2 + 5, 1)


@dataclass(frozen=True)
class Flow:
    """The shape of images that went from a split of the old dataset to a split of the new one."""

    kind: str
    text: str
    path: str


def write_page(path: Path, old: ComparedDataset, new: ComparedDataset, comparison: Comparison, table_name: str) -> None:
    """Write the page; `table_name` is the name of the CSV beside it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.compare", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    nodes, flows, height = draw_flows(comparison)
    page = environment.get_template("compare.html").render(
        old=old,
        new=new,
        changes=[
            (text, comparison.changes[change]) for change, text in CHANGES.items() if change in comparison.changes
        ],
        nodes=nodes,
        flows=flows,
        width=WIDTH,
        height=height,
        node_width=NODE_WIDTH,
        reasons=[
            (change, stage, reason, _explain(change, reason), images)
            for change, stage, reason, images in comparison.reasons
        ],
        labels=comparison.labels,
        explained=comparison.explained,
        note=comparison.note,
        max_labels=MAX_LABEL_PAIRS,
        table=table_name,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _explain(change: str, reason: str) -> str:
    """Why the image is absent from one of the datasets."""
    dataset = "old" if change == ADDED else "new"
    if reason == NOT_IN_ARCHIVE:
        return f"the image is not in the archive of the {dataset} dataset"
    return f"in the {dataset} dataset: {explain_reason(reason)}"


def draw_flows(comparison: Comparison) -> tuple[list[SplitNode], list[Flow], float]:
    """The splits of both datasets, the flows between them, and the height of the drawing.

    Every image has the same height.
    """
    scale = FLOW_HEIGHT / max(1, sum(comparison.flows.values()))
    names = [name for name in (*SPLITS, ABSENT) if any(name in flow for flow in comparison.flows)]
    sides = [_place_nodes(comparison, side, names, scale) for side in (0, 1)]
    free = [{name: node.y for name, node in nodes.items()} for nodes in sides]  # where the next flow of a node begins
    flows = []
    for before in names:
        for after in names:
            images = comparison.flows.get((before, after), 0)
            if images:
                path = _draw_ribbon(free[0][before], free[1][after], images * scale)
                kind, text = _describe_flow(before, after)
                flows.append(Flow(kind, f"{text}: {images:,}", path))
                free[0][before] += images * scale
                free[1][after] += images * scale
    nodes = [node for side in sides for node in side.values()]
    return nodes, flows, round(max((node.y + node.height for node in nodes), default=0) + GAP, 1)


def _place_nodes(comparison: Comparison, side: int, names: Sequence[str], scale: float) -> dict[str, SplitNode]:
    x = (MARGIN, WIDTH - MARGIN - NODE_WIDTH)[side]
    text_x, anchor = ((x - 8, "end"), (x + NODE_WIDTH + 8, "start"))[side]
    y = float(GAP)
    nodes = {}
    for name in names:
        images = sum(count for flow, count in comparison.flows.items() if flow[side] == name)
        text = name if name != ABSENT else (ADDED, DROPPED)[side]
        if images:
            height = round(max(1.0, images * scale), 1)
            nodes[name] = SplitNode(text, images, x, round(y, 1), height, text_x, anchor)
            y += images * scale + GAP + 6
    return nodes


def _describe_flow(before: str, after: str) -> tuple[str, str]:
    """The kind of a flow, for its colour, and its name."""
    if before == after:
        return "unchanged", f"still in {before}"
    if before == ABSENT:
        return "added", f"added to {after}"
    if after == ABSENT:
        return "dropped", f"dropped from {before}"
    return "moved", f"moved from {before} to {after}"


def _draw_ribbon(left: float, right: float, height: float) -> str:
    begin, end, middle = MARGIN + NODE_WIDTH, WIDTH - MARGIN - NODE_WIDTH, WIDTH / 2
    low, high = left + height, right + height
    return (
        f"M{begin} {left:.1f}C{middle} {left:.1f} {middle} {right:.1f} {end} {right:.1f}"
        f"V{high:.1f}C{middle} {high:.1f} {middle} {low:.1f} {begin} {low:.1f}Z"
    )


def summarize_comparison(comparison: Comparison, page: Path, table: Path) -> str:
    """A few lines for the terminal: the changes, their reasons, and where page and table are."""
    lines = [f"{comparison.count_images(0):,} images in the old dataset, {comparison.count_images(1):,} in the new one"]
    lines += [
        f"  {comparison.changes[change]:>9,} {text}" for change, text in CHANGES.items() if change in comparison.changes
    ]
    for change, other in ((ADDED, "old"), (DROPPED, "new")):
        lines += [
            f"  {change}: {images:,} because in the {other} dataset: {stage} {reason}"
            for changed, stage, reason, images in comparison.reasons
            if changed == change
        ]
    moved = sorted(flow for flow in comparison.flows if flow[0] != flow[1] and ABSENT not in flow)
    lines += [f"  {_describe_flow(*flow)[1]}: {comparison.flows[flow]:,}" for flow in moved]
    notes = [f"  note   {comparison.note}"] if comparison.note else []
    return "\n".join((*lines, *notes, f"  page   {page}", f"  table  {table}"))
