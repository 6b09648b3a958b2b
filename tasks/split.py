"""SplitDataset: split_dataset."""

from typing import Any

from tasks.clean import CleanDataset
from tasks.core import split
from tasks.core.files import whole_folder
from tasks.dataset import DatasetTask
from tasks.parameters import Count, Flag, Real, Text


class SplitDataset(DatasetTask):
    """Deal the clean images out to train, val and test; no occurrence to two of them."""

    category_key: str = Text(
        default="acceptedTaxonKey", description="column that names the class; the fractions hold within each class"
    )
    test_frac: float = Real(default=0.2, most=1, description="share of each class's images for test, from 0 to below 1")
    val_frac: float = Real(default=0.1, most=1, description="share of each class's images for val, from 0 to below 1")
    max_instances: int = Count(
        default=0, description="most images of a class in train, and their fraction in val and test; 0 for all"
    )
    min_instances: int = Count(default=0, description="drop classes with fewer images than this in train; 0 for none")
    split_by_occurrence: bool = Flag(default=True, description="keep all images of an occurrence in one split")
    random_seed: int = Count(default=42, description="seed of the dealing")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fractions = split.Fractions(self.test_frac, self.val_frac)

    def requires(self) -> CleanDataset:
        """The images that are left."""
        return self.clone(CleanDataset)

    def run(self) -> None:
        """Deal."""
        paths = self.paths
        limits = split.Limits(self.max_instances, self.min_instances)
        with self.making() as making:
            with whole_folder(paths.splits) as folder:
                making.facts = split.deal(
                    paths.clean,
                    folder,
                    self.category_key,
                    self.fractions,
                    limits,
                    self.split_by_occurrence,
                    self.random_seed,
                    paths.scratch,
                )
            for path in sorted(paths.splits.iterdir()):
                making.add(path)
