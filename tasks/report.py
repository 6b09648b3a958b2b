"""ReportDataset: the accounting, the report page, and the files that are published with the shards."""

from dataclasses import replace

import luigi

from gbif_webdataset.account.stage_records import is_of_shard_part, load_stage_records
from gbif_webdataset.storage.removed_images import find_removal, remove_images
from gbif_webdataset.storage.target_record import FileRecord, TargetRecord
from tasks.framework import slurm_runner
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note, print_text
from tasks.framework.parameters import Doi, Flag, SemanticVersion, Text, WebAddress, split_list
from tasks.framework.target import list_defaults
from tasks.framework.validation import list_stages
from tasks.read import ReadArchive
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

    keep_images: bool = Flag(
        default=True,
        significant=False,
        description="true: keep the downloaded images. false: remove them after the report. The dataset is complete "
        "without them; a stage that needs them later says how many it would have to download "
        "(--FetchChunk-refetch-removed).",
    )

    def requires(self) -> CreateWebDataset:
        """Return the task that writes the shards."""
        return self.clone(CreateWebDataset)

    def inputs(self) -> dict[str, str]:
        """Return a digest of the target of each stage and chunk, except those of parts of the shards."""
        records = load_stage_records(self.paths, self.chunks)
        return {label: record.digest for label, record in records.items() if not is_of_shard_part(label)}

    def input_records(self) -> list[TargetRecord]:
        """The tables that the report reads, of all stages."""
        records = load_stage_records(self.paths, self.chunks).values()
        return [replace(record, files=dict(filter(_is_read, record.files.items()))) for record in records]

    def find_retry_reason(self) -> str | None:
        """Return whether images remain to be removed."""
        if self.keep_images:
            return None
        removal = find_removal(self.paths)
        return None if removal and removal.is_complete else "the images will be removed (keep_images false)"

    def run(self) -> None:
        """Write the report and print its summary; then remove the images if `keep_images` is false."""
        if not self.output().exists():
            self._write_report()
        if not self.keep_images:
            images = sum(self.clone(ReadArchive).images_per_chunk())
            with self.progress("remove", "images", images) as progress:
                removal = remove_images(self.paths, self.chunks, lambda done: progress.update(done, images))
            print_text(f"  images     {removal} removed (--ReportDataset-keep-images false)")

    def _write_report(self) -> None:
        # Imported here because pandas and Jinja take half a second, which the other tasks need not spend.
        from gbif_webdataset.publish.description import Publication
        from gbif_webdataset.report.report_dataset import report_dataset

        if find_removal(self.paths):
            print_note("the page shows no photos, because the images were removed after an earlier report")
        records, slurm_costs = load_stage_records(self.paths, self.chunks), slurm_runner.read_costs(self.paths)
        defaults = {stage.task_family: list_defaults(stage) for stage in list_stages(self)}
        publication = Publication(self.title, split_list(self.authors, ";"), self.url, self.doi, self.version, defaults)
        with self.write_target() as target:
            archives = self.clone(ReadArchive).archives
            report = report_dataset(archives, self.paths, records, publication, slurm_costs)
            for path in report.files:
                target.add(path)
            target.results = {"summary": report.summary}
        self.print_summary(report.summary)

    def print_summary(self, summary: str) -> None:
        """Print the names of the archives and the summary of the report."""
        names = ", ".join(sorted(archive.name for archive in self.clone(ReadArchive).archives))
        heading = "Bundled sample (no DWCA given)" if self.dwca == SAMPLE else names
        print_text(f"{heading}\n{summary}")


def _is_read(item: tuple[str, FileRecord]) -> bool:
    """Whether the report reads this file: not the chunks of tables that it reads as a whole, and no shards."""
    name, _ = item
    return not name.startswith(("manifest/chunk-", "verified/")) and not name.endswith((".tar", ".idx"))


@ReportDataset.event_handler(luigi.Event.DEPENDENCY_PRESENT)  # type: ignore[untyped-decorator]
def repeat_summary(task: ReportDataset) -> None:
    """Print the summary of a report that is up to date."""
    print_text("Nothing new: everything is up to date.")
    task.print_summary(task.output().record.results["summary"])
