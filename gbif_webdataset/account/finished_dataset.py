"""Where the files of a finished dataset are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FinishedDataset:
    """The archive and every file and folder that accounts, card and page are made from or written to.

    `manifest`, `images`, `splits`, `shards`, `report` and `scratch` are folders. `fetched` has the ledger of each
    chunk. `duplicates` need not exist.
    """

    archive: Path
    manifest: Path
    fetched: tuple[Path, ...]
    images: Path
    clean: Path
    clean_dropped: Path
    duplicates: Path
    splits: Path
    shards: Path
    accounting: Path
    report: Path
    scratch: Path
