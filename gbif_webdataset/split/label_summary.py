"""What the labels of the manifest promise for the splits, before any image is downloaded."""

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

import duckdb

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.split.fractions import to_exact_fraction
from gbif_webdataset.split.labels import label_value
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.ranks import KEY_COLUMNS, LADDERS, MAIN_NAME_COLUMNS, RANKS_ABOVE_SPECIES, is_label_column

MAX_ALTERNATIVES = 5


@dataclass(frozen=True)
class LabelSummary:
    """Counts of the manifest's images and labels.

    Attributes:
        unlabelled: images without a label, which SplitDataset will drop.
        above_species: labels whose images are identified to a rank above species; None if that is not recorded.
        below_minimum: labels with too few images for min_instances in train.
        too_few: labels with too few images for one in each split, and that number of images.
        alternatives: other columns that more images have a value of, with the number of these images.
    """

    images: int
    unlabelled: int
    labels: int
    above_species: int | None
    below_minimum: int
    too_few: tuple[int, int]
    alternatives: tuple[tuple[str, int], ...]

    @property
    def is_complete(self) -> bool:
        """Whether every image has a label, of a species or below, and every label has enough images."""
        return not (self.unlabelled or self.above_species or self.below_minimum or self.too_few[0])


def summarize_labels(connection: duckdb.DuckDBPyConnection, options: SplitOptions, table: str) -> LabelSummary:
    """The summary of a table that has the manifest's columns.

    Raises:
        SelectionError: no image has a label.
    """
    columns = tables.describe_columns(connection, table)
    is_of_any_rank = "taxonRank" in columns and not any(options.category_key in ladder for ladder in LADDERS)
    ranks = ", ".join(map(tables.quote_text, sorted(RANKS_ABOVE_SPECIES)))
    is_above = f'lower(trim(clean."taxonRank")) IN ({ranks})' if is_of_any_rank else "NULL"
    enough = _count_enough(options)
    connection.execute(f"""CREATE OR REPLACE TEMP TABLE label_counts AS
        SELECT nullif(trim({label_value(options, columns)}), '') AS label, count(*) AS images,
            bool_and({is_above}) AS is_above
        FROM {table} AS clean GROUP BY 1""")
    minimum, train = options.limits.min_instances, 1 - _fraction_of_others(options)
    query = f"""SELECT coalesce(sum(images), 0)::BIGINT, coalesce(sum(images) FILTER (label IS NULL), 0)::BIGINT,
            count(label), count(*) FILTER (label IS NOT NULL AND is_above),
            count(*) FILTER (label IS NOT NULL AND images * {train.numerator} < {minimum * train.denominator}),
            count(*) FILTER (label IS NOT NULL AND images < {enough})
        FROM label_counts"""
    [(images, unlabelled, labels, above, below, few)] = tables.fetch_rows(connection, query)
    connection.execute("DROP TABLE label_counts")
    alternatives = _find_alternatives(connection, table, columns, images - unlabelled) if unlabelled else ()
    summary = LabelSummary(
        images, unlabelled, labels, above if is_of_any_rank else None, below, (few, enough), alternatives
    )
    if images and unlabelled == images:
        raise SelectionError(
            f"--SplitDataset-category-key {options.category_key}: the column is empty for all {images:,} images; "
            f"choose {_list_alternatives(summary) or 'another column'}"
        )
    return summary


def describe_labels(summary: LabelSummary, options: SplitOptions) -> str:
    """The summary as a sentence, which starts with WARNING if more than half of the images have no label."""
    column = options.category_key
    parts = [f"{column} gives {format_count(summary.labels, 'label')}"]
    if summary.above_species:
        parts.append(f"{summary.above_species:,} of them above species rank")
    if summary.below_minimum:
        parts.append(f"{summary.below_minimum:,} with too few images for min_instances {options.limits.min_instances}")
    few, enough = summary.too_few
    if few:
        parts.append(f"{few:,} with fewer than {enough:,} images, too few for an image in each split")
    sentence = ", ".join(parts)
    if not summary.unlabelled:
        return f"labels: {sentence}; every image has a label"
    sentence += f"; {summary.unlabelled:,} of {summary.images:,} images have no label and will be dropped"
    if 2 * summary.unlabelled <= summary.images:
        return f"labels: {sentence}"
    others = (
        f"columns with more values are {_list_alternatives(summary)}" if summary.alternatives else "no column has more"
    )
    return f"WARNING: labels: {sentence}; {others}: set --SplitDataset-category-key"


def _fraction_of_others(options: SplitOptions) -> Fraction:
    return to_exact_fraction(options.fractions.test) + to_exact_fraction(options.fractions.val)


def _count_enough(options: SplitOptions) -> int:
    """The number of images of a class from which each split gets at least one of them."""
    fractions = [to_exact_fraction(value) for value in (options.fractions.test, options.fractions.val) if value]
    return max((-(-1 // fraction) for fraction in (*fractions, 1 - _fraction_of_others(options))), default=1)


def _find_alternatives(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Collection[str], labelled: int
) -> tuple[tuple[str, int], ...]:
    preferred = (*KEY_COLUMNS, *MAIN_NAME_COLUMNS, *columns)
    names = sorted(filter(is_label_column, set(columns) - {"datasetKey", "checklistKey"}), key=preferred.index)
    if not names:
        return ()
    counts = ", ".join(f"count(nullif(trim({tables.quote_name(name)}), ''))" for name in names)
    [found] = tables.fetch_rows(connection, f"SELECT {counts} FROM {table}")
    more = [(name, count) for name, count in zip(names, found, strict=True) if count > labelled]
    return tuple(sorted(more, key=lambda each: -each[1])[:MAX_ALTERNATIVES])


def _list_alternatives(summary: LabelSummary) -> str:
    return ", ".join(f"{name} ({count:,} images)" for name, count in summary.alternatives)
