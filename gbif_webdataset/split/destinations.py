"""Where each image goes: its split, or the reason for which it is dropped."""

import math

import duckdb

from gbif_webdataset.split.fractions import TEST_CODE, TRAIN_CODE, VAL_CODE, to_exact_fraction
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.temporary_tables import create_table
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import HOLDOUT, SPLITS_OF_CLASSES


def create_destinations(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> None:
    """Create `assigned_images`, `small_classes` and `destinations`."""
    create_table(
        connection,
        "assigned_images",
        f"""SELECT row_index, units.class AS class, split, {_is_over_maximum(options)} AS is_over_maximum
        FROM images JOIN units USING (unit) JOIN members USING (unit) JOIN group_splits USING (group_id)
        WHERE images.class IS NOT NULL""",
    )
    create_table(
        connection,
        "small_classes",
        f"""SELECT class FROM assigned_images GROUP BY class
        HAVING count(*) FILTER (split = {TRAIN_CODE} AND NOT is_over_maximum) < {options.limits.min_instances}""",
    )
    splits = ", ".join(tables.quote_text(split) for split in SPLITS_OF_CLASSES)
    create_table(
        connection,
        "destinations",
        f"""SELECT row_index, CASE WHEN is_over_maximum THEN '{DropReason.OVER_MAX_INSTANCES}'
            WHEN small_classes.class IS NOT NULL THEN '{DropReason.UNDER_MIN_INSTANCES}'
            ELSE [{splits}][split + 1] END AS destination
        FROM assigned_images LEFT JOIN small_classes USING (class)
        UNION ALL SELECT row_index, CASE WHEN is_held_out THEN '{HOLDOUT}' ELSE '{DropReason.NO_LABEL}' END
        FROM images WHERE class IS NULL""",
        order="row_index",
    )


def _is_over_maximum(options: SplitOptions) -> str:
    """The SQL of whether an image is over max_instances, which allows each split its fraction, but at least one."""
    maximum = options.limits.max_instances
    if not maximum:
        return "false"
    maxima = [maximum] * len(SPLITS_OF_CLASSES)
    for code, fraction in ((VAL_CODE, options.fractions.val), (TEST_CODE, options.fractions.test)):
        maxima[code] = max(1, math.floor(maximum * to_exact_fraction(fraction)))
    order = f"PARTITION BY units.class, split ORDER BY {options.seeded_hash('image_path')}, image_path"
    return f"row_number() OVER ({order}) > {maxima}[split + 1]"


def count_destinations(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> dict[str, int]:
    """The images of each split, and those dropped for each reason that can occur with these options."""
    counts = dict(tables.fetch_rows(connection, "SELECT destination, count(*) FROM destinations GROUP BY destination"))
    names: list[str] = [*SPLITS_OF_CLASSES, DropReason.NO_LABEL]
    names += [DropReason.OVER_MAX_INSTANCES] if options.limits.max_instances else []
    names += [DropReason.UNDER_MIN_INSTANCES] if options.limits.min_instances else []
    names += [HOLDOUT] if options.holdout_key else []
    return {str(name): counts.get(name, 0) for name in names}
