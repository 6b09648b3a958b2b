"""The checklist of a dataset's taxon keys, as the manifest's files record it."""

from pathlib import Path

import pyarrow.parquet as pq

from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.checklists import KEY, RELEASE, Checklist


def read_checklist(chunk: Path) -> Checklist:
    """The checklist in the metadata of a chunk of the manifest; versions before 0.5 recorded no release."""
    metadata = pq.read_metadata(chunk).metadata or {}
    key, release = (metadata.get(name.encode(), b"").decode() for name in (KEY, RELEASE))
    return Checklist(key, release)


def load_checklist(paths: DatasetPaths) -> Checklist:
    """The checklist of a dataset; an unknown one if the dataset has no manifest."""
    chunks = paths.list_chunks("manifest")
    return read_checklist(chunks[0]) if chunks else Checklist()
