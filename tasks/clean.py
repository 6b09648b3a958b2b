"""CleanDataset: filters the images for quality."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import duckdb

from gbif_webdataset.clean.clean_dataset import (
    CleanFiles,
    Filters,
    check_columns,
    clean_dataset,
    match_ignored_datasets,
)
from gbif_webdataset.clean.duplicates import CHOICES, DuplicateOptions
from gbif_webdataset.clean.life_stages import check_predictions_file, match_predictions
from gbif_webdataset.clean.near_duplicates import MAX_DISTANCE_BITS
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.ranks import DEFAULT_CATEGORY_KEY
from tasks.delete import DeleteImages
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Choice, Count, Flag, InputFile, Text, split_list


class CleanDataset(DatasetTask):
    """Filter the images for quality, and count the images that each filter drops."""

    FORMAT = 2
    COLUMN_PARAMETERS = ("category_key",)

    remove_duplicate_url: str = Choice(
        default="all-but-one",
        choices=CHOICES,
        description="Which images with the same URL are dropped: none, all-but-one (the first path is kept), or all.",
    )
    remove_duplicate_content: str = Choice(
        default="all-but-one",
        choices=CHOICES,
        description="Which images with the same bytes under several URLs are dropped: none, all-but-one, or all. If "
        "their labels differ, at least one label is wrong, and all of them are dropped unless this is none.",
    )
    remove_near_duplicates: str = Choice(
        default="none",
        choices=CHOICES,
        description="Which near duplicates, such as smaller or re-encoded copies, are dropped: none, all-but-one, or "
        "all. Their hashes differ in at most near_distance bits. duplicates.parquet lists them in any case.",
    )
    near_distance: int = Count(
        default=6,
        maximum=MAX_DISTANCE_BITS,
        description="Maximum number of bits, of 64, in which hashes of near duplicates differ. 0: only equal hashes.",
    )
    category_key: str = Text(
        default=DEFAULT_CATEGORY_KEY,
        description="Column with the labels that are compared among duplicates; use the category_key of SplitDataset.",
    )
    ignore_dataset_by_key: str = Text(
        default="", description="datasetKeys, separated by commas; all their images are dropped. Empty: drop none."
    )
    remove_thumbnails: bool = Flag(
        default=True, description="true: drop images whose shorter side is below thumb_size. false: keep them."
    )
    thumb_size: int = Count(
        default=64,
        description="Minimum length of the shorter side, in pixels; smaller images are dropped as thumbnails. 0: drop "
        "none.",
    )
    remove_flat: bool = Flag(
        default=False,
        description="true: drop images that have one shade all over, such as placeholders that hosts send instead of "
        "photos. false: keep them.",
    )
    remove_non_adults: bool = Flag(
        default=False,
        description="true: keep only images whose lifeStage is adult, in the words that GBIF knows, such as imago, "
        "Adulte or adult female. A text that says something else than a stage, such as Unknown, counts as empty.",
    )
    life_stage_predictions: str = InputFile(
        default="",
        description="CSV with the columns image_path and life_stage_prediction. remove_non_adults uses it for images "
        "whose lifeStage is empty or unknown. Empty: such images are dropped.",
    )

    def requires(self) -> DeleteImages:
        """The deletions."""
        return self.clone(DeleteImages)

    def inputs(self) -> dict[str, str]:
        """The verified images and the deletions."""
        deleted = self.requires()
        return {task.label: task.output().record.digest for task in (deleted, deleted.requires())}

    def input_records(self) -> list[TargetRecord]:
        """The verified images and the deletions."""
        return self.requires().input_records()

    def filters(self) -> Filters:
        """The filters. Raises ParameterError if a value is not valid."""
        return Filters(
            self.remove_duplicate_url,
            split_list(self.ignore_dataset_by_key),
            self.thumb_size if self.remove_thumbnails else 0,
            self.remove_non_adults,
            Path(self.life_stage_predictions) if self.life_stage_predictions else None,
            self.remove_flat,
            DuplicateOptions(
                self.remove_duplicate_content, self.remove_near_duplicates, self.near_distance, self.category_key
            ),
        )

    def check_options(self, columns: Collection[str]) -> None:
        """Check the columns that the filters need, and the predictions."""
        check_columns(self.filters(), columns)
        if self.life_stage_predictions:
            check_predictions_file(Path(self.life_stage_predictions))

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Count the keys of ignore_dataset_by_key and the images of the predictions that occur."""
        sentences = []
        if self.ignore_dataset_by_key:
            sentences.append(match_ignored_datasets(connection, self.filters(), "manifest"))
        if self.remove_non_adults and self.life_stage_predictions:
            sentences.append(match_predictions(connection, Path(self.life_stage_predictions), "manifest"))
        return sentences

    def run(self) -> None:
        """Write the images that pass every filter, and the dropped ones with their reasons."""
        paths, filters = self.paths, self.filters()
        with self.write_target() as target:
            deleted = paths.would_delete if self.requires().dry_run else paths.deleted
            files = CleanFiles(paths.verified, deleted, paths.clean, paths.clean_dropped, paths.duplicates)
            funnel = clean_dataset(files, filters, paths.scratch)
            target.results = {"funnel": [asdict(step) for step in funnel]}
            target.add(paths.clean)
            target.add(paths.clean_dropped)
            target.add(paths.duplicates)
