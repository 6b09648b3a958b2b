"""CompareDatasets: what differs between two datasets."""

import os
from pathlib import Path
from typing import Any

import luigi

from gbif_webdataset.compare import compare_datasets, comparison_page
from tasks.framework.parameters import InputFolder, Text


class CompareDatasets(luigi.Task):
    """Tell what a newer dataset added, dropped and why, labelled or split otherwise; a page and a CSV in its report/.

    It asks for two folders of datasets that are made, and makes none.
    """

    old: str = InputFolder(description="the --output of the older dataset")
    new: str = InputFolder(description="the --output of the newer dataset")
    scratch: str = Text(
        default="", significant=False, description="folder for what is spilled, <new>/.scratch where none is given"
    )

    _has_told = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # for 10 seconds a central scheduler does not run again what it saw done

    @property
    def label(self) -> str:
        """The task's name."""
        return str(self.task_family)

    def complete(self) -> bool:
        """Whether it has told: only in this process, so that each command tells anew."""
        return self._has_told

    def run(self) -> None:
        """Compare, draw, and print."""
        old, new = Path(self.old), Path(self.new)
        page, table = (new / "report" / f"comparison.{ending}" for ending in ("html", "csv"))
        labels = [(folder, compare_datasets.label_column(folder)) for folder in (old, new)]
        found = compare_datasets.compare(old, new, table, Path(self.scratch) if self.scratch else new / ".scratch")
        comparison_page.write_page(page, labels[0], labels[1], found, table)
        print(comparison_page.text(found, page, table), flush=True)
        self._has_told = True
