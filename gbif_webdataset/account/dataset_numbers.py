"""The numbers of a finished dataset: what became of its images, and what to know before training with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.shared_images import SharedImages, read_shared_images
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.split_method import load_method
from gbif_webdataset.terms.outcomes import is_temporary
from gbif_webdataset.terms.ranks import LADDERS, RANKS_ABOVE_SPECIES
from gbif_webdataset.terms.splits import HOLDOUT, LABEL, SPLITS_OF_CLASSES, TEST, VAL, split_path


@dataclass(frozen=True)
class ClassSamples:
    """A class: its name with its label, such as `Noctua pronuba (6E4)`, and its samples by split."""

    name: str
    by_split: Mapping[str, int]

    @property
    def total(self) -> int:
        """Its samples in train, val and test."""
        return sum(self.by_split.get(split, 0) for split in SPLITS_OF_CLASSES)


@dataclass(frozen=True)
class DatasetNumbers:
    """The numbers that the findings, the card and the page are made from.

    Attributes:
        media_lines: media of the archive, for which `lines` account.
        classes: those that train, val or test has.
        fractions: the requested fractions of val and test, by split.
        shared: the rows of leakage.csv.
        above_species: samples of labels above species rank; None if this cannot be determined, or if all labels are of
            one rank.
        has_species_key: whether the archive has the column speciesKey.
        licence: the code of the most restrictive licence; empty if there is no image.
        temporary_failures: images that were not downloaded for a reason that another run may resolve.
        moved_by_new_method: if the images keep the splits of an older version, how many of them the method of this
            version would move; otherwise None.
    """

    media_lines: int
    lines: Sequence[AccountLine]
    classes: Sequence[ClassSamples] = ()
    fractions: Mapping[str, float] = field(default_factory=dict)
    shared: Sequence[SharedImages] = ()
    above_species: int | None = None
    has_species_key: bool = False
    licence: str = ""
    temporary_failures: int = 0
    moved_by_new_method: int | None = None

    @property
    def samples(self) -> int:
        """The samples of all classes in train, val and test."""
        return sum(one.total for one in self.classes)


def collect_numbers(
    paths: DatasetPaths, media_lines: int, lines: Sequence[AccountLine], settings: Mapping[str, Mapping[str, Any]]
) -> DatasetNumbers:
    """Read the tables of all stages. `lines` are those of accounting.csv, `settings` the parameters by task.

    The licence is left empty.
    """
    splits, label_column = settings["SplitDataset"], settings["CreateWebDataset"]["label_column"]
    columns = pq.read_schema(paths.clean).names
    method = load_method(paths.splits)
    is_above = _is_above_species(label_column, splits["category_key"], columns)
    return DatasetNumbers(
        media_lines,
        lines,
        classes=_read_classes(paths.classes),
        fractions={VAL: splits["val_frac"], TEST: splits["test_frac"]},
        shared=read_shared_images(paths.leakage),
        above_species=_count_samples(paths, is_above) if is_above else None,
        has_species_key="speciesKey" in columns,
        temporary_failures=sum(line.images for line in lines if line.stage == "fetch" and is_temporary(line.reason)),
        moved_by_new_method=method.moved_by_new_method if method and method.keeps_older_splits else None,
    )


def _read_classes(path: Path) -> list[ClassSamples]:
    """The classes of classes.csv; those of older versions have no name."""
    by_label: dict[str, dict[str, int]] = {}
    names: dict[str, str] = {}
    with tables.open_csv(path) as rows:
        for row in rows:
            if row["split"] in SPLITS_OF_CLASSES:
                by_label.setdefault(row["label"], {})[row["split"]] = int(row["samples"])
                names[row["label"]] = row.get("name") or ""
    return [ClassSamples(_join_name(names[label], label), samples) for label, samples in by_label.items()]


def _join_name(name: str, label: str) -> str:
    return f"{name} ({label})" if name not in ("", label) else label


def _is_above_species(label_column: str, category_key: str, columns: Sequence[str]) -> str:
    """The SQL of whether an image of `clean` is labelled above species rank; empty if all labels are of one rank."""
    if label_column == LABEL:  # roll_up: an image without a value of category_key has the label of a higher rank
        is_species = any(category_key == ladder[0] for ladder in LADDERS)
        return f"coalesce(trim({tables.quote_name(category_key)}::VARCHAR), '') = ''" if is_species else ""
    if "taxonRank" not in columns or any(label_column in ladder for ladder in LADDERS):
        return ""
    ranks = ", ".join(map(tables.quote_text, sorted(RANKS_ABOVE_SPECIES)))
    return f'lower(trim("taxonRank")) IN ({ranks})'


def _count_samples(paths: DatasetPaths, condition: str) -> int:
    """The samples of train, val and test that meet a condition on the columns of clean.parquet."""
    others = [paths.split_dropped, paths.shards_dropped, split_path(paths.splits, HOLDOUT)]
    dropped = " UNION ALL ".join(
        f"SELECT image_path FROM {tables.csv_source(path)}" for path in others if path.is_file()
    )
    query = f"""SELECT count(*) FROM {tables.parquet_source([paths.clean])} AS clean
        ANTI JOIN ({dropped}) AS dropped USING (image_path) WHERE {condition}"""
    with tables.open_database(paths.scratch) as connection:
        [(count,)] = tables.fetch_rows(connection, query)
    return int(count)
