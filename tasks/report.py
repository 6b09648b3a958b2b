"""ReportDataset: the accounting, the report page, and the files that are published with the shards."""

from pathlib import Path

import luigi

from gbif_webdataset.account.finished_dataset import FinishedDataset
from gbif_webdataset.split import balance
from gbif_webdataset.split.assignment import Fractions
from gbif_webdataset.storage.target_record import Record
from tasks.framework import slurm_runner
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Text, WebAddress, listed
from tasks.shards import CreateWebDataset


class ReportDataset(DatasetTask):
    """Account for every image of the archive, and write the report page and the files to publish with the shards."""

    FORMAT = 2

    title: str = Text(default="", description="Title of the dataset. Empty: 'Images of' and the title of the archive.")
    authors: str = Text(
        default="",
        description="Authors to cite for the dataset, separated by semicolons. Empty: the creators of the images are "
        "cited as a group.",
    )
    url: str = WebAddress(default="", description="Address where the dataset will be published (http or https).")

    def requires(self) -> CreateWebDataset:
        """The shards."""
        return self.clone(CreateWebDataset)

    def inputs(self) -> dict[str, str]:
        """The records of the stages, except those of parts of the shards."""
        labels = ("PlanShards", *self._chunks("ShardChunk"))
        return {label: record.digest for label, record in self._records().items() if label not in labels}

    def _records(self) -> dict[str, Record]:
        """The records of all stages in their order, those of every chunk among them."""
        labels = ["ReadArchive", *self._chunks("FetchChunk"), *self._chunks("VerifyChunk"), "VerifyImages"]
        labels += ["DeleteImages", "CleanDataset", "SplitDataset", "PlanShards", *self._chunks("ShardChunk")]
        found = {label: Record.load(self.paths.record(label)) for label in (*labels, "CreateWebDataset")}
        return {label: record for label, record in found.items() if record is not None}

    def _chunks(self, task: str) -> list[str]:
        return [f"{task}-{chunk:05d}" for chunk in range(self.chunks)]

    def _dataset(self) -> FinishedDataset:
        paths = self.paths
        return FinishedDataset(
            archive=Path(self.dwca),
            manifest=paths.rejected.parent,
            fetched=tuple(paths.chunk("fetched", chunk) for chunk in range(self.chunks)),
            images=paths.images,
            clean=paths.clean,
            clean_dropped=paths.clean_dropped,
            duplicates=paths.duplicates,
            splits=paths.splits,
            shards=paths.shards,
            accounting=paths.accounting,
            report=paths.report,
            scratch=paths.scratch,
        )

    def run(self) -> None:
        """Write the report, and print its summary."""
        # Imported here because pandas and Jinja take half a second, which the other tasks need not spend.
        from gbif_webdataset.publish.description import Publication
        from gbif_webdataset.report.report_dataset import report_dataset

        records, publication = self._records(), Publication(self.title, listed(self.authors, ";"), self.url)
        fractions = records["SplitDataset"].made_from["parameters"]
        with self.making() as making:
            report = report_dataset(self._dataset(), records, publication, slurm_runner.accounted(self.paths))
            for path in report.files:
                making.add(path)
            splits = balance.told(self.paths.splits, Fractions(fractions["test_frac"], fractions["val_frac"]))
            making.facts = {"summary": f"{report.summary}\n{splits}"}
        print(making.facts["summary"], flush=True)


@ReportDataset.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def repeat_summary(task: ReportDataset) -> None:
    """Print the summary of a report that is up to date."""
    print(f"Nothing new: everything is up to date.\n{task.output().record.facts['summary']}", flush=True)
