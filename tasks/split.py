"""SplitDataset: assigns the images to train, val and test."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.kept_splits import describe_kept_method, has_splits
from gbif_webdataset.split.label_summary import describe_labels, summarize_labels
from gbif_webdataset.split.options import Limits, SplitOptions
from gbif_webdataset.split.previous_splits import find_previous_splits
from gbif_webdataset.split.split_dataset import (
    check_columns,
    count_images_to_move,
    describe_kept_splits,
    split_dataset,
)
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage.atomic import atomic_folder, restore_folder
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.storage.split_method import SplitMethod, load_method
from gbif_webdataset.storage.tables import describe_columns
from gbif_webdataset.storage.target_record import (
    DIGEST_OF_IMAGES,
    Change,
    FileRecord,
    Fingerprint,
    TargetRecord,
    find_changes,
)
from gbif_webdataset.terms.ranks import DEFAULT_CATEGORY_KEY
from gbif_webdataset.terms.splits import SPLITS, SPLITS_OF_CLASSES
from tasks.clean import CleanDataset
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note, print_text
from tasks.framework.parameters import Count, Flag, InputFolder, Real, Text, split_list
from tasks.framework.target import list_defaults

LIMITS = ("max_instances", "min_instances")
"""Parameters that drop images but do not decide the split of an image."""


class SplitDataset(DatasetTask):
    """Assign the clean images to train, val and test. Images of an occurrence, or of a group, are in one split."""

    FORMAT = 3
    COLUMN_PARAMETERS = ("category_key", "holdout_key")

    category_key: str = Text(
        default=DEFAULT_CATEGORY_KEY,
        description="Column whose values are the classes; the fractions are applied within each class.",
    )
    roll_up: bool = Flag(
        default=False,
        description="true: if category_key (e.g. speciesKey) is empty for an image, use the next higher rank that is "
        "filled (e.g. genusKey). false: drop such images.",
    )
    test_frac: float = Real(
        default=0.2, maximum=1, description="Fraction of each class's images for test, from 0 to below 1."
    )
    val_frac: float = Real(
        default=0.1, maximum=1, description="Fraction of each class's images for val, from 0 to below 1."
    )
    max_instances: int = Count(
        default=0,
        description="Maximum number of images of a class in train; val and test have at most their fraction of it, but "
        "at least one image. 0: no maximum.",
    )
    min_instances: int = Count(
        default=0, description="Drop classes with fewer images in train than this; 0 drops none."
    )
    split_by_occurrence: bool = Flag(
        default=True,
        description="true: keep all images of an occurrence in one split. false: they may be in several splits, even "
        "if group_by names occurrence.",
    )
    group_by: str = Text(
        default="occurrence",
        description="Images that share one of these are kept in one split: occurrence, observer, date, place, event, "
        "near-duplicates; separate several with commas. observer+date: both must agree. A date is the day, or the "
        "interval of days, that eventDate states. Images without a value are not grouped by it.",
    )
    place_km: float = Real(
        default=1.0, description="Length of a side of the grid cells that count as one place, in kilometres."
    )
    exact_fractions: bool = Flag(
        default=False,
        description="true: match test_frac and val_frac in every class as closely as the groups allow. false: assign "
        "each group by its own hash, so that a newer download moves few images; class fractions are then approximate.",
    )
    previous_splits: str = InputFolder(
        default="",
        files=tuple(f"{split}.csv" for split in SPLITS_OF_CLASSES),
        description="Folder splits of an earlier dataset, or its address, such as s3://bucket/moths/splits. Its images "
        "keep their split, unless group_by connects images of several splits; no image moves from test to train. "
        "Empty: no earlier dataset.",
    )
    holdout_key: str = Text(
        default="",
        description="Hold out whole taxa for open-set tests: holdout_frac of the values of this column (e.g. genusKey) "
        "form a fourth split, holdout. Images there whose class is not in train are labelled -1. Empty: no holdout.",
    )
    holdout_frac: float = Real(
        default=0.1,
        maximum=1,
        description="Fraction of the values of holdout_key that are held out, above 0 and below 1; at least one value.",
    )
    random_seed: int = Count(default=42, description="Seed of the hash that assigns groups to splits.")
    resplit: bool = Flag(
        default=False,
        significant=False,
        description="true: assign all images by the method of this version, even if an older version assigned them. "
        "false: images of a dataset that an older version split keep their split, and new images are added.",
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.options = SplitOptions(
            self.category_key,
            Fractions(self.test_frac, self.val_frac),
            self.random_seed,
            Limits(self.max_instances, self.min_instances),
            self.split_by_occurrence,
            Grouping(split_list(self.group_by), self.place_km),
            self.exact_fractions,
            Path(self.previous_splits) if self.previous_splits else None,
            self.holdout_key,
            self.holdout_frac,
            self.roll_up,
        )
        if self.options.previous_splits is not None:
            find_previous_splits(self.options.previous_splits)
            if self.options.previous_splits.resolve() == self.paths.splits.resolve():
                raise ParameterError(
                    f"--SplitDataset-previous-splits {self.previous_splits}: this folder will be overwritten; "
                    "copy it elsewhere and name the copy"
                )

    @property
    def keeps_older_splits(self) -> bool:
        """Whether the images of the present splits keep them because an older version assigned them.

        They are not kept if a parameter that decides the split of an image has changed since, or a file is damaged.
        """
        folder, record = self.paths.splits, self.record()
        if self.resplit or self.exact_fractions or not has_splits(folder) or (record and self._is_damaged(record)):
            return False
        method = load_method(folder)
        if method is not None:
            return method.keeps_older_splits and not self._has_changed(method.parameters)
        return record is None or (
            record.fingerprint.format < self.FORMAT and not self._has_changed(record.fingerprint.parameters)
        )

    def _is_damaged(self, record: TargetRecord) -> bool:
        """Whether a CSV with images is missing or has another size than in the record."""
        return any(name in _list_image_files(record.files) for name, _ in record.damaged_files(self.paths.output))

    def _has_changed(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a parameter that decides the split of an image differs from the earlier `parameters`."""
        return any(change.name not in LIMITS for change in self._find_changes(parameters))

    def _find_changes(self, parameters: Mapping[str, Any]) -> list[Change]:
        defaults = list_defaults(self)
        now = self.fingerprint(with_inputs=False)
        return list(find_changes(Fingerprint(now.format, dict(parameters)), now, defaults))

    def find_retry_reason(self) -> str | None:
        """Splits of an older version are assigned again on request."""
        method = load_method(self.paths.splits)
        return "resplit is set" if self.resplit and method is not None and method.keeps_older_splits else None

    def requires(self) -> CleanDataset:
        """The clean images."""
        return self.clone(CleanDataset)

    def check_options(self, columns: Collection[str]) -> None:
        """Check the columns that the options name."""
        check_columns(self.options, columns)

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Count the images without a label, and the labels of high ranks or with too few images."""
        if self.category_key not in describe_columns(connection, "manifest"):  # a column that a later stage adds
            return []
        summary = summarize_labels(connection, self.options, "manifest")
        return [] if summary.is_complete else [describe_labels(summary, self.options)]

    def run(self) -> None:
        """Write the CSVs of the splits. If an older version made the same CSVs, only describe them again."""
        paths = self.paths
        restore_folder(paths.splits)
        record, is_kept = self.record(), self.keeps_older_splits
        with self.write_target(delete_record=False) as target:
            if record is not None and is_kept and self._has_same_images(record):
                describe_kept_splits(paths.clean, paths.duplicates, paths.splits, self.options, paths.scratch)
                target.results = dict(record.results)
                self._save_method(paths.splits, target.results, is_kept)
            else:
                options = replace(self.options, kept_splits=paths.splits if is_kept else None)
                with atomic_folder(paths.splits) as folder:
                    counts = split_dataset(paths.clean, paths.duplicates, folder, options, paths.scratch)
                    target.results = dict(counts)
                    self._save_method(folder, target.results, is_kept)
                    paths.record(self.label).unlink(missing_ok=True)
            for path in sorted(paths.splits.iterdir()):
                target.add(path)
            target.results[DIGEST_OF_IMAGES] = _digest_images(target.files, record)
        if self.is_root:  # otherwise the report prints it
            print_text(describe_splits(paths.splits, self.val_frac, self.test_frac))

    def _has_same_images(self, record: TargetRecord) -> bool:
        """Whether a record is of a target with the same inputs and parameters."""
        return record.fingerprint.inputs == self.inputs() and not self._find_changes(record.fingerprint.parameters)

    def _save_method(self, folder: Path, counts: Mapping[str, Any], is_kept: bool) -> None:
        """Write method.json. If splits are kept, report how many images the method of this version would move."""
        paths, moved = self.paths, 0
        images = sum(counts.get(split, 0) for split in SPLITS_OF_CLASSES)
        if is_kept:
            moved = count_images_to_move(paths.clean, paths.duplicates, folder, self.options, paths.scratch)
            print_note(describe_kept_method(moved, images))
        parameters = self.fingerprint(with_inputs=False).parameters
        decisive = {name: value for name, value in parameters.items() if name not in LIMITS}
        SplitMethod(decisive, is_kept, moved, images).save(folder)


def _digest_images(files: Mapping[str, FileRecord], earlier: TargetRecord | None) -> str:
    """The digest of the CSVs with images: that of an earlier target if its CSVs are the same."""
    own = {name: files[name].sha256 for name in _list_image_files(files)}
    if earlier is not None and own == {name: earlier.files[name].sha256 for name in _list_image_files(earlier.files)}:
        return earlier.digest_of_images
    return digest_of(own)


def _list_image_files(files: Mapping[str, FileRecord]) -> set[str]:
    """The names of the CSVs of train, val, test and holdout among the files of a target."""
    return {name for name in files if Path(name).stem in SPLITS}
