"""The class of each image, and the images that are held out."""

from collections.abc import Collection

import duckdb

from gbif_webdataset.errors import SelectionError, did_you_mean
from gbif_webdataset.split.fractions import HASHES, to_exact_fraction
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.temporary_tables import create_table
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.ranks import LADDERS, is_label_column, ranks_from


def check_columns(options: SplitOptions, columns: Collection[str]) -> None:
    """Return if an archive with these columns has category_key and holdout_key, and roll_up can be applied.

    Raises:
        SelectionError: a column is missing, or category_key is not a taxon rank although roll_up is set.
    """
    for option, name in (("category-key", options.category_key), ("holdout-key", options.holdout_key)):
        if name and name not in columns:
            choices = [column for column in columns if is_label_column(column)]
            choose = f"choose one of {', '.join(choices)}" if choices else "choose another column"
            raise SelectionError(
                f"--SplitDataset-{option} {name}: the archive has no such column; "
                f"{did_you_mean(name, columns)} {choose}".replace("  ", " ")
            )
    if options.roll_up and not ranks_from(options.category_key, columns):
        ranks = ", ".join(name for ladder in LADDERS for name in ladder if name in columns)
        raise SelectionError(
            f"--SplitDataset-roll-up true: category_key {options.category_key!r} is not a taxon rank; "
            f"choose one of {ranks} as category_key, or set roll_up to false"
        )


def label_value(options: SplitOptions, columns: Collection[str]) -> str:
    """The SQL of an image's label in a row of `clean`: category_key or, with roll_up, the next higher rank filled."""
    if not options.roll_up:
        return f"clean.{tables.quote_name(options.category_key)}::VARCHAR"
    ranks = ranks_from(options.category_key, columns)
    values = [f"nullif(trim(clean.{tables.quote_name(name)}::VARCHAR), '')" for name in ranks]
    return f"coalesce({', '.join(values)})"


def create_labelled_images(connection: duckdb.DuckDBPyConnection, options: SplitOptions, label: str) -> None:
    """Create `classes`, `held_out_values` if there is a holdout_key, and `images`. `label` is SQL of `label_value`."""
    create_table(
        connection,
        "classes",
        f"""SELECT label, row_number() OVER (ORDER BY label) AS class
        FROM (SELECT DISTINCT {label} AS label FROM clean WHERE trim({label}) <> '')""",
    )
    is_held_out = "false"
    if options.holdout_key:
        value = f"clean.{tables.quote_name(options.holdout_key)}::VARCHAR"
        _create_held_out_values(connection, options, value, label)
        is_in_holdout = f"coalesce({value} IN (SELECT value FROM held_out_values), false)"
        is_held_out = f"classes.class IS NOT NULL AND {is_in_holdout}"
    create_table(
        connection,
        "images",
        f"""SELECT row_index, image_path, {"coreid" if options.split_by_occurrence else "row_index"} AS unit,
            CASE WHEN NOT ({is_held_out}) THEN classes.class END AS class, {is_held_out} AS is_held_out
        FROM clean LEFT JOIN classes ON classes.label = {label}""",
    )


def _create_held_out_values(
    connection: duckdb.DuckDBPyConnection, options: SplitOptions, value: str, label: str
) -> None:
    """Create `held_out_values`: the values whose seeded hash is in the range of holdout_frac, but at least one."""
    own_hash = options.seeded_hash("'holdout|' || value")
    limit = int(to_exact_fraction(options.holdout_frac) * HASHES)
    create_table(
        connection,
        "held_out_values",
        f"""SELECT value FROM (SELECT DISTINCT {value} AS value FROM clean
            WHERE trim({value}) <> '' AND trim({label}) <> '')
        QUALIFY {own_hash} < {limit} OR row_number() OVER (ORDER BY {own_hash}, value) = 1""",
    )
