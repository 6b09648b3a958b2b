"""costs.csv, and the costs of each stage as a whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gbif_webdataset.account.costs import Cost
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.columns import COSTS


@dataclass(frozen=True)
class StageCost:
    """All parts of a stage: their number, the sum and the maximum of their seconds, the maximum of their memory."""

    stage: str
    parts: int
    seconds: float
    max_seconds: float
    peak_bytes: int


def sum_by_stage(costs: Iterable[Cost]) -> list[StageCost]:
    """The costs of each stage, in the order in which the stages first appear in `costs`."""
    by_stage = _make_table(costs).groupby("stage", sort=False)
    return [
        StageCost(
            stage=str(stage),
            parts=len(parts),
            seconds=float(parts["seconds"].sum()),
            max_seconds=float(parts["seconds"].max()),
            peak_bytes=int(parts["peak_bytes"].max()),
        )
        for stage, parts in by_stage
    ]


def write_costs(path: Path, costs: Sequence[Cost]) -> None:
    """Write costs.csv: one line for each part, the columns are COSTS."""
    with atomic_file(path) as temporary:
        _make_table(costs).to_csv(temporary, index=False, lineterminator="\n")


def _make_table(costs: Iterable[Cost]) -> pd.DataFrame:
    return pd.DataFrame(list(costs), columns=[column.name for column in COSTS])
