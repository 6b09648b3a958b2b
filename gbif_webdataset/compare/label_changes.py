"""When labels of two datasets may be compared, and which changes of labels a crosswalk explains."""

from collections.abc import Collection
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from gbif_webdataset.storage.arrow import to_text_array
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.terms.checklists import Checklist, Relation
from gbif_webdataset.terms.ranks import NAME_COLUMNS


@dataclass(frozen=True)
class TaxonomyOptions:
    """The user's crosswalk between the datasets, and whether the user states that their taxonomies are the same."""

    crosswalk: CrosswalkTable | None = None
    same_taxonomy: bool = False


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset: their column, and the checklist of its keys."""

    column: str
    checklist: Checklist


def explain_comparison(old: Labels, new: Labels, options: TaxonomyOptions, shared: int, count: int) -> str:
    """Why labels are not compared, or may mean other taxa; empty if they are compared as they are.

    `count` is the number of distinct old labels, `shared` how many of them are labels of the new dataset, too.
    """
    if options.crosswalk or _are_same(old, new, options):
        return ""
    relation = old.checklist.compare(new.checklist)
    remedy = "make a crosswalk (make crosswalk OLD=... NEW=...) and set --crosswalk"
    if relation is Relation.DIFFERENT:
        return (
            f"labels are not compared, because they are keys of {old.checklist} and of {new.checklist}; {remedy}, or "
            "set --same-taxonomy if the keys mean the same taxa"
        )
    if relation is Relation.UNKNOWN and 2 * shared < count:
        return (
            f"the labels may be keys of different taxonomies ({old.checklist}; {new.checklist}): {shared:,} of "
            f"{count:,} old labels are in both datasets; {remedy}"
        )
    return ""


def are_comparable(old: Labels, new: Labels, options: TaxonomyOptions) -> bool:
    """Whether labels may be compared: not if they are keys of different checklists, and there is no crosswalk."""
    return options.crosswalk is not None or are_texts_comparable(old, new, options)


def are_texts_comparable(old: Labels, new: Labels, options: TaxonomyOptions) -> bool:
    """Whether labels that no crosswalk lists may be compared: not if they are keys of different checklists."""
    return _are_same(old, new, options) or old.checklist.compare(new.checklist) is not Relation.DIFFERENT


def _are_same(old: Labels, new: Labels, options: TaxonomyOptions) -> bool:
    """Whether the user states that the taxonomies are the same, or labels are names."""
    return options.same_taxonomy or {old.column, new.column} <= set(NAME_COLUMNS)


def load_explained(
    connection: duckdb.DuckDBPyConnection, options: TaxonomyOptions, old_labels: Collection[str]
) -> None:
    """Create `explained`, the pairs of labels that the crosswalk links, and `listed`, its old labels."""
    links = options.crosswalk.translate(old_labels) if options.crosswalk is not None else {}
    pairs = sorted({(link.old, link.new) for found in links.values() for link in found if link.is_decided})
    columns = {"old_label": [old for old, _ in pairs], "new_label": [new for _, new in pairs]}
    for name, content in (("explained", columns), ("listed", {"old_label": sorted(links)})):
        table = pa.table({column: to_text_array(values) for column, values in content.items()})
        connection.register("loaded", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM loaded")
        connection.unregister("loaded")
