"""CompareDatasets: the differences between two datasets."""

import os
from pathlib import Path
from typing import Any

from gbif_webdataset.compare.label_changes import TaxonomyOptions
from gbif_webdataset.compare.remote_dataset import NEEDED, copy_dataset
from gbif_webdataset.remote.store_address import StoreAddress, is_store_address
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.storage.paths import DatasetPaths
from tasks.framework.messages import print_text
from tasks.framework.parameters import FilePath, Flag, InputFile, InputFolder
from tasks.framework.worker_processes import RunTask


class CompareDatasets(RunTask):
    """Compare two datasets: images that were added or dropped and why, and images with another label or split.

    Writes report/comparison.html and report/comparison.csv into the newer dataset. Two images are the same if
    occurrence and URL are equal. Both datasets must exist; this task creates neither. It may run beside another run,
    because no stage reads its files.
    """

    old: str = InputFolder(
        files=NEEDED,
        description="Folder of the older dataset: its --output, or the address of a copy, such as s3://bucket/moths.",
    )
    new: str = InputFolder(
        files=NEEDED,
        description="Folder of the newer dataset: its --output, or the address of a copy. The comparison is written "
        "into it, for an address into data/<name of the address> on this machine.",
    )
    crosswalk: str = InputFile(
        default="",
        description="crosswalk.csv of `make crosswalk` from the older dataset to the newer one. Changes of labels that "
        "it explains are counted apart. Empty: none.",
    )
    same_taxonomy: bool = Flag(
        default=False,
        description="true: the labels of both datasets are keys of the same taxonomy. false: keys of different "
        "checklists are compared only with a crosswalk.",
    )
    scratch: str = FilePath(
        default="", significant=False, description="Folder for temporary files. Empty: <new>/.scratch."
    )

    _has_run = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago

    def complete(self) -> bool:
        """Whether this process has compared the datasets, so that every command compares them again."""
        return self._has_run

    def run(self) -> None:
        """Write the page and the table, and print the summary."""
        from gbif_webdataset.compare.compare_datasets import compare_datasets  # imports Jinja, which other tasks do not

        new = DatasetPaths.under(self._find_dataset("new", Path("data")), self.scratch)
        copies = Path("data") if is_store_address(self.new) else new.inputs
        old = DatasetPaths.under(self._find_dataset("old", copies))
        crosswalk = CrosswalkTable.read(Path(self.crosswalk), "--crosswalk") if self.crosswalk else None
        print_text(compare_datasets(old, new, TaxonomyOptions(crosswalk, self.same_taxonomy)))
        self._has_run = True

    def _find_dataset(self, name: str, copies: Path) -> Path:
        """Return the folder of a dataset, or of the copy of its tables."""
        value = str(getattr(self, name))
        if not is_store_address(value):
            return Path(value)
        return copy_dataset(StoreAddress.parse(value, option_name=f"--{name}"), copies)
