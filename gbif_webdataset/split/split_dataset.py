"""The work of SplitDataset: every clean image goes to train, val, test or holdout, or is dropped for a reason."""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from gbif_webdataset.errors import MissingPieceError, SelectionError
from gbif_webdataset.split import labels, traits
from gbif_webdataset.split.assign_images import MEMORY_LIMIT, assign_images, create_clean
from gbif_webdataset.split.balance import write_balance
from gbif_webdataset.split.destinations import count_destinations
from gbif_webdataset.split.kept_splits import count_moved_images, create_kept_destinations
from gbif_webdataset.split.labels import label_value
from gbif_webdataset.split.leakage import add_remedies, measure_leakage, write_leakage
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import HOLDOUT, LABEL, SPLITS, SPLITS_OF_CLASSES, split_path


def split_dataset(clean: Path, duplicates: Path, folder: Path, options: SplitOptions, scratch: Path) -> dict[str, int]:
    """The images of each split, and those dropped for each reason.

    `clean` and `duplicates` are tables of CleanDataset. The order of the rows in `clean` does not matter. `folder` gets
    a CSV for each split with all columns of `clean` (and `label` with roll_up), dropped.csv, balance.csv and
    leakage.csv. All are sorted like clean.parquet.

    Raises:
        SelectionError: a column is missing, or no image is left.
        ParameterError: the previous splits cannot be read.
        MissingPieceError: an image of `clean` has no coreid, or is there twice.
    """
    columns = pq.read_schema(clean).names
    check_columns(options, columns)
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        order = tables.order_clause(connection, clean)
        assign_images(connection, clean, duplicates, options)
        counts = count_destinations(connection, options)
        if not any(counts[split] for split in SPLITS_OF_CLASSES):
            raise SelectionError(_explain_empty_result(clean, options, counts))
        selected = "clean.*"
        if options.roll_up:
            excluded = f" EXCLUDE {LABEL}" if LABEL in columns else ""
            selected += f"{excluded}, {label_value(options, columns)} AS {LABEL}"
        _write_images(connection, clean, _image_queries(clean, options, selected, order), folder)
        write_balance(connection, options, folder / "balance.csv")
        leakage = measure_leakage(connection, columns, options.grouping.place_km, duplicates)
    write_leakage(add_remedies(leakage, clean, duplicates, options, scratch), folder / "leakage.csv")
    return counts


def describe_kept_splits(clean: Path, duplicates: Path, folder: Path, options: SplitOptions, scratch: Path) -> None:
    """Write leakage.csv of splits that an older version made, which measured it in another way.

    `clean` and `duplicates` are the tables of CleanDataset that the folder `splits` was made from.
    """
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        create_clean(connection, clean)
        create_kept_destinations(connection, folder)
        columns = pq.read_schema(clean).names
        leakage = measure_leakage(connection, columns, options.grouping.place_km, duplicates)
    write_leakage(add_remedies(leakage, clean, duplicates, options, scratch), folder / "leakage.csv")


def count_images_to_move(clean: Path, duplicates: Path, folder: Path, options: SplitOptions, scratch: Path) -> int:
    """The images of a folder `splits` that the method of this version would move to another split."""
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        assign_images(connection, clean, duplicates, replace(options, kept_splits=None))
        return count_moved_images(connection, folder)


def check_columns(options: SplitOptions, columns: Collection[str]) -> None:
    """Return if an archive with these columns has all that the options need.

    Raises:
        SelectionError: a column is missing, or roll_up cannot be applied.
    """
    labels.check_columns(options, columns)
    traits.check_columns(options.grouping, columns)


def _explain_empty_result(clean: Path, options: SplitOptions, counts: dict[str, int]) -> str:
    """The sentence that names the rule which dropped the last image."""
    images, unlabelled = sum(counts.values()), counts[DropReason.NO_LABEL]
    if not images:
        return f"{clean}: it has no images; change the filters of CleanDataset so that some images pass"
    if unlabelled == images:
        return (
            f"--SplitDataset-category-key {options.category_key}: the column is empty for all {images} images; "
            "choose another column"
        )
    numbers = ", ".join(f"{name} {count}" for name, count in counts.items() if name not in SPLITS_OF_CLASSES)
    minimum = options.limits.min_instances
    return (
        f"--SplitDataset-min-instances {minimum}: no class has {minimum} images in train (dropped: {numbers}); "
        "lower the value"
    )


def _image_queries(clean: Path, options: SplitOptions, selected: str, order: str) -> dict[str, str]:
    """The query for each CSV with images, by its name. Together they select each image once."""
    source = f"FROM {tables.parquet_source([clean])} AS clean POSITIONAL JOIN destinations WHERE destination"
    splits = SPLITS if options.holdout_key else SPLITS_OF_CLASSES
    queries = {split: f"SELECT {selected} {source} = '{split}'{order}" for split in splits}
    dropped = "'split' AS stage, destination AS reason, image_path, identifier, coreid"
    queries["dropped"] = f"SELECT {dropped} {source} NOT IN {(*SPLITS_OF_CLASSES, HOLDOUT)}{order}"
    return queries


def _write_images(connection: duckdb.DuckDBPyConnection, clean: Path, queries: dict[str, str], folder: Path) -> None:
    """Write all CSVs with images, or none of them."""
    written = 0
    with ExitStack() as stack:
        for name, query in queries.items():
            written += _write_csv(connection, query, stack.enter_context(atomic_file(split_path(folder, name))))
        images = pq.read_metadata(clean).num_rows
        if written != images:
            raise MissingPieceError(
                f"{clean}: it has {images} rows, but {written} were written to {folder}, because a row has no coreid; "
                "delete the file and run the same command again"
            )


def _write_csv(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """The number of rows written to a CSV."""
    options = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false"
    [(count,)] = tables.fetch_rows(connection, f"COPY ({query}) TO {tables.quote_text(str(path))} ({options})")
    return int(count)
