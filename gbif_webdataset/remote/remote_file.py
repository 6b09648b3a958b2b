"""One file at an address, and its copy on this machine."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.remote.hub_errors import explain_hub_errors
from gbif_webdataset.remote.object_errors import explain_error, is_missing_bucket
from gbif_webdataset.remote.open_store import open_object_store
from gbif_webdataset.remote.store_address import FOLDER, HUB, StoreAddress, check_packages
from gbif_webdataset.remote.store_errors import TemporaryStoreError

BLOCK_BYTES = 8 << 20
PIECE_BYTES = 1 << 16  # of an answer; what arrived of a piece that is not complete is lost
REPOSITORY = "dataset"  # the type of a repository on the Hub


@dataclass(frozen=True)
class FileVersion:
    """The size of a file, in bytes, and its ETag; or its time of modification if it has none."""

    size: int
    validator: str


class RemoteFile(Protocol):
    """A file at an address. Its methods raise StoreError for good, or TemporaryStoreError."""

    def find_version(self) -> FileVersion | None:
        """The present version; None if there is no such file."""

    def append(self, part: Path, version: FileVersion, report_bytes: Callable[[int], None]) -> None:
        """Append what `part` lacks of a version. `report_bytes` gets the number of bytes so far.

        Raises TemporaryStoreError if the file has another version now.
        """


def open_remote_file(address: StoreAddress) -> RemoteFile:
    """The file at an address.

    Raises:
        ParameterError: the package for such addresses is not installed.
        StoreError: there are no credentials, or the settings of the cloud are not valid.
    """
    check_packages(address.scheme, address.option_name)
    if address.scheme == FOLDER:
        return _LocalFile(Path(address.prefix))
    return _HubFile(address) if address.scheme == HUB else _StoreObject(address)


def continue_copy(
    file: RemoteFile, version: FileVersion, part: Path, report_bytes: Callable[[int], None] = lambda count: None
) -> None:
    """Copy what `part` lacks of a version, in one attempt. Bytes of another version are deleted first.

    The version of the bytes so far is saved, so that a later attempt continues after a kill.

    Raises:
        StoreError: the file cannot be read.
        TemporaryStoreError: the copy is not complete, or the file has another version now.
    """
    validator = validator_path(part)
    if not _is_begun(validator, version) or _count_bytes(part) > version.size:
        part.unlink(missing_ok=True)
        validator.write_text(json.dumps(asdict(version)), encoding="utf-8")
    part.touch()
    if _count_bytes(part) < version.size:
        file.append(part, version, report_bytes)
    if (count := _count_bytes(part)) != version.size:
        raise TemporaryStoreError(f"{count:,} of {version.size:,} bytes arrived")


def validator_path(part: Path) -> Path:
    """The file with the version of the bytes so far."""
    return part.with_name(f"{part.name}.json")


def _is_begun(validator: Path, version: FileVersion) -> bool:
    try:
        return bool(json.loads(validator.read_text(encoding="utf-8")) == asdict(version))
    except (OSError, ValueError):
        return False


def _count_bytes(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append_blocks(part: Path, blocks: Iterable[Any], report_bytes: Callable[[int], None]) -> None:
    """Append blocks. Each is written immediately, so that a killed process loses none of them."""
    done = _count_bytes(part)
    with part.open("ab", buffering=0) as target:
        for block in blocks:
            view = memoryview(block)
            while view:
                written = target.write(view)
                view, done = view[written:], done + written
            report_bytes(done)
        os.fsync(target.fileno())


class _StoreObject:
    """An object of S3, Google Cloud Storage or Azure."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        folder, _, self._name = address.prefix.rpartition("/")
        try:
            self._store = open_object_store(address.in_folder(folder))
        except DatasetError:
            raise
        except Exception as error:  # obstore and boto3 have many kinds of errors of configuration
            raise explain_error(error, address.option) from None

    def find_version(self) -> FileVersion | None:
        import obstore

        try:
            return _read_version(obstore.head(self._store, self._name))
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise explain_error(error, self._address.option) from None
            return None
        except Exception as error:
            raise explain_error(error, self._address.option) from None

    def append(self, part: Path, version: FileVersion, report_bytes: Callable[[int], None]) -> None:
        import obstore

        offset = _count_bytes(part)
        try:
            found = obstore.get(self._store, self._name, options={"range": {"offset": offset}} if offset else None)
            if _read_version(found.meta) != version or found.range[0] != offset:
                raise TemporaryStoreError("the file was replaced while it was read")
            _append_blocks(part, found.stream(min_chunk_size=PIECE_BYTES), report_bytes)
        except TemporaryStoreError:
            raise
        except FileNotFoundError:
            raise TemporaryStoreError("the file was deleted while it was read") from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the copy on this machine
                raise
            raise explain_error(error, self._address.option) from None


def _read_version(meta: Any) -> FileVersion:
    return FileVersion(meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())


class _LocalFile:
    """A file of this machine, or of a disk that it has mounted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find_version(self) -> FileVersion | None:
        if not self._path.is_file():
            return None
        status = self._path.stat()
        return FileVersion(status.st_size, f"{status.st_mtime_ns}")

    def append(self, part: Path, version: FileVersion, report_bytes: Callable[[int], None]) -> None:
        with self._path.open("rb") as source:
            source.seek(_count_bytes(part))
            _append_blocks(part, iter(lambda: source.read(BLOCK_BYTES), b""), report_bytes)
        if self.find_version() != version:
            raise TemporaryStoreError("the file was replaced while it was read")


class _HubFile:
    """A file of a dataset repository. huggingface_hub itself continues its transfer."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address

    def find_version(self) -> FileVersion | None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError

        with explain_hub_errors(self._address):
            url = hf_hub_url(self._address.container, self._address.prefix, repo_type=REPOSITORY)
            try:
                found = get_hf_file_metadata(url)
            except EntryNotFoundError:
                return None
            return FileVersion(int(found.size or 0), str(found.etag))

    def append(self, part: Path, version: FileVersion, report_bytes: Callable[[int], None]) -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        folder = part.with_name(f"{part.name}.hub")
        with explain_hub_errors(self._address):
            name = self._address.prefix
            copy = hf_hub_download(self._address.container, name, repo_type=REPOSITORY, local_dir=folder)
        if self.find_version() != version:
            raise TemporaryStoreError("the file was replaced while it was read")
        Path(copy).replace(part)
        shutil.rmtree(folder)
        report_bytes(version.size)
