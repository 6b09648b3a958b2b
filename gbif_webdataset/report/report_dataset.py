"""Account for every image, write what is published with the shards, and draw the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.account import accounting, costs, funnel
from gbif_webdataset.account.finished_dataset import FinishedDataset
from gbif_webdataset.publish import dataset_files
from gbif_webdataset.publish.dataset_files import Named, Places
from gbif_webdataset.report import page, statistics
from gbif_webdataset.storage.target_record import Record

HIDDEN = ("PlanShards", "ShardChunk")  # their parameters are those of CreateWebDataset


@dataclass(frozen=True)
class Report:
    """The files that were written, and a summary of a few lines for the terminal."""

    files: Sequence[Path]
    summary: str


def report_dataset(
    dataset: FinishedDataset, records: Mapping[str, Record], named: Named, slurm_costs: Sequence[costs.Cost]
) -> Report:
    """Write accounting.csv, report/ and what goes with the shards.

    `records` are those of all stages in their order, by their labels, such as FetchChunk-00003.

    Raises:
        MissingPieceError: the images of the stages do not add up to those of the archive, or the splits do not have
            the samples of the shards.
    """
    archive, shards = records["ReadArchive"].facts, records["CreateWebDataset"].facts
    media_lines = archive["media_lines"]
    counted = accounting.Tables(
        dataset.manifest / "rejected.parquet",
        tuple(archive["media_files"]),
        dataset.fetched,
        dataset.clean_dropped,
        dataset.splits / "dropped.csv",
        dataset.shards / "dropped.csv",
        dataset.shards / "shards.csv",
    )
    lines = accounting.account(media_lines, counted, dataset.scratch)
    accounting.write(dataset.accounting, media_lines, lines)
    spent = [*costs.of_records(records), *slurm_costs]
    costs_file = dataset.report / "costs.csv"
    costs.write(costs_file, spent)
    settings = {
        task: {name: value for name, value in record.made_from["parameters"].items() if name != "chunk"}
        for label, record in records.items()
        if (task := label.split("-")[0]) not in HIDDEN
    }
    places = Places(dataset.manifest, dataset.splits, dataset.shards, dataset.report, dataset.scratch)
    facts, published = dataset_files.write(places, named, media_lines, lines, settings)
    beside = [path.name for path in published if path.parent == dataset.report]
    told = page.Told(dataset.archive, facts, shards, spent, (*beside, costs_file.name))
    tables = statistics.Places(
        dataset.fetched,
        *(dataset.clean, dataset.clean_dropped, dataset.duplicates, dataset.splits, dataset.shards, dataset.images),
    )
    drawn = page.write(dataset.report, tables, told, dataset.scratch)
    summary = funnel.summary(media_lines, lines, len(facts.classes), shards["shards"], dataset.accounting.parent)
    return Report([dataset.accounting, costs_file, *published, *drawn], summary)
