"""The options of SplitDataset."""

from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage import tables


@dataclass(frozen=True)
class Limits:
    """Maximum and minimum number of images of a class in train; 0 is no limit.

    Raises:
        ParameterError: a number is negative.
    """

    max_instances: int = 0
    min_instances: int = 0

    def __post_init__(self) -> None:
        for option, value in (("max-instances", self.max_instances), ("min-instances", self.min_instances)):
            if value < 0:
                raise ParameterError(
                    f"--SplitDataset-{option} {value}: below 0; give a number of images, or 0 for no limit"
                )


@dataclass(frozen=True)
class SplitOptions:
    """What decides the split of each image. The fields are named after SplitDataset's parameters.

    `previous_splits` is the folder `splits` of an earlier dataset, or None; `kept_splits` is the dataset's own folder
    if its images keep the splits of an older version. An empty `holdout_key` holds out nothing.

    Raises:
        ParameterError: `holdout_frac` is out of range.
    """

    category_key: str
    fractions: Fractions
    random_seed: int
    limits: Limits = field(default_factory=Limits)
    split_by_occurrence: bool = True
    grouping: Grouping = field(default_factory=Grouping)
    exact_fractions: bool = False
    previous_splits: Path | None = None
    holdout_key: str = ""
    holdout_frac: float = 0.1
    roll_up: bool = False
    kept_splits: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.holdout_frac < 1:
            raise ParameterError(
                f"--SplitDataset-holdout-frac {self.holdout_frac}: out of range; give a fraction above 0 and below 1"
            )

    def seeded_hash(self, text: str) -> str:
        """The SQL of the 64-bit hash, seeded with `random_seed`, of an SQL text expression."""
        return f"md5_number_lower({tables.quote_text(f'{self.random_seed}|')} || {text})"
