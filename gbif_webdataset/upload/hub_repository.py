"""A dataset repository of the Hugging Face Hub: each version is one commit, through huggingface_hub.

The content of a large file is sent before the commit. The Hub finds it by its SHA-256, so a killed run that is repeated
sends only what is missing. The Hub keeps files as large ones by their size, or by their endings in .gitattributes.
"""

import functools
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gbif_webdataset.remote.hub_errors import explain_hub_errors, find_disk_fault
from gbif_webdataset.remote.local_file import LocalFile, RecordedFile, explain_local_faults
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.published_version import NAME

REPOSITORY = "dataset"  # its type
ATTRIBUTES = ".gitattributes"
LARGE_FILES = [f"*{ending} filter=lfs diff=lfs merge=lfs -text" for ending in (".tar", ".idx", ".parquet")]
MAX_NAMES = 500  # in one request
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

    def track_large_files(self) -> None:
        """Let the Hub keep shards, indexes and tables as large files, by a commit of their endings unless it does so.

        A commit can have thousands of large files, but only 1 GB of others.

        Raises:
            StoreError: another process has published since the repository was read.
        """
        from huggingface_hub import CommitOperationAdd

        with self._explained():
            head = self._find_head()
            if head != self._head and self._read(NAME, head) != self._read(NAME, self._head):
                raise StoreError.changed(self._target.option, "has a new commit")
            self._head = head
            text = (self._read(ATTRIBUTES, head) or b"").decode(errors="surrogateescape")
            if missing := [line for line in LARGE_FILES if line not in text.splitlines()]:
                content = "\n".join([*text.splitlines(), *missing, ""]).encode(errors="surrogateescape")
                made = self._api.create_commit(
                    self._target.container,
                    [CommitOperationAdd(ATTRIBUTES, content)],
                    commit_message="Keep shards, indexes and tables as large files",
                    repo_type=REPOSITORY,
                    parent_commit=head,
                )
                self._head = made.oid

    def send(self, files: Mapping[str, RecordedFile]) -> list[Any]:
        """Send the content of the large ones of these files; the additions that `commit` takes.

        Raises:
            DamagedFileError: a file differs from its record.
            LocalFileError: a file cannot be read.
        """
        from huggingface_hub import CommitOperationAdd

        with self._explained():
            try:
                additions = [CommitOperationAdd(name, _get_content(file)) for name, file in files.items()]
                self._api.preupload_lfs_files(self._target.container, additions, repo_type=REPOSITORY)
                sent = [addition.upload_info.sha256.hex() for addition in additions]
            except Exception as error:
                if find_disk_fault(error):
                    for file in files.values():
                        _read_whole(file)
                raise
        for sha256, file in zip(sent, files.values(), strict=True):
            if sha256 != file.sha256:
                raise file.make_error()
        return additions

    def commit(self, additions: Sequence[Any], deleted: Sequence[str], message: str, version: bytes) -> None:
        """Add files and delete others, if they exist, by one commit. If an earlier attempt made it, nothing happens.

        `version` is the content of dataset.json among the additions.

        Raises:
            StoreError: the repository has a commit that was made after it was read.
        """
        from huggingface_hub import CommitOperationDelete

        with self._explained():
            if (head := self._find_head()) != self._head:
                if self._read(NAME, head) == version:
                    return
                raise StoreError.changed(self._target.option, "has a new commit")
            deletions = [CommitOperationDelete(name, is_folder=False) for name in self._find_existing(deleted)]
            self._api.create_commit(
                self._target.container,
                [*additions, *deletions],
                commit_message=message,
                repo_type=REPOSITORY,
                parent_commit=self._head,
            )

    def _find_existing(self, names: Sequence[str]) -> list[str]:
        """The names of files that the repository has; the Hub refuses a commit that deletes another one."""
        found: list[str] = []
        for start in range(0, len(names), MAX_NAMES):
            asked = list(names[start : start + MAX_NAMES])
            infos = self._api.get_paths_info(self._target.container, asked, revision=self._head, repo_type=REPOSITORY)
            found += [info.path for info in infos]
        return found

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
        try:
            return str(
                self._api.hf_hub_download(container, name, repo_type=REPOSITORY, revision=commit, local_dir=folder)
            )
        except Exception as error:
            if fault := find_disk_fault(error):
                with explain_local_faults(Path(fault.filename or Path(folder, name))):
                    raise fault from None
            raise

    def _explained(self) -> AbstractContextManager[None]:
        return explain_hub_errors(self._target)


def _get_content(file: RecordedFile) -> bytes | Path:
    is_made = isinstance(file, LocalFile) and file.content is not None
    if file.size <= MAX_SMALL_BYTES or is_made:
        return file.read()
    if not file.path.is_file():
        raise file.make_error()
    return file.path


def _read_whole(file: RecordedFile) -> None:
    """Raise an error that names the file if it cannot be read, or differs from its record."""
    for _ in file.iterate(MAX_SMALL_BYTES):
        pass
