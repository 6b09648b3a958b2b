"""Compare two datasets: a page and a CSV in the newer dataset's report/, and a summary."""

from gbif_webdataset.compare.comparison import compare, find_label_column
from gbif_webdataset.compare.comparison_page import ComparedDataset, summarize_comparison, write_page
from gbif_webdataset.compare.label_changes import TaxonomyOptions
from gbif_webdataset.storage.paths import DatasetPaths


def compare_datasets(old: DatasetPaths, new: DatasetPaths, options: TaxonomyOptions | None = None) -> str:
    """Write report/comparison.html and report/comparison.csv into `new`; a summary of a few lines for the terminal.

    Raises:
        MissingPieceError: `old` or `new` has no dataset, or a split or its labels are missing.
    """
    page, table = new.comparison_page, new.comparison_table
    datasets = [ComparedDataset(paths.output, find_label_column(paths)) for paths in (old, new)]
    comparison = compare(old, new, options)
    write_page(page, datasets[0], datasets[1], comparison, table.name)
    return summarize_comparison(comparison, page, table)
