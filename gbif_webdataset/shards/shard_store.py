"""The shards at an address: parts while groups are written, and their final names.

Parts are below `<to>/.parts/`. When all groups are written, the server copies each part to its final name; then the
parts are deleted. `<to>/shards.json` has the id of the dataset that writes there (remote/address_claim.py). Shards of
others are never deleted.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.process_pool import run_apart
from gbif_webdataset.remote.address_claim import CLAIM, OWNER, Claim, lost_owner_error, read_claim, write_claim
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, find_unlisted, open_store
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.shards.recipe import format_option
from gbif_webdataset.shards.shard_files import PARTS, Shard
from gbif_webdataset.terms.shard_names import find_shard

PUBLISHED = "dataset.json"
"""The list of a version that PublishDataset wrote to the same address."""
WRITE_TEST = ".write-test/object.txt"
WORKERS = 16


class ShardStore:
    """The shards at an address. All methods raise StoreError if the target refuses a request or cannot be reached."""

    def __init__(self, address: StoreAddress) -> None:
        self._place, self._address, self._store = address.option, address.address, _open_once(address)
        self._retries = Retries(self._place)

    def check(self, folder: Path) -> bool:
        """Whether the shards there are those of the dataset with this folder of shards; False if there are none.

        Raises:
            StoreError: there are shards that the dataset did not write, or that a published version lists; or those
                that it wrote are gone; or the dataset is a copy of the one that writes there.
        """
        if (published := self._read(PUBLISHED)) is not None and _has_plain_names(published):
            problem = f"{PUBLISHED} there lists shards with the names that new shards would get"
            raise StoreError.at(self._place, problem, "choose another address")
        owner, claim = self._read(OWNER), read_claim(folder.parent)
        if claim is not None and owner is None and claim.address == self._address:
            raise lost_owner_error(self._place, folder.parent)
        is_own = claim is not None and owner is not None and claim.has_written(owner)
        if claim is not None and is_own and (original := claim.find_original(folder.parent)):
            problem = f"{original} writes there, and this folder is a copy of it"
            raise StoreError.at(self._place, problem, f"choose another address, or delete {original / CLAIM}")
        if not is_own and (owner is not None or any(map(_is_shard_name, self._list_sizes()))):
            problem = "has shards that this folder did not write"
            raise StoreError.at(self._place, problem, "choose another address, or delete them")
        return is_own

    def claim(self, folder: Path) -> None:
        """Write OWNER unless it is there. Raises as `check` does."""
        is_own, dataset = self.check(folder), folder.parent
        claim = read_claim(dataset)
        if claim is None or claim.find_original(dataset):
            claim = Claim.new(dataset)

        def write() -> None:
            self._store.replace(OWNER, claim.owner, None)
            if self._store.read(OWNER) != claim.owner:
                raise TemporaryStoreError(f"{OWNER} is not as it was sent")

        if not is_own:
            write_claim(dataset, claim)  # a run that is killed now finds its own id there
            self._retries.run(write)
        if (claimed := Claim(claim.id, str(dataset.resolve()), self._address)) != claim:
            write_claim(dataset, claimed)

    def check_permissions(self) -> None:
        """Write and delete a small object, which is none of the shards."""
        content = LocalFile.of_content(Path(WRITE_TEST), b"written to check the permissions\n")
        self._retries.run(lambda: self._store.put(WRITE_TEST, content))
        self._delete([WRITE_TEST])

    def delete_shards(self, max_shard_bytes: int) -> None:
        """Delete the shards and the parts of an older plan, and what killed runs left of uploads of this size."""
        self._delete([name for name in self._list_sizes() if _is_shard_name(name)])
        self._abort({f"{PARTS}/": max_shard_bytes})

    def put_part(self, path: Path, name: str, size: int, sha256: str) -> None:
        """Upload the file at `path` as a part.

        Raises:
            DamagedFileError: the file does not have this size and SHA-256.
        """
        file = LocalFile(path, size, sha256)

        def put() -> None:
            self._store.put(f"{PARTS}/{name}", file)
            if self._store.find_size(f"{PARTS}/{name}") != size:
                raise TemporaryStoreError(f"{name} does not have the size that was sent")

        self._retries.run(put)

    def find_lost_parts(self, folder: Path, shards: Sequence[Shard]) -> list[Shard]:
        """The shards whose part, or the tar with its final name, is missing there or has another size."""
        places = {shard.name if _is_named(folder, shard) else f"{PARTS}/{shard.part.file}": shard for shard in shards}
        unlisted = self._find_unlisted({place: shard.part.bytes for place, shard in places.items()})
        return [places[place] for place in unlisted]

    def name_shards(self, folder: Path, shards: Sequence[Shard]) -> None:
        """Give the parts their final names there, and their indexes in the folder. What a killed run did is kept."""
        sizes = {rename.name: rename.bytes for shard in shards for rename in shard.renames}
        self._name_all(folder, [shard for shard in shards if not _is_named(folder, shard)])
        if unlisted := set(self._find_unlisted(sizes)):
            again = [shard for shard in shards if any(rename.name in unlisted for rename in shard.renames)]
            self._name_all(folder, again)
            if missing := self._find_unlisted({name: sizes[name] for name in unlisted}):
                problem = f"does not have {format_count(len(missing), 'object')}, such as {missing[0]}, with its size"
                raise StoreError.at(self._place, problem, "repeat the command later: it continues")

    def delete_parts(self, shards: Sequence[Shard]) -> None:
        """Delete the parts when all shards have their final names, and what killed runs left of uploads.

        Parts of an older plan, which a process that was not stopped wrote after its shards were deleted, go as well.
        """
        listed = {name for name in self._list_sizes() if name.startswith(f"{PARTS}/")}
        self._delete(sorted(listed.union(f"{PARTS}/{shard.part.file}" for shard in shards)))
        sizes = {shard.name: shard.part.bytes for shard in shards}
        self._abort({**sizes, f"{PARTS}/": max(sizes.values(), default=0)})

    def _name_all(self, folder: Path, shards: Sequence[Shard]) -> None:
        with ThreadPoolExecutor(WORKERS, "name") as executor:
            try:
                for _ in executor.map(functools.partial(self._name, folder), shards):
                    pass
            except BaseException:
                self._retries.stopping.set()
                executor.shutdown(cancel_futures=True)
                raise

    def _name(self, folder: Path, shard: Shard) -> None:
        index, tar = shard.renames
        part, final = folder / PARTS / index.part_file, folder / index.name
        content = LocalFile.of_content(final, (final if _is_named(folder, shard) else part).read_bytes())
        self._retries.run(lambda: self._store.copy(f"{PARTS}/{tar.part_file}", tar.name, tar.bytes))
        self._retries.run(lambda: self._store.put(index.name, content))
        if not _is_named(folder, shard):
            part.replace(final)

    def _find_unlisted(self, sizes: Mapping[str, int]) -> list[str]:
        return find_unlisted(self._store, self._retries, sizes)

    def _read(self, name: str) -> bytes | None:
        return self._retries.run(lambda: self._store.read(name))

    def _list_sizes(self) -> dict[str, int]:
        return self._retries.run(self._store.list_sizes)

    def _delete(self, names: Sequence[str]) -> None:
        self._retries.run(lambda: self._store.delete(names))

    def _abort(self, sizes: Mapping[str, int]) -> None:
        self._retries.run(lambda: self._store.abort_uploads(sizes))


def parse_address(to: str, output: Path) -> StoreAddress:
    """The address of the shards of the dataset in the folder `output`.

    Raises:
        ParameterError: the text is no address, or names a folder of the dataset, or one that has the dataset.
    """
    address = StoreAddress.parse(to, option_name=format_option("to"))
    if address.scheme == FOLDER:
        folder, dataset = Path(address.prefix).resolve(), output.resolve()
        if folder.is_relative_to(dataset) or dataset.is_relative_to(folder):
            problem = "is in the folder of the dataset" if folder.is_relative_to(dataset) else "has the dataset in it"
            remedy = "choose a folder outside of it, or leave the address out"
            raise ParameterError.at(address.option, problem, remedy)
    return address


def check_address(address: StoreAddress, folder: Path, with_writing: bool) -> None:
    """Check that the shards of this folder can be written to an address, in a process of its own.

    With `with_writing` a small object is written there and deleted.

    Raises:
        StoreError: the target refuses a request, or has shards of another folder or of a published version.
    """
    run_apart(_check, (address, folder, with_writing))


def _check(task: tuple[StoreAddress, Path, bool], progress: Callable[[int], None]) -> None:
    address, folder, with_writing = task
    store = ShardStore(address)
    store.check(folder)
    if with_writing:
        store.check_permissions()


@functools.cache
def _open_once(address: StoreAddress) -> Store:
    """The store at an address, for all groups that a process writes: to open it takes as long as to upload a shard."""
    return open_store(address)


def _is_named(folder: Path, shard: Shard) -> bool:
    return not (folder / PARTS / shard.part.index).exists()


def _is_shard_name(name: str) -> bool:
    return name.startswith(f"{PARTS}/") or bool(find_shard(name))


def _has_plain_names(published: bytes) -> bool:
    """Whether a list of published objects has names of shards that carry no digest; true if it cannot be read."""
    try:
        values = json.loads(published)
        names = [*(one["name"] for one in values["objects"]), *values.get("earlier", ())]
        return any(map(find_shard, names))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return True
