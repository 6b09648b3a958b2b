"""ReportDataset: the accounting, the page, and the files that are published with the shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbif_webdataset.account import accounting, costs, funnel
from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.publish import dataset_files
from gbif_webdataset.report import page, statistics
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord

STAGES = ("ReadArchive", "VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset", "CreateWebDataset")
CHUNK_STAGES = ("FetchChunk", "VerifyChunk")
# The order in which costs are listed. PlanShards and ShardChunk run only on Slurm.
COST_ORDER = ("ReadArchive", *CHUNK_STAGES, *STAGES[1:-1], "PlanShards", "ShardChunk", "CreateWebDataset")
OF_CHUNKS = (*CHUNK_STAGES, "ShardChunk")


@dataclass(frozen=True)
class FinishedDataset:
    """A dataset whose shards are finished."""

    archive: Path
    paths: DatasetPaths
    chunks: int


@dataclass(frozen=True)
class Report:
    """What was written: the `files`, and the `summary` for the terminal."""

    files: list[Path]
    summary: str


def report_dataset(
    dataset: FinishedDataset, named: dataset_files.Named, slurm_costs: Sequence[costs.Cost] = ()
) -> Report:
    """Count every image of the archive, draw the page and write the files that are published with the shards.

    Raises MissingPieceError if the numbers of the stages do not add up to the images of the archive.
    """
    paths = dataset.paths
    records = load_records(paths, dataset.chunks, (*STAGES, *CHUNK_STAGES))
    media_lines = records["ReadArchive"].results["media_lines"]
    lines = accounting.account(media_lines, _counted_tables(dataset, records["ReadArchive"]), paths.scratch)
    accounting.write(paths.accounting, media_lines, lines)
    spent = [*costs.of_records(load_records(paths, dataset.chunks, COST_ORDER)), *slurm_costs]
    costs.write(paths.costs, spent)

    places = dataset_files.Places(paths.manifest, paths.splits, paths.shards, paths.report, paths.scratch)
    settings = {label.split("-")[0]: _settings(record) for label, record in records.items()}
    description, published = dataset_files.write(places, named, media_lines, lines, settings)

    created = records["CreateWebDataset"].results
    beside = [path.name for path in published if path.parent == paths.report]
    contents = page.Told(dataset.archive, description, created, spent, (*beside, paths.costs.name))
    drawn = page.write(paths.report, _page_tables(dataset), contents, paths.scratch)

    summary = funnel.summary(media_lines, lines, len(description.classes), created["shards"], paths.output)
    split = settings["SplitDataset"]
    summary += "\n" + describe_splits(paths.splits, split["val_frac"], split["test_frac"])
    return Report([paths.accounting, paths.costs, *published, *drawn], summary)


def load_records(paths: DatasetPaths, chunks: int, tasks: Sequence[str]) -> dict[str, TargetRecord]:
    """Return the records of these tasks that exist, by label and in this order; of a chunk task, of all chunks."""
    labels = [
        label
        for task in tasks
        for label in ([f"{task}-{chunk:05d}" for chunk in range(chunks)] if task in OF_CHUNKS else [task])
    ]
    found = {label: TargetRecord.load(paths.record(label)) for label in labels}
    return {label: record for label, record in found.items() if record is not None}


def _settings(record: TargetRecord) -> Mapping[str, Any]:
    return {name: value for name, value in record.fingerprint.parameters.items() if name != "chunk"}


def _counted_tables(dataset: FinishedDataset, manifest: TargetRecord) -> accounting.Tables:
    paths = dataset.paths
    return accounting.Tables(
        paths.rejected,
        tuple(manifest.results["media_files"]),
        paths.chunks("fetched", dataset.chunks),
        paths.clean_dropped,
        paths.split_dropped,
        paths.shards_dropped,
        paths.shard_list,
    )


def _page_tables(dataset: FinishedDataset) -> statistics.Places:
    paths = dataset.paths
    return statistics.Places(
        paths.chunks("fetched", dataset.chunks),
        paths.clean,
        paths.clean_dropped,
        paths.duplicates,
        paths.splits,
        paths.shards,
        paths.images,
    )
