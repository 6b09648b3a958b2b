"""SplitDataset: assigns the images to train, val and test."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.label_summary import describe_labels, summarize_labels
from gbif_webdataset.split.options import Limits, SplitOptions
from gbif_webdataset.split.previous_splits import find_previous_splits
from gbif_webdataset.split.split_dataset import check_columns, split_dataset
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage.atomic import atomic_folder
from gbif_webdataset.storage.tables import describe_columns
from gbif_webdataset.terms.ranks import DEFAULT_CATEGORY_KEY
from tasks.clean import CleanDataset
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_text
from tasks.framework.parameters import Count, Flag, InputFolder, Real, Text, split_list


class SplitDataset(DatasetTask):
    """Assign the clean images to train, val and test. Images of an occurrence, or of a group, are in one split."""

    FORMAT = 2
    COLUMN_PARAMETERS = ("category_key", "holdout_key")

    category_key: str = Text(
        default=DEFAULT_CATEGORY_KEY,
        description="Column whose values are the classes; the fractions are applied within each class.",
    )
    roll_up: bool = Flag(
        default=False,
        description="true: if category_key (e.g. speciesKey) is empty for an image, use the next higher rank that is "
        "filled (e.g. genusKey). false: drop such images.",
    )
    test_frac: float = Real(
        default=0.2, maximum=1, description="Fraction of each class's images for test, from 0 to below 1."
    )
    val_frac: float = Real(
        default=0.1, maximum=1, description="Fraction of each class's images for val, from 0 to below 1."
    )
    max_instances: int = Count(
        default=0,
        description="Maximum number of images of a class in train; val and test have at most their fraction of it, but "
        "at least one image. 0: no maximum.",
    )
    min_instances: int = Count(
        default=0, description="Drop classes with fewer images in train than this; 0 drops none."
    )
    split_by_occurrence: bool = Flag(
        default=True,
        description="true: keep all images of an occurrence in one split. false: they may be in several splits, even "
        "if group_by names occurrence.",
    )
    group_by: str = Text(
        default="occurrence",
        description="Images that share one of these are kept in one split: occurrence, observer, date, place, event, "
        "near-duplicates; separate several with commas. observer+date: both must agree. A date is the day, or the "
        "interval of days, that eventDate states. Images without a value are not grouped by it.",
    )
    place_km: float = Real(
        default=1.0, description="Length of a side of the grid cells that count as one place, in kilometres."
    )
    exact_fractions: bool = Flag(
        default=False,
        description="true: match test_frac and val_frac in every class as closely as the groups allow. false: assign "
        "each group by its own hash, so that a newer download moves few images; class fractions are then approximate.",
    )
    previous_splits: str = InputFolder(
        default="",
        description="Folder splits of an earlier dataset. Its images keep their split, unless group_by connects images "
        "of several splits; no image moves from test to train. Empty: no earlier dataset.",
    )
    holdout_key: str = Text(
        default="",
        description="Hold out whole taxa for open-set tests: holdout_frac of the values of this column (e.g. genusKey) "
        "form a fourth split, holdout. Images there whose class is not in train are labelled -1. Empty: no holdout.",
    )
    holdout_frac: float = Real(
        default=0.1,
        maximum=1,
        description="Fraction of the values of holdout_key that are held out, above 0 and below 1; at least one value.",
    )
    random_seed: int = Count(default=42, description="Seed of the hash that assigns groups to splits.")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.options = SplitOptions(
            self.category_key,
            Fractions(self.test_frac, self.val_frac),
            self.random_seed,
            Limits(self.max_instances, self.min_instances),
            self.split_by_occurrence,
            Grouping(split_list(self.group_by), self.place_km),
            self.exact_fractions,
            Path(self.previous_splits) if self.previous_splits else None,
            self.holdout_key,
            self.holdout_frac,
            self.roll_up,
        )
        if self.options.previous_splits is not None:
            find_previous_splits(self.options.previous_splits)
            if self.options.previous_splits.resolve() == self.paths.splits.resolve():
                raise ParameterError(
                    f"--SplitDataset-previous-splits {self.previous_splits}: this folder will be overwritten; "
                    "copy it elsewhere and name the copy"
                )

    def requires(self) -> CleanDataset:
        """The clean images."""
        return self.clone(CleanDataset)

    def check_options(self, columns: Collection[str]) -> None:
        """Check the columns that the options name."""
        check_columns(self.options, columns)

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Count the images without a label, and the labels of high ranks or with too few images."""
        if self.category_key not in describe_columns(connection, "manifest"):  # a column that a later stage adds
            return []
        summary = summarize_labels(connection, self.options, "manifest")
        return [] if summary.is_complete else [describe_labels(summary, self.options)]

    def run(self) -> None:
        """Write the CSVs of the splits."""
        paths = self.paths
        with self.write_target() as target:
            with atomic_folder(paths.splits) as folder:
                target.results = split_dataset(paths.clean, paths.duplicates, folder, self.options, paths.scratch)
            for path in sorted(paths.splits.iterdir()):
                target.add(path)
        if self.is_root:  # otherwise the report prints it
            print_text(describe_splits(paths.splits, self.val_frac, self.test_frac))
