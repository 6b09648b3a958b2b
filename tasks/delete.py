"""DeleteImages: delete_images."""

import datetime
from pathlib import Path

from gbif_webdataset.clean.delete_images import delete
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Flag, InputFile
from tasks.verify import VerifyImages


class DeleteImages(DatasetTask):
    """Delete the corrupt images, or those on a list of yours, and write down which, when and why."""

    image_list: str = InputFile(
        default="",
        description="images to delete, not the corrupt ones: a CSV with image_path, or a path below images/ a line",
    )
    dry_run: bool = Flag(default=False, description="delete nothing; list in would-delete.csv what would be deleted")

    def requires(self) -> VerifyImages:
        """What is verified."""
        return self.clone(VerifyImages)

    def run(self) -> None:
        """Delete, and list what was deleted."""
        paths = self.paths
        now = None if self.dry_run else datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        deleted = paths.would_delete if self.dry_run else paths.deleted
        with self.write_target() as target:
            listing = Path(self.image_list) if self.image_list else paths.errors
            reasons = delete(listing, paths.verified, paths.images, paths.deleted, deleted, now, paths.scratch)
            target.results = {"reasons": reasons}
            target.add(deleted)
