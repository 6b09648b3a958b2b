"""The objects of a record, compared with a list of the store; nothing is read."""

import functools
from collections.abc import Callable
from pathlib import Path

from gbif_webdataset.process_pool import run_apart
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.target_record import TargetRecord


def find_damaged_object(path: Path, option_name: str) -> str | None:
    """What is wrong with the first object of the record at `path` that is missing or has another size; None if none is.

    `option_name` is the option with the address of the objects. The store is listed once for each record in a process,
    by a process of its own: obstore has threads, and a process that has used it cannot fork.

    Raises:
        StoreError: the store cannot be listed.
    """
    status = path.stat()
    found = _find_damaged(path, option_name, (status.st_mtime_ns, status.st_size, status.st_ino))
    if isinstance(found, StoreError):
        raise found
    return found


@functools.lru_cache
def _find_damaged(path: Path, option_name: str, identity: tuple[int, int, int]) -> StoreError | str | None:
    record = TargetRecord.load(path)
    if record is None or not record.objects:
        return None
    try:
        sizes = run_apart(_list_sizes, StoreAddress.parse(record.store, option_name=option_name))
    except StoreError as error:
        return error
    for name, file in record.objects.items():
        if name not in sizes:
            return f"{record.store}/{name} is missing"
        if sizes[name] != file.bytes:
            return f"{record.store}/{name} has the wrong size"
    return None


def _list_sizes(address: StoreAddress, progress: Callable[[int], None]) -> dict[str, int]:
    return list_objects(address, open_store(address), Retries(address.option))


def list_objects(address: StoreAddress, store: Store, retries: Retries) -> dict[str, int]:
    """The size of each object in bytes, by name, at an address to which objects were written.

    Raises:
        StoreError: the store cannot be listed. A folder that is gone is one that is not mounted.
    """
    if address.scheme == FOLDER and not Path(address.prefix).is_dir():
        remedy = "mount the disk that has it, or create it if its files are lost"
        raise StoreError.at(address.option, "there is no such folder", remedy)
    return retries.run(store.list_sizes)
