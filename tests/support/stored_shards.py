"""Shards at an address, as CreateWebDataset with --CreateWebDataset-to writes them, made from shards on the disk."""

from dataclasses import replace
from pathlib import Path

from gbif_webdataset.remote.address_claim import OWNER
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord


def move_shards(paths: DatasetPaths, address: StoreAddress) -> Store:
    """Move the tars to an address, copy their indexes, and name both in the record; the open store."""
    path, store = paths.record("CreateWebDataset"), open_store(address)
    record = TargetRecord.load(path)
    assert record is not None
    files, objects = dict(record.files), {}
    for name, file in record.files.items():
        if name.endswith((".tar", ".idx")) and not name.endswith(".tar.idx"):
            stored = name.removeprefix("shards/")
            store.put(stored, LocalFile(paths.output / name, file.bytes, file.sha256))
            objects[stored] = file
        if name.endswith(".tar"):
            (paths.output / name).unlink()
            del files[name]
    store.put(OWNER, LocalFile.of_content(Path(OWNER), b"{}"))
    replace(record, files=files, objects=objects, store=address.address).save(path)
    return store
