"""CleanDataset: clean_dataset."""

from dataclasses import asdict
from pathlib import Path

from gbif_webdataset.clean import clean_dataset
from gbif_webdataset.clean.duplicates import DEFAULT_LABEL, KEEP, Duplicates
from gbif_webdataset.clean.near_duplicates import MOST_DISTANCE
from tasks.delete import DeleteImages
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Choice, Count, Flag, InputFile, Text, listed


class CleanDataset(DatasetTask):
    """Filter the images for quality, and count what each filter takes."""

    FORMAT = 2

    remove_duplicate_url: str = Choice(
        default="all-but-one",
        choices=clean_dataset.DUPLICATES,
        description="of images with the same URL, drop none, all-but-one, or all",
    )
    remove_duplicate_content: str = Choice(
        default="all-but-one",
        choices=KEEP,
        description="of images with the same bytes under several URLs, drop none, all-but-one, or all; unless none, "
        "all go where their labels differ, for at least one is wrong",
    )
    remove_near_duplicates: str = Choice(
        default="none",
        choices=KEEP,
        description="the same for images whose perceptual hashes are near each other, directly or through others, such "
        "as smaller or re-encoded copies; duplicates.parquet lists them in any case",
    )
    near_distance: int = Count(
        default=6, most=MOST_DISTANCE, description="bits of 64 in which the hashes of near duplicates differ at most"
    )
    category_key: str = Text(
        default=DEFAULT_LABEL, description="column that names the class, by which the labels of duplicates are compared"
    )
    ignore_dataset_by_key: str = Text(
        default="", description="datasetKeys, separated by commas, whose images are dropped"
    )
    remove_thumbnails: bool = Flag(default=True, description="drop images of which a side is below thumb_size")
    thumb_size: int = Count(default=64, description="pixels of the shortest side that is no thumbnail")
    remove_flat: bool = Flag(
        default=False, description="drop images of one shade, such as the plates that hosts send in place of photos"
    )
    remove_non_adults: bool = Flag(
        default=False, description="keep only images whose lifeStage is adult or imago, in any letter case"
    )
    life_stage_predictions: str = InputFile(
        default="",
        description="CSV image_path,life_stage_prediction, for remove_non_adults where the archive says nothing",
    )

    def requires(self) -> DeleteImages:
        """What was deleted."""
        return self.clone(DeleteImages)

    def inputs(self) -> dict[str, str]:
        """What was verified, and what was deleted of it."""
        deleted = self.requires()
        return {task.label: task.output().record.digest for task in (deleted, deleted.requires())}

    def run(self) -> None:
        """Filter."""
        paths = self.paths
        filters = clean_dataset.Filters(
            self.remove_duplicate_url,
            listed(self.ignore_dataset_by_key),
            self.thumb_size if self.remove_thumbnails else 0,
            self.remove_non_adults,
            Path(self.life_stage_predictions) if self.life_stage_predictions else None,
            self.remove_flat,
            Duplicates(
                self.remove_duplicate_content, self.remove_near_duplicates, self.near_distance, self.category_key
            ),
        )
        with self.write_target() as target:
            deleted = paths.would_delete if self.requires().dry_run else paths.deleted
            funnel = clean_dataset.clean(
                paths.verified, deleted, paths.clean, paths.clean_dropped, filters, paths.scratch, paths.duplicates
            )
            target.results = {"funnel": [asdict(step) for step in funnel]}
            target.add(paths.clean)
            target.add(paths.clean_dropped)
            target.add(paths.duplicates)
