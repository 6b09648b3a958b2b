"""A copy of the tables that a comparison reads, of a dataset whose folder is in a bucket or a repository."""

from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.remote.input_copies import RemoteInput, update_copy
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.storage.target_record import TargetRecord, record_path

NEEDED = ("ReadArchive", "SplitDataset")
OPTIONAL = ("CleanDataset", "CreateWebDataset")
NOT_TABLES = (".tar", ".idx")


def copy_dataset(address: StoreAddress, folder: Path) -> Path:
    """The folder of a dataset on this machine: its own, or a copy of its tables in `folder`.

    Files that have not changed since an earlier copy are not transferred again.

    Raises:
        StoreError, ParameterError: the dataset cannot be read.
        MissingPieceError: a record of the dataset is damaged.
    """
    if address.scheme == FOLDER:
        return Path(address.prefix)
    output = _copy_files(address, folder, _list_records(NEEDED), _list_records(OPTIONAL))
    chunks = [Path(name).stem for name in _list_tables(output, "ReadArchive") if name.startswith("manifest/chunk-")]
    fetching = [f"FetchChunk-{name.removeprefix('chunk-')}" for name in chunks]
    _copy_files(address, folder, _list_records(NEEDED), _list_records(fetching))
    stages = [*NEEDED, *(stage for stage in (*OPTIONAL, *fetching) if record_path(output, stage).exists())]
    _copy_files(address, folder, tuple(name for stage in stages for name in _list_tables(output, stage)))
    return output


def _copy_files(address: StoreAddress, folder: Path, files: tuple[str, ...], optional: tuple[str, ...] = ()) -> Path:
    source = RemoteInput(address, files, optional)
    update_copy(source, folder)
    return source.path_in(folder)


def _list_records(stages: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(record_path(Path(), stage).as_posix() for stage in stages)


def _list_tables(output: Path, stage: str) -> list[str]:
    """The files that a record names, without shards and images."""
    record = TargetRecord.load(record_path(output, stage))
    if record is None:
        raise MissingPieceError(f"{record_path(output, stage)}: the record is damaged; copy the dataset there again")
    return [name for name in record.files if not name.endswith(NOT_TABLES) and not name.startswith("images/")]
