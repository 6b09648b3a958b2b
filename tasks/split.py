"""SplitDataset: split_dataset."""

from pathlib import Path
from typing import Any

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split import previous_splits as previous
from gbif_webdataset.split import split_dataset
from gbif_webdataset.split.groups import Grouping
from gbif_webdataset.storage.atomic import atomic_folder
from tasks.clean import CleanDataset
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Count, Flag, InputFolder, Real, Text, listed


class SplitDataset(DatasetTask):
    """Deal the clean images out to train, val and test; no occurrence to two of them, nor what group_by names."""

    FORMAT = 2

    category_key: str = Text(
        default="acceptedTaxonKey", description="column that names the class; the fractions hold within each class"
    )
    roll_up: bool = Flag(
        default=False,
        description="give an image that category_key, a rank such as speciesKey, says nothing of the class of the "
        "nearest higher rank that is known of it, such as its genus; otherwise it is dropped",
    )
    test_frac: float = Real(default=0.2, most=1, description="share of each class's images for test, from 0 to below 1")
    val_frac: float = Real(default=0.1, most=1, description="share of each class's images for val, from 0 to below 1")
    max_instances: int = Count(
        default=0, description="most images of a class in train, and their fraction in val and test; 0 for all"
    )
    min_instances: int = Count(default=0, description="drop classes with fewer images than this in train; 0 for none")
    split_by_occurrence: bool = Flag(default=True, description="keep all images of an occurrence in one split")
    group_by: str = Text(
        default="occurrence",
        description="what stays in one split beside occurrences: observer, date, place, event, near-duplicates, "
        "several with commas between them; observer+date is what agrees in both; no value groups nothing",
    )
    place_km: float = Real(default=1.0, description="kilometres of a side of the grid's cells that are a place")
    exact_fractions: bool = Flag(
        default=False,
        description="meet the fractions of each class to the image, as far as groups allow; otherwise a group goes "
        "where its own hash lies, so that new images move few old ones, and a class's share is off by chance",
    )
    previous_splits: str = InputFolder(
        default="", description="folder splits of an earlier dataset: its images stay in their split, new ones fill up"
    )
    holdout_key: str = Text(
        default="",
        description="column, such as genusKey, of which some values are held out whole, in a split holdout, where what "
        "is of no class of train is of class -1",
    )
    holdout_frac: float = Real(
        default=0.1, most=1, description="share of the values of holdout_key held out, above 0; one at least"
    )
    random_seed: int = Count(default=42, description="seed of the dealing")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fractions = split_dataset.Fractions(self.test_frac, self.val_frac)
        self.how = split_dataset.How(
            Grouping(listed(self.group_by), self.place_km),
            self.exact_fractions,
            Path(self.previous_splits) if self.previous_splits else None,
            self.holdout_key,
            self.holdout_frac,
            self.paths.duplicates,
            self.roll_up,
        )
        if self.how.previous is not None:
            previous.files(self.how.previous)
            if self.how.previous.resolve() == self.paths.splits.resolve():
                raise ParameterError(
                    f"--SplitDataset-previous-splits {self.previous_splits} is what is to be made: copy it elsewhere "
                    "and name the copy"
                )

    def requires(self) -> CleanDataset:
        """The images that are left."""
        return self.clone(CleanDataset)

    def run(self) -> None:
        """Deal."""
        paths = self.paths
        limits = split_dataset.Limits(self.max_instances, self.min_instances)
        with self.write_target() as target:
            with atomic_folder(paths.splits) as folder:
                target.results = split_dataset.deal(
                    paths.clean,
                    folder,
                    self.category_key,
                    self.fractions,
                    limits,
                    self.split_by_occurrence,
                    self.random_seed,
                    paths.scratch,
                    self.how,
                )
            for path in sorted(paths.splits.iterdir()):
                target.add(path)
        if self.is_root:  # otherwise the report prints it
            print(describe_splits(paths.splits, self.val_frac, self.test_frac), flush=True)
