"""MakeCrosswalk: the taxa of an older dataset in the taxonomy of a newer one."""

import contextlib
import os
from pathlib import Path
from typing import Any

from gbif_webdataset.crosswalk.link_taxa import EvidenceLimits
from gbif_webdataset.crosswalk.make_crosswalk import CrosswalkRequest, CrosswalkResources, make_crosswalk
from tasks.framework.messages import print_text
from tasks.framework.parameters import Count, FilePath, InputFile, InputPath, Real, Text
from tasks.framework.worker_processes import RunTask

CROSSWALK = "crosswalk.csv"


class MakeCrosswalk(RunTask):
    """Find out what became of each taxon of an older dataset in the taxonomy of a newer one; write crosswalk.csv.

    Both are datasets, whose manifests are read, or archives. A taxon is found by the occurrences that are in both, or
    else by the official table, or else by name, rank and kingdom. Nothing is downloaded.
    """

    old: str = InputPath(description="Older dataset (its --output) or archive.")
    new: str = InputPath(description="Newer dataset (its --output) or archive.")
    table: str = InputFile(
        default="",
        description="Official table of the keys in both taxonomies, such as gbif-col265.tsv.gz: a TSV, which may be "
        "compressed, with the columns gbif:ID and col:ID. Empty: none.",
    )
    crosswalk: str = FilePath(default=CROSSWALK, description="The CSV to write, or the folder for crosswalk.csv.")
    min_share: float = Real(
        default=0.9,
        maximum=1,
        description="Share of an old taxon's occurrences, above 0.5, that its new taxa together must have. Each must "
        "have at least 1 minus this share.",
    )
    min_occurrences: int = Count(
        default=3, minimum=1, description="Minimum number of occurrences that show a new taxon to be a part of an old."
    )
    num_workers: int = Count(
        default=2,
        minimum=1,
        significant=False,
        description="Number of archives that are read at the same time, each by a process. It does not change a byte.",
    )
    memory_limit: str = Text(
        default="400MB",
        significant=False,
        description="Memory for comparing the occurrences, such as 400MB or 4GB; more of them use temporary files.",
    )
    scratch: str = FilePath(
        default="", significant=False, description="Folder for temporary files. Empty: .scratch beside the CSV."
    )

    _has_run = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        path = Path(self.crosswalk)
        self.path = path / CROSSWALK if path.is_dir() else path
        self.limits = EvidenceLimits(self.min_share, self.min_occurrences)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago

    def complete(self) -> bool:
        """Whether this process has made the crosswalk, so that every command makes it again."""
        return self._has_run

    def run(self) -> None:
        """Write the table, and print the summary."""
        table = Path(self.table) if self.table else None
        request = CrosswalkRequest(Path(self.old), Path(self.new), table, self.limits)
        scratch = Path(self.scratch) if self.scratch else self.path.parent / ".scratch"
        resources = CrosswalkResources(scratch, self.memory_limit, self.num_workers, lambda count: None)
        print_text(make_crosswalk(request, self.path, resources))
        with contextlib.suppress(OSError):  # another process uses the folder
            scratch.rmdir()
        self._has_run = True
