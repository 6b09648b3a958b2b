"""The objects of a record, compared with a list of the store; nothing is read."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import cast

from gbif_webdataset.errors import DatasetError, explain
from gbif_webdataset.process_pool import run_apart
from gbif_webdataset.remote.address_claim import OWNER, lost_owner_error, read_claim
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.target_record import TargetRecord


def find_damaged_object(path: Path, option_name: str) -> str | None:
    """What is wrong with the first object of the record at `path` that is missing or has another size; None if none is.

    `option_name` is the option with the address of the objects. The store is asked once for each record in a process,
    by a process of its own: obstore has threads, and a process that has used it cannot fork.

    Raises:
        StoreError: the store cannot be listed, or has no shards.json of this dataset.
    """
    status, record = path.stat(), TargetRecord.load(path)
    if record is None or not record.objects:
        return None
    found = _find_damaged(path, option_name, (status.st_mtime_ns, status.st_size, status.st_ino))
    if isinstance(found, StoreError):
        raise found
    return found


@functools.lru_cache
def _find_damaged(path: Path, option_name: str, identity: tuple[int, int, int]) -> StoreError | str | None:
    try:
        return cast("str | None", run_apart(_compare_sizes, (path, option_name)))
    except StoreError as error:
        return error
    except (DatasetError, OSError) as error:  # of the process: they say nothing about the objects
        return StoreError(f"{option_name}: the objects cannot be listed: {explain(error) or error}")


def _compare_sizes(task: tuple[Path, str], progress: Callable[[int], None]) -> str | None:
    path, option_name = task
    record = TargetRecord.load(path)
    if record is None:
        return None
    address = StoreAddress.parse(record.store, option_name=option_name)
    store, retries = open_store(address), Retries(address.option)
    listed = list_objects(address, store, retries)
    check_owner(address, store, retries, path.parents[1])
    for name, file in record.objects.items():
        # a list may be late
        if (
            listed.get(name) != file.bytes
            and (size := retries.run(functools.partial(store.find_size, name))) != file.bytes
        ):
            return f"{record.store}/{name} {'is missing' if size is None else 'has the wrong size'}"
    return None


def check_owner(address: StoreAddress, store: Store, retries: Retries, dataset: Path) -> None:
    """Check that the objects at an address are those of the dataset in this folder, which has written objects there.

    Raises:
        StoreError: the disk is not mounted, the endpoint is another one, or another dataset writes there.
    """
    owner = retries.run(lambda: store.read(OWNER))
    if owner is None:
        raise lost_owner_error(address.option, dataset)
    if (claim := read_claim(dataset)) is not None and not claim.has_written(owner):
        problem = f"{OWNER} there is that of another dataset: is the disk mounted, is the endpoint right?"
        raise StoreError.at(address.option, problem, "correct that, or choose another address")


def list_objects(address: StoreAddress, store: Store, retries: Retries) -> dict[str, int]:
    """The size of each object in bytes, by name, at an address to which objects were written.

    Raises:
        StoreError: the store cannot be listed. A folder that is gone is one that is not mounted.
    """
    if address.scheme == FOLDER and not Path(address.prefix).is_dir():
        remedy = "mount the disk that has it, or create it if its files are lost"
        raise StoreError.at(address.option, "there is no such folder", remedy)
    return retries.run(store.list_sizes)
