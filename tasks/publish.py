"""PublishDataset: a dataset in a bucket, in a folder, or on the Hugging Face Hub."""

import os
from typing import Any

from gbif_webdataset.remote.store_address import StoreAddress, check_packages
from gbif_webdataset.storage.runs import RunKind
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.upload.publish_options import PublishOptions, check_options, check_shards_address
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_text
from tasks.framework.parameters import Count, Flag, Text, WebAddress, split_list
from tasks.report import ReportDataset
from tasks.shards import CreateWebDataset


class PublishDataset(DatasetTask):
    """Upload shards, indexes, card, metadata and page; only what the target does not have yet.

    Readers that start from the target's dataset.json always see a complete version. An interrupted upload continues.
    Credentials are those of the cloud's own tools (docs/publishing.md).
    """

    IS_STAGE = False

    to: str = Text(
        description="Address to publish to: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, "
        "hf://datasets/me/moths or file:///mnt/x."
    )
    endpoint: str = Text(
        default="",
        description="Address of the server, such as https://minio.example.org:9000, if it is not that of the cloud. "
        "Empty: the cloud's own.",
    )
    dry_run: bool = Flag(
        default=False, description="true: print what would be uploaded and deleted, and change nothing there."
    )
    prune: bool = Flag(
        default=False,
        description="true: delete objects that only earlier versions of this dataset list. false: keep them, so that "
        "readers of an earlier version are not disturbed. On the Hub its history keeps them.",
    )
    only: str = Text(
        default="",
        description="Files to upload, with commas between: paths at the target with * and ?, or folders, such as "
        "train,*.md. Readers do not see them until the command has run without it. Empty: all files.",
    )
    bytes_per_second: int = Count(
        default=0, description="Maximum bandwidth of the upload in bytes per second, on average. 0: no limit."
    )
    public_url: str = WebAddress(
        default="",
        description="Address from which people read the target (http or https), for the files in croissant.json. "
        "Empty: their paths are relative.",
    )

    continues: str = Text(
        default="",
        description="Id of the dataset at the target, as the error names it, to state that this dataset is a newer "
        "version of it. Empty: only a dataset that this folder has published there is continued.",
    )

    _is_done = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago
        self._target = StoreAddress.parse(self.to, self.endpoint)
        check_packages(self._target.scheme)
        self._options = PublishOptions(
            self.dry_run,
            self.prune,
            split_list(self.only),
            self.bytes_per_second,
            self.public_url,
            continues=self.continues,
        )
        check_options(self._target, self._options)
        check_shards_address(self._target, self.clone(CreateWebDataset).to)

    @property
    def run_kind(self) -> RunKind:
        """Beside no other run."""
        return RunKind.ALONE

    def requires(self) -> ReportDataset:
        """Return the task that writes the last files to publish."""
        return self.clone(ReportDataset)

    def complete(self) -> bool:
        """Return whether this process has published the dataset; every command compares it with the target again."""
        return self._is_done

    def input_records(self) -> list[TargetRecord]:
        """Return no record: each file is compared with its record when it is uploaded."""
        return []

    def run(self) -> None:
        """Upload the version, and print a summary."""
        from gbif_webdataset.upload.publish_dataset import Publication  # imports pandas and Jinja, as the report does

        publication = Publication(self.paths, self._target, self._options)
        if publication.bytes:
            with self.progress("publish", "bytes", publication.bytes) as progress:
                summary = publication.run(progress.update)
        else:
            summary = publication.run()
        print_text(summary)
        self._is_done = True
