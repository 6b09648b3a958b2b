"""A dataset repository of the Hugging Face Hub: each version is one commit, through huggingface_hub.

The content of a large file is sent before the commit. The Hub finds it by its SHA-256, so a killed run that is repeated
sends only what is missing.
"""

import functools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gbif_webdataset.remote.hub_errors import explain_hub_errors
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.published_version import NAME

REPOSITORY = "dataset"  # its type
BATCH_FILES = 100
MAX_SMALL_BYTES = 1 << 20
"""Files up to this size are sent from memory. The SHA-256 of larger ones is compared before the commit."""


class HubRepository:
    """The files of a repository on its main branch, as of the commit that was its head when it was first read."""

    def __init__(self, target: StoreAddress) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        for name in ("huggingface_hub", "httpx", "httpx2"):  # they print the signed addresses of uploads
            logging.getLogger(name).setLevel(logging.ERROR)
        self._target, self._api = target, HfApi(endpoint=target.endpoint or None)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        with self._explained():
            return self._read(name, self._head)

    def download(self, name: str, path: Path) -> None:
        """Write the bytes of a file to `path`."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with tempfile.TemporaryDirectory(dir=path.parent) as folder, self._explained():
            try:
                Path(self._download(name, folder, self._head)).replace(path)
            except LocalEntryNotFoundError:  # the Hub cannot be reached, or answers with an error
                raise
            except EntryNotFoundError:
                raise StoreError.missing(self._target.option, name) from None

    def commit(
        self,
        files: Mapping[str, LocalFile],
        deleted: Sequence[str],
        message: str,
        progress: Callable[[int, int], None],
    ) -> None:
        """Add files and delete others by one commit. If an earlier attempt made this commit, nothing happens.

        Raises:
            DamagedFileError: a file differs from its record.
            StoreError: the repository has a commit that was made after it was read.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._explained():
            if (head := self._find_head()) != self._head:
                if self._read(NAME, head) == files[NAME].content:
                    return
                raise StoreError.changed(self._target.option, "has a new commit")
            total, done = sum(file.size for file in files.values()), 0
            additions: list[Any] = []
            for batch in _split_batches(list(files.items())):
                prepared = [CommitOperationAdd(name, _get_content(file)) for name, file in batch]
                self._api.preupload_lfs_files(self._target.container, prepared, repo_type=REPOSITORY)
                for addition, (_, file) in zip(prepared, batch, strict=True):
                    _check_sent(addition, file)
                additions += prepared
                done += sum(file.size for _, file in batch)
                progress(done, total)
            operations: list[Any] = [*additions, *(CommitOperationDelete(name, is_folder=False) for name in deleted)]
            self._api.create_commit(
                self._target.container,
                operations,
                commit_message=message,
                repo_type=REPOSITORY,
                parent_commit=self._head,
            )

    @functools.cached_property
    def _head(self) -> str:
        """The commit that is read, and that the new commit follows."""
        return self._find_head()

    def _find_head(self) -> str:
        return str(self._api.repo_info(self._target.container, repo_type=REPOSITORY).sha)

    def _read(self, name: str, commit: str) -> bytes | None:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with tempfile.TemporaryDirectory() as folder:
            try:
                return Path(self._download(name, folder, commit)).read_bytes()
            except LocalEntryNotFoundError:  # the Hub cannot be reached, or answers with an error
                raise
            except EntryNotFoundError:
                return None

    def _download(self, name: str, folder: str, commit: str) -> str:
        container = self._target.container
        return str(self._api.hf_hub_download(container, name, repo_type=REPOSITORY, revision=commit, local_dir=folder))

    def _explained(self) -> AbstractContextManager[None]:
        return explain_hub_errors(self._target)


def _get_content(file: LocalFile) -> bytes | Path:
    return file.read() if file.size <= MAX_SMALL_BYTES or file.content is not None else file.path


def _check_sent(addition: Any, file: LocalFile) -> None:
    """Raise DamagedFileError if the content that was sent is not that of the record."""
    if addition.upload_info.sha256.hex() != file.sha256:
        raise file.make_error()


def _split_batches(files: list[tuple[str, LocalFile]]) -> Iterator[list[tuple[str, LocalFile]]]:
    for start in range(0, len(files), BATCH_FILES):
        yield files[start : start + BATCH_FILES]
