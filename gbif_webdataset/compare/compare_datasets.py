"""Compare two datasets: a page and a CSV in the newer dataset's report/, and a summary."""

from pathlib import Path

from gbif_webdataset.compare.comparison import compare, find_label_column
from gbif_webdataset.compare.comparison_page import ComparedDataset, summarize_comparison, write_page


def compare_datasets(old: Path, new: Path, scratch: Path) -> str:
    """Write report/comparison.html and report/comparison.csv into `new`; a summary of a few lines for the terminal.

    Raises:
        MissingPieceError: `old` or `new` has no dataset, or a split or its labels are missing.
    """
    page, table = (new / "report" / f"comparison.{extension}" for extension in ("html", "csv"))
    datasets = [ComparedDataset(folder, find_label_column(folder)) for folder in (old, new)]
    comparison = compare(old, new, table, scratch)
    write_page(page, datasets[0], datasets[1], comparison, table.name)
    return summarize_comparison(comparison, page, table)
