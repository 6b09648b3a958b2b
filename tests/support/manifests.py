"""Manifests that tests make of archives and read back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow.parquet as pq

from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.read_archive import ManifestCounts, read_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.terms.downloads import NO_STATEMENT, DownloadStatement

EVERYTHING = SelectionOptions("acceptedTaxonKey")
CHUNKS = 3
MEMORY = 256 << 20


class Manifest:
    """A manifest, read back. Its rows and its rejected lines always add up.

    Attributes:
        rows: the rows of all chunks.
        reasons: the number of rejected lines by reason.
        files: the bytes of the Parquet files by name.
    """

    def __init__(self, folder: Path, counts: ManifestCounts) -> None:
        self.folder, self.counts = folder, counts
        self.chunks = [pq.read_table(folder / chunk_name(chunk)) for chunk in range(len(counts.images))]
        self.rows: list[dict[str, Any]] = [row for table in self.chunks for row in table.to_pylist()]
        self.rejected: list[dict[str, Any]] = pq.read_table(folder / "rejected.parquet").to_pylist()
        self.reasons = Counter(row["reason"] for row in self.rejected)
        self.files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
        rejected_media = [row for row in self.rejected if row["file"] in counts.media_files]
        assert counts.images == [table.num_rows for table in self.chunks]
        assert counts.media_lines == len(self.rows) + len(rejected_media)
        assert sum(counts.rejected["media"].values()) == len(rejected_media)
        assert sum(map(sum, (kind.values() for kind in counts.rejected.values()))) == len(self.rejected)

    @property
    def urls(self) -> Counter[str]:
        """The number of rows by URL."""
        return Counter(row["identifier"] for row in self.rows)

    def find(self, url: str) -> dict[str, Any]:
        """The row with this URL."""
        [row] = [row for row in self.rows if row["identifier"] == url]
        return row

    def values(self, column: str) -> dict[str, Any]:
        """The values of a column by coreid."""
        return {row["coreid"]: row[column] for row in self.rows}


def make_manifest(
    archives: Path | Sequence[Path] | Mapping[Path, DownloadStatement],
    root: Path,
    options: SelectionOptions = EVERYTHING,
    chunks: int = CHUNKS,
    resources: Resources | None = None,
) -> Manifest:
    """Read an archive, or several, of which GBIF may state something, into a new folder below `root`. Temporary files are below `root`/scratch."""
    folder = Path(mkdtemp(prefix="manifest-", dir=root))
    scratch = root / "scratch"
    paths = [archives] if isinstance(archives, Path) else archives
    counts = read_archives(
        paths if isinstance(paths, Mapping) else dict.fromkeys(paths, NO_STATEMENT),
        ManifestWriter(folder, chunks),
        options,
        resources or Resources(MEMORY, scratch),
        lambda done, total: None,
    )
    assert not list(scratch.iterdir())
    return Manifest(folder, counts)
