"""DeleteImages: deletes the images that cannot be used, or those on a list of the user."""

import datetime
from collections.abc import Collection
from pathlib import Path

import duckdb

from gbif_webdataset.clean.delete_images import DeletionFiles, check_image_list, delete_images, match_image_list
from gbif_webdataset.storage.recorded_files import load_deletions
from gbif_webdataset.storage.target_record import TargetRecord
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note
from tasks.framework.parameters import Flag, InputFile
from tasks.verify import VerifyImages


class DeleteImages(DatasetTask):
    """Delete the damaged images, or those on your list, and record which images, when and why."""

    image_list: str = InputFile(
        default="",
        description="Images to delete: a CSV with the column image_path, or a text with one path below images/ per "
        "line. Paths that are no images of the dataset are reported. Empty: delete the damaged images, which are in "
        "errors.csv.",
    )
    dry_run: bool = Flag(default=False, description="true: delete nothing, and list the images in would-delete.csv.")

    def requires(self) -> VerifyImages:
        """The verified images."""
        return self.clone(VerifyImages)

    def check_options(self, columns: Collection[str]) -> None:
        """Check that the list of images can be read."""
        if self.image_list:
            check_image_list(Path(self.image_list))

    def check_manifest(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Count the images on the list that the manifest has."""
        return [match_image_list(connection, Path(self.image_list), "manifest")] if self.image_list else []

    def input_records(self) -> list[TargetRecord]:
        """The verified images, and the images that earlier runs deleted."""
        return [*super().input_records(), *load_deletions(self.paths)]

    def run(self) -> None:
        """Delete the images, and list them in deleted.csv or would-delete.csv."""
        paths = self.paths
        now = None if self.dry_run else datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        deleted = paths.would_delete if self.dry_run else paths.deleted
        with self.write_target() as target:
            image_list = Path(self.image_list) if self.image_list else paths.errors
            files = DeletionFiles(
                image_list, paths.verified, paths.images, paths.deleted, paths.would_delete, paths.unmatched_images
            )
            pack_bytes = self.clone(FetchChunk, chunk=0).pack_bytes
            deletion = delete_images(files, now, paths.scratch, pack_bytes)
            target.results = {"reasons": deletion.reasons}
            target.add(deleted)
            if deletion.unmatched:
                print_note(deletion.match)
                target.add(paths.unmatched_images)
