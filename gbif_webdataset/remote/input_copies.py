"""Copies of small inputs in the folder of a dataset: a finished dataset needs no request to their addresses."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from gbif_webdataset.process_pool import run_apart
from gbif_webdataset.remote.remote_file import continue_copy, open_remote_file, validator_path
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.atomic import file_sha256, sync
from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json
from gbif_webdataset.storage.target_record import digest_of_file


@dataclass(frozen=True)
class RemoteInput:
    """A file at an address, or the files with the names `files` in the folder at an address.

    `beside` are names of files that are copied as well if they exist beside the file or in the folder.
    """

    address: StoreAddress
    files: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def path_in(self, folder: Path) -> Path:
        """The path of the copy in the folder of all copies: of the file, or of the folder."""
        own = folder / self.address.name
        return own if self.files else own / PurePosixPath(self.address.prefix).name

    def list_addresses(self) -> dict[str, StoreAddress]:
        """The address of each file, by its name."""
        path = PurePosixPath(self.address.prefix)
        parent, names = (path, self.files) if self.files else (path.parent, (path.name,))
        return {name: self.address.in_folder(str(parent / name)) for name in (*names, *self.beside)}


@dataclass(frozen=True)
class CopiedFile:
    """The version of a file that was copied, and its SHA-256."""

    size: int
    validator: str
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether the copy is there, byte for byte."""
        return path.is_file() and path.stat().st_size == self.size and digest_of_file(path) == self.sha256


def find_copy(source: RemoteInput, folder: Path) -> Path:
    """The path of the copy of an input. It is made if the folder of all copies lacks it; otherwise no request is sent.

    Raises:
        StoreError, ParameterError: the input cannot be read.
    """
    copied, own = _load_copied(source, folder), folder / source.address.name
    needed = [name for name in source.list_addresses() if name not in source.beside]
    if not all(name in copied for name in needed) or not all(one.is_at(own / name) for name, one in copied.items()):
        update_copy(source, folder)
    return source.path_in(folder)


def update_copy(source: RemoteInput, folder: Path) -> list[str]:
    """Copy the files of an input whose copies are missing or of another version. The names of files that differ now.

    A process of its own does this: obstore has threads, and forks of a process that has used it hang.

    Raises:
        StoreError, ParameterError: the input cannot be read.
    """
    changed: list[str] = run_apart(_update_copy, (source, folder))
    return changed


def _update_copy(task: tuple[RemoteInput, Path], progress: Callable[[int], None]) -> list[str]:
    source, folder = task
    copied, own, changed = _load_copied(source, folder), folder / source.address.name, []
    for name, address in source.list_addresses().items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        before = copied.pop(name, None)
        after = _copy_file(address, own / name, before)
        if after is None and name not in source.beside:
            raise StoreError.at(source.address.option, f"there is no file {name}", "correct the address")
        if after is None:
            (own / name).unlink(missing_ok=True)
        else:
            copied[name] = after
        if (before and before.sha256) != (after and after.sha256):
            changed.append(name)
        values = {name: asdict(one) for name, one in copied.items()}
        write_checked_json(_entry_path(source, folder), {"address": source.address.address, "files": values})
    return changed


def _copy_file(address: StoreAddress, path: Path, before: CopiedFile | None) -> CopiedFile | None:
    """The copy at `path` of the present version of a file; None if there is no such file."""
    file, retries = open_remote_file(address), Retries(address.option)
    part = path.with_name(f"{path.name}.part")

    def copy() -> CopiedFile | None:
        version = file.find_version()
        if version is None:
            return None
        if before and (before.size, before.validator) == (version.size, version.validator) and before.is_at(path):
            return before
        continue_copy(file, version, part)
        return CopiedFile(version.size, version.validator, file_sha256(part))

    after = retries.run(copy)
    if after and after is not before:
        part.replace(path)
        sync(path.parent)
        validator_path(part).unlink(missing_ok=True)
    return after


def _entry_path(source: RemoteInput, folder: Path) -> Path:
    return folder / f"{source.address.name}.json"


def _load_copied(source: RemoteInput, folder: Path) -> dict[str, CopiedFile]:
    """What was copied, by name of the file; a damaged list counts as absent."""
    try:
        values = read_checked_json(_entry_path(source, folder))[0]
        return {name: CopiedFile(**one) for name, one in values["files"].items()}
    except (FileNotFoundError, DamagedJsonError, KeyError, TypeError, AttributeError):
        return {}
