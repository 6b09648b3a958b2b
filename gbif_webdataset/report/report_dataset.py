"""Account for every image, write what is published with the shards, and draw the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.account.accounting import account_for_images, write_accounting
from gbif_webdataset.account.cost_table import write_costs
from gbif_webdataset.account.costs import Cost, list_task_costs
from gbif_webdataset.account.finished_dataset import FinishedDataset
from gbif_webdataset.account.funnel import summarize
from gbif_webdataset.publish.dataset_files import write_dataset_files
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.report.page import ReportContent, write_page
from gbif_webdataset.storage.target_record import Record

WITHOUT_OWN_PARAMETERS = ("PlanShards", "ShardChunk")  # they have those of CreateWebDataset


@dataclass(frozen=True)
class Report:
    """The files that were written, and a summary of a few lines for the terminal."""

    files: Sequence[Path]
    summary: str


def report_dataset(
    dataset: FinishedDataset, records: Mapping[str, Record], publication: Publication, slurm_costs: Sequence[Cost]
) -> Report:
    """Write accounting.csv, report/ and the files that are published with the shards.

    `records` are those of all stages in their order, by label, such as FetchChunk-00003.

    Raises:
        MissingPieceError: the images of the stages do not add up to those of the archive, or the splits do not have
            the samples of the shards.
    """
    archive, shards = records["ReadArchive"].facts, records["CreateWebDataset"].facts
    media_lines = archive["media_lines"]
    lines = account_for_images(dataset, media_lines, archive["media_files"])
    write_accounting(dataset.accounting, media_lines, lines)
    costs_csv, costs = dataset.report / "costs.csv", [*list_task_costs(records), *slurm_costs]
    write_costs(costs_csv, costs)
    description, published = write_dataset_files(dataset, publication, media_lines, lines, _list_settings(records))
    names = [path.name for path in (*published, costs_csv) if path.parent == dataset.report]
    page = write_page(dataset, ReportContent(description, shards, costs, names))
    summary = summarize(dataset, media_lines, lines, len(description.classes), shards["shards"])
    return Report([dataset.accounting, costs_csv, *published, *page], summary)


def _list_settings(records: Mapping[str, Record]) -> dict[str, dict[str, object]]:
    """The parameters of each task."""
    return {
        task: {name: value for name, value in record.made_from["parameters"].items() if name != "chunk"}
        for label, record in records.items()
        if (task := label.split("-")[0]) not in WITHOUT_OWN_PARAMETERS
    }
