"""The parts of an audit that are objects: the shards that CreateWebDataset wrote to an address."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from itertools import chain

from gbif_webdataset.audit.check_file import Expected, Finding
from gbif_webdataset.audit.check_object import ExpectedObject, check_object
from gbif_webdataset.audit.parts import SHARDS, cut, read_shard_list
from gbif_webdataset.audit.records import DatasetRecords, output_name
from gbif_webdataset.audit.stored_shards import StoredShards
from gbif_webdataset.remote.stored_file import find_shard_address
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.storage.paths import DatasetPaths


@dataclass(frozen=True)
class ObjectPart:
    """Some objects of the shards."""

    name: str
    store: StoredShards
    objects: Sequence[ExpectedObject]

    @property
    def identity(self) -> str:
        """The sizes and SHA-256 that the record has, and the samples."""
        return digest_of({one.file.file: astuple(one) for one in self.objects})

    @property
    def files(self) -> int:
        """The number of objects, and of the indexes of tars on the disk."""
        return sum(2 if one.index else 1 for one in self.objects)

    def check(self, paths: DatasetPaths, pool: ThreadPoolExecutor) -> list[Finding]:
        """Compare the objects with their record, shards.csv and the indexes on the disk.

        Raises:
            StoreError: the address refuses a request, or does not answer.
        """
        return list(chain.from_iterable(pool.map(partial(check_object, paths.output, self.store), self.objects)))


def find_stored_shards(paths: DatasetPaths, records: DatasetRecords) -> StoredShards | None:
    """The address of the shards, if the record of CreateWebDataset names one."""
    address = find_shard_address(records.current.get(SHARDS))
    return StoredShards(address, paths.output) if address else None


def list_object_parts(
    paths: DatasetPaths, records: DatasetRecords, damaged: Collection[str], store: StoredShards | None
) -> list[ObjectPart]:
    """The objects that the record of CreateWebDataset names, some at a time; none if its shards are on the disk."""
    if store is None:
        return []
    files = records.list_files()
    listed = {} if output_name(paths.output, paths.shard_list) in damaged else read_shard_list(paths)
    objects = []
    for name, file in sorted(records.current[SHARDS].objects.items()):
        expected = Expected(store.name_file(name), SHARDS, file.bytes, file.sha256)
        index, samples = None, None
        if name.endswith(".tar"):
            index = files.get(f"shards/{name.removesuffix('.tar')}.idx")
            samples = listed[f"shards/{name}"][1] if f"shards/{name}" in listed else None
        objects.append(ExpectedObject(name, expected, index, samples))
    return [ObjectPart(f"objects-{at:06d}", store, some) for at, some in cut(objects)]
