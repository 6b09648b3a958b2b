"""PlanFetch: estimate what fetching will take."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gbif_webdataset.fetch.plan_fetch import plan_fetch
from gbif_webdataset.fetch.plan_text import format_fetch_estimate
from gbif_webdataset.formatting import format_count
from gbif_webdataset.storage.file_counts import JobSize, describe_allowance, describe_files
from gbif_webdataset.storage.file_limits import find_file_allowance
from gbif_webdataset.storage.image_store import choose_kind
from gbif_webdataset.storage.removed_images import find_removal
from tasks.fetch import FetchChunk
from tasks.framework import validation
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note, print_text
from tasks.framework.parameters import Count
from tasks.read import ReadArchive
from tasks.shards import CreateWebDataset


class PlanFetch(DatasetTask):
    """Estimate the images, bytes, time and disk space that FetchImages will need, by host. Nothing is downloaded."""

    IS_STAGE = False

    sample: int = Count(
        default=5,
        significant=False,
        description="Number of images whose size is requested from each of the 40 hosts with most images; 0: no "
        "request, and no estimate of the bytes.",
    )

    _is_done = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.task_id += f"_{os.getpid()}"  # a central scheduler does not run a task again that ended 10 seconds ago

    def requires(self) -> ReadArchive:
        """The manifest."""
        return self.clone(ReadArchive)

    @property
    def changed_output(self) -> Path | None:
        """The folder of the dataset if the archive has to be read first; otherwise None."""
        return None if self.upstream[0].complete() else super().changed_output

    @property
    def last_stage(self) -> CreateWebDataset:
        """The shards, for which the images will be fetched."""
        return self.clone(CreateWebDataset)

    def complete(self) -> bool:
        """Whether this process has printed the estimate; every command prints it again."""
        return self._is_done

    def run(self) -> None:
        """Request the sizes of a sample of the images, and print the estimate."""
        fetcher = self.clone(FetchChunk, chunk=0)
        workers = fetcher.num_workers * fetcher.sharing
        options = replace(fetcher.fetch_options(), workers=workers)
        manifests = self.paths.chunks("manifest", self.chunks)

        def announce(images: int, hosts: int) -> None:
            print_note(
                f"requesting the sizes of {format_count(images, 'image')} from {format_count(hosts, 'host')} ..."
            )

        estimate = plan_fetch(self.paths.output, manifests, options, self.sample, announce)
        print_text(format_fetch_estimate(estimate))
        if images := estimate.unstored:
            job = JobSize(
                images, estimate.unstored_bytes, self.chunks, self.last_stage.max_shard_size, fetcher.pack_bytes
            )
            store = choose_kind(self.paths.images, self.store)
            for line in describe_files(job, store, find_file_allowance(self.paths.output)):
                print_text(line)
        if removal := find_removal(self.paths):
            print_note(
                f"{removal} were removed after the report; --FetchChunk-refetch-removed true downloads them again"
            )
        validation.check_manifest(self, manifests, print_note)
        self._is_done = True


def describe_files_of_chunks(task: DatasetTask, chunks: Sequence[int]) -> Iterator[str]:
    """Yield lines about the files that fetching these chunks and all later stages create, and what is allowed."""
    allowance, read = find_file_allowance(task.paths.output), task.clone(ReadArchive)
    if not read.complete():
        yield f"files  one for each image with --store files; {describe_allowance(allowance)}. PlanFetch counts them"
        return
    images = read.images_per_chunk()
    shard_bytes = task.clone(CreateWebDataset).max_shard_size
    pack_bytes = task.clone(FetchChunk, chunk=0).pack_bytes
    job = JobSize(sum(images[chunk] for chunk in chunks), None, task.chunks, shard_bytes, pack_bytes)
    yield from describe_files(job, choose_kind(task.paths.images, task.store), allowance)
