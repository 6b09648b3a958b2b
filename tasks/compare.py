"""CompareDatasets: what differs between two datasets."""

import os
from pathlib import Path
from typing import Any

from gbif_webdataset.compare import compare_datasets, comparison_page
from gbif_webdataset.storage.paths import DatasetPaths
from tasks.framework.parameters import FilePath, InputFolder
from tasks.framework.worker_processes import RunTask


class CompareDatasets(RunTask):
    """Tell what a newer dataset added, dropped and why, labelled or split otherwise; a page and a CSV in its report/.

    It asks for two folders of datasets that are made, and makes none.
    """

    old: str = InputFolder(description="the --output of the older dataset")
    new: str = InputFolder(description="the --output of the newer dataset")
    scratch: str = FilePath(
        default="", significant=False, description="folder for what is spilled, <new>/.scratch where none is given"
    )

    _is_done = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # for 10 seconds a central scheduler does not run again what it saw done

    def complete(self) -> bool:
        """Whether it has told: only in this process, so that each command tells anew."""
        return self._is_done

    def run(self) -> None:
        """Compare, draw, and print."""
        old, new = Path(self.old), Path(self.new)
        paths = DatasetPaths.under(new, self.scratch)
        page, table = paths.comparison_page, paths.comparison_table
        labels = [(folder, compare_datasets.label_column(folder)) for folder in (old, new)]
        found = compare_datasets.compare(old, new, table, paths.scratch)
        comparison_page.write_page(page, labels[0], labels[1], found, table)
        print(comparison_page.text(found, page, table), flush=True)
        self._is_done = True
