"""AuditDataset: every file of a dataset against its record."""

import os
from pathlib import Path
from typing import Any

from gbif_webdataset.audit.audit_dataset import audit_dataset, count_files, summarize_audit
from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.storage.runs import RunKind, is_alive, list_runs
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_text
from tasks.framework.parameters import Count, FilePath, Flag


class AuditDataset(DatasetTask):
    """Read every file of a dataset again and compare it with its record: images, tables, shards and indexes.

    It needs no archive, and a network only for shards at an address (--CreateWebDataset-to). It runs no other task, and
    changes nothing without --repair. Differences are listed in audit.csv; the command fails if there are any. It may
    run beside another run.
    """

    IS_STAGE = False

    dwca: str = FilePath(default="", description="The archive, which names the folder of the dataset without --output.")
    num_workers: int = Count(
        default=4, minimum=1, significant=False, description="Number of files that are read at the same time."
    )
    repair: bool = Flag(
        default=False,
        significant=False,
        description="true: delete the records of files that differ, and mark images that differ in the ledger, so that "
        "the next run makes or downloads them again; then the command succeeds. false: change nothing.",
    )

    _is_done = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago

    @property
    def changed_output(self) -> Path | None:
        """The folder of the dataset with `repair`; otherwise None, because the task only reads."""
        return self.paths.output if self.repair and not self.plan else None

    @property
    def run_kind(self) -> RunKind:
        """Beside no other run: a run with the same central scheduler has no stage in common with an audit."""
        return RunKind.ALONE

    def requires(self) -> list[DatasetTask]:
        """Nothing."""
        return []

    def complete(self) -> bool:
        """Whether this process has audited the dataset; every command audits it again."""
        return self._is_done

    def run(self) -> None:
        """Write audit.csv and print the summary. Raises DamagedFileError if a file differs and is not repaired."""
        files = count_files(self.paths)
        with self.progress("audit", "files", files) as progress:
            result = audit_dataset(
                self.paths,
                workers=self.num_workers,
                repair=self.repair,
                is_run_active=self._is_run_active,
                progress=lambda done: progress.update(done, files),
            )
        print_text(summarize_audit(self.paths, result))
        if self.repair and result.differences:
            print_text(f"  {format_count(len(result.repaired), 'record')} deleted; run the job again to make them")
        elif result.differences:
            is_one = result.differences == 1
            problem = "file differs from the records and is" if is_one else "files differ from the records and are"
            raise DamagedFileError(
                f"{self.paths.output}: {result.differences:,} {problem} listed in {self.paths.audit_table.name}; run "
                "`make audit ARGS=--AuditDataset-repair`, and then the job again"
            )
        self._is_done = True

    def _is_run_active(self) -> bool:
        """Whether another run works on the dataset. With repair there is none, because this run has it for itself."""
        runs = () if self.repair else list_runs(self.paths.records)
        return any(is_alive(run, age) for _, run, age in runs)
