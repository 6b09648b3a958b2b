"""ReportDataset: the accounting, the report page, and the files that are published with the shards."""

from pathlib import Path

import luigi

from gbif_webdataset.account.stage_records import is_of_shard_part, load_stage_records
from gbif_webdataset.errors import escape_text
from tasks.framework import slurm_runner
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Doi, SemanticVersion, Text, WebAddress, split_list
from tasks.shards import CreateWebDataset

SAMPLE = "sample/archive.zip"
"""What `make dataset` without DWCA names as the archive."""


class ReportDataset(DatasetTask):
    """Account for every image of the archive, and write the report page and the files to publish with the shards."""

    FORMAT = 3

    title: str = Text(default="", description="Title of the dataset. Empty: 'Images of' and the title of the archive.")
    authors: str = Text(
        default="",
        description="Authors to cite for the dataset, separated by semicolons. Empty: the creators of the images are "
        "cited as a group.",
    )
    url: str = WebAddress(
        default="", description="Address where the dataset will be published (http or https). Empty: none."
    )

    doi: str = Doi(
        default="",
        description="DOI of the archive, such as 10.15468/dl.9f3k2q, if its metadata do not have it. Empty: the DOI of "
        "the metadata.",
    )

    version: str = SemanticVersion(
        default="1.0.0",
        description="Version of the dataset as three numbers, such as 1.2.0, for the card, CITATION.cff and "
        "croissant.json. Their date is the day of the last download.",
    )

    def requires(self) -> CreateWebDataset:
        """Return the task that writes the shards."""
        return self.clone(CreateWebDataset)

    def inputs(self) -> dict[str, str]:
        """Return a digest of the target of each stage and chunk, except those of parts of the shards."""
        records = load_stage_records(self.paths, self.chunks)
        return {label: record.digest for label, record in records.items() if not is_of_shard_part(label)}

    def run(self) -> None:
        """Write the report, and print its summary."""
        # Imported here because pandas and Jinja take half a second, which the other tasks need not spend.
        from gbif_webdataset.publish.description import Publication
        from gbif_webdataset.report.report_dataset import report_dataset

        records, slurm_costs = load_stage_records(self.paths, self.chunks), slurm_runner.read_costs(self.paths)
        publication = Publication(self.title, split_list(self.authors, ";"), self.url, self.doi, self.version)
        with self.write_target() as target:
            report = report_dataset(Path(self.dwca), self.paths, records, publication, slurm_costs)
            for path in report.files:
                target.add(path)
            target.results = {"summary": report.summary}
        self.print_summary(report.summary)

    def print_summary(self, summary: str) -> None:
        """Print the name of the archive and the summary of its report."""
        heading = "Bundled sample (no DWCA given)" if self.dwca == SAMPLE else Path(self.dwca).name
        print(escape_text(f"{heading}\n{summary}", keep="\n"), flush=True)


@ReportDataset.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def repeat_summary(task: ReportDataset) -> None:
    """Print the summary of a report that is up to date."""
    print("Nothing new: everything is up to date.")
    task.print_summary(task.output().record.results["summary"])
