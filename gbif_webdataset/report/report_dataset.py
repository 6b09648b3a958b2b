"""Account for every image, write what is published with the shards, and draw the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbif_webdataset.account.accounting import account_for_images, write_accounting
from gbif_webdataset.account.cost_table import write_costs
from gbif_webdataset.account.costs import Cost, list_task_costs
from gbif_webdataset.account.dataset_numbers import collect_numbers
from gbif_webdataset.account.run_summary import summarize_run
from gbif_webdataset.account.stage_records import is_of_shard_part
from gbif_webdataset.account.subset_stages import SubsetTable, write_subset_stages
from gbif_webdataset.publish.dataset_files import write_dataset_files
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.read.provenance import NO_DOI
from gbif_webdataset.report.page import ReportContent, write_page
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord


@dataclass(frozen=True)
class Report:
    """The files that were written, and a summary of a few lines for the terminal."""

    files: Sequence[Path]
    summary: str


def report_dataset(
    archives: Sequence[Path],
    paths: DatasetPaths,
    records: Mapping[str, TargetRecord],
    publication: Publication,
    slurm_costs: Sequence[Cost],
) -> Report:
    """Write accounting.csv, report/ and the files that are published with the shards.

    `archives` have the titles of the source datasets. `records` are those of all stages in their order, by
    label, such as FetchChunk-00003.

    Raises:
        MissingPieceError: the images of the stages do not add up to those of the archive, or the splits do not have
            the samples of the shards.
    """
    manifest, shards = records["ReadArchive"].results, records["CreateWebDataset"].results
    media_lines, settings = manifest["media_lines"], _list_settings(records)
    lines = account_for_images(paths, media_lines, manifest["media_files"])
    write_accounting(paths.accounting, media_lines, lines)
    costs = [*list_task_costs(records), *slurm_costs]
    write_costs(paths.costs, costs)
    numbers = collect_numbers(paths, media_lines, lines, settings)
    description, published = write_dataset_files(paths, publication, numbers, settings)
    names = [path.name for path in (*published, paths.costs) if path.parent == paths.report]
    subset = write_subset_stages(paths)
    page = write_page(paths, ReportContent(archives, description, shards, costs, names, subset))
    address = description.shards_address
    code = write_loading_code(str(paths.shards), description.shards, description.extensions, address=address)
    loading_lines = (code.webdataset_line, code.hugging_face_line)
    summary = summarize_run(numbers, description.findings, paths.report_page, loading_lines)
    notes = [note for note in manifest.get("notes", []) if NO_DOI not in note]
    notes += [note for source in description.sources for note in source.notes]
    lines_of_notes = "".join(f"\n  note       {note}" for note in notes)
    files = [paths.accounting, paths.costs, *published, *page, *([paths.subset_stages] if subset else [])]
    return Report(files, f"{summary}{_summarize_subset(subset)}{lines_of_notes}")


def _summarize_subset(subset: SubsetTable | None) -> str:
    if subset is None:
        return ""
    taxa = f"{subset.without_samples:,} of {subset.lines:,} taxa of subset_list"
    return f"\n  list       {taxa} have no sample: report/subset.csv"


def _list_settings(records: Mapping[str, TargetRecord]) -> dict[str, dict[str, Any]]:
    """The parameters of each task."""
    return {
        label.partition("-")[0]: {
            name: value for name, value in record.fingerprint.parameters.items() if name != "chunk"
        }
        for label, record in records.items()
        if not is_of_shard_part(label)
    }
