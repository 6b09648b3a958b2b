"""ReportDataset: what people look at."""

from pathlib import Path

import luigi

from gbif_webdataset.publish.dataset_files import Named
from gbif_webdataset.report import report_dataset
from tasks.framework import slurm_runner
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Text, WebAddress, listed
from tasks.shards import CreateWebDataset


class ReportDataset(DatasetTask):
    """Account for every image of the archive, draw the page, and write what goes with the shards when published."""

    FORMAT = 2

    title: str = Text(default="", description="the dataset's title, made of the archive's where none is given")
    authors: str = Text(
        default="",
        description="who is to be cited for the dataset, with semicolons between; the images' own authors, as a whole, "
        "where none is given",
    )
    url: str = WebAddress(default="", description="where the dataset is to be published, http or https")

    def requires(self) -> CreateWebDataset:
        """Return the task that writes the shards."""
        return self.clone(CreateWebDataset)

    def inputs(self) -> dict[str, str]:
        """Return a digest of each stage's target, those of all chunks included."""
        tasks = (*report_dataset.STAGES, *report_dataset.CHUNK_STAGES)
        records = report_dataset.load_records(self.paths, self.chunks, tasks)
        return {label: record.digest for label, record in records.items()}

    def run(self) -> None:
        """Write the report, and print its summary."""
        dataset = report_dataset.FinishedDataset(Path(self.dwca), self.paths, self.chunks)
        named = Named(self.title, listed(self.authors, ";"), self.url)
        with self.write_target() as target:
            report = report_dataset.report_dataset(dataset, named, slurm_runner.read_costs(self.paths))
            for path in report.files:
                target.add(path)
            target.results = {"summary": report.summary}
        print(report.summary, flush=True)


@ReportDataset.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def print_summary_again(task: ReportDataset) -> None:
    """Print the summary of a report that is up to date."""
    print(f"Nothing new: everything is up to date.\n{task.output().record.results['summary']}", flush=True)
