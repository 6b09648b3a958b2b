"""An output folder whose manifest is fetched from a server, and its ledger afterwards."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.fetch.carry_over import carry_over
from gbif_webdataset.fetch.fetch_chunk import fetch_chunk
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import BackoffPolicy
from gbif_webdataset.fetch.image_response import DownloadLimits
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.storage.chunks import chunk_name, list_packed_chunks
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import KEEP
from gbif_webdataset.storage.pack_store import PACK_BYTES, PackStore
from tests.support.visits import MAX_BYTES, MAX_SECONDS, REQUEST_TIMEOUT, RETRIES

MANIFEST = pa.schema([(name, pa.string()) for name in ("coreid", "identifier", "image_path", "datasetKey")])
LIMITS = DownloadLimits(REQUEST_TIMEOUT, MAX_SECONDS, MAX_BYTES, "gbif-webdataset-test/1.0", True)
OPTIONS = FetchOptions(
    workers=8,
    retries=RETRIES,
    hosts=HostTable(HostLimits(64, 0), {}),
    limits=LIMITS,
    guard=AddressGuard(["127.0.0.1/32"]),
    backoff=BackoffPolicy(max_failures=1_000_000, max_slowdown=1),  # all faulty URLs are at one host
)


def limits(**changes: Any) -> DownloadLimits:
    return replace(LIMITS, **changes)


class StoppedError(Exception):
    """A run was stopped."""


class FetchRun:
    """An output folder with a store of a `kind`; `urls` maps image paths to the URLs that the manifest gives them."""

    def __init__(self, output: Path, kind: str = KEEP) -> None:
        self.output, self.kind = output, kind
        self.images, self.folder, self.manifest = output / "images", output / "fetched", output / "manifest"

    def write_manifest(self, urls: Mapping[str, str], chunk: int = 0, folder: Path | None = None) -> Path:
        """Write a chunk of a manifest."""
        path = (folder or self.manifest) / chunk_name(chunk)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"coreid": Path(name).stem, "identifier": url, "image_path": name, "datasetKey": name.split("/")[0]}
            for name, url in urls.items()
        ]
        pq.write_table(pa.Table.from_pylist(rows, MANIFEST), path)
        return path

    def fetch(
        self,
        urls: Mapping[str, str] | None = None,
        chunk: int = 0,
        progress: Callable[[Counter[str]], None] = lambda counts: None,
        **changes: Any,
    ) -> Counter[str]:
        """Fetch a chunk, of a manifest made of `urls` if they are given. `changes` are options."""
        path = self.write_manifest(urls, chunk) if urls is not None else self.manifest / chunk_name(chunk)
        return fetch_chunk(
            self.output, path, chunk, replace(OPTIONS, **{"store": self.kind, **changes}), progress
        ).counts

    def stop_before_ledger(self, urls: Mapping[str, str] | None = None, **changes: Any) -> None:
        """Fetch a chunk in a run that stops after the last image, so that its outcomes are in the journal only."""
        rows = len(urls) if urls is not None else pq.read_metadata(self.manifest / chunk_name(0)).num_rows

        def stop(counts: Counter[str]) -> None:
            if counts.total() == rows:
                raise StoppedError

        with contextlib.suppress(StoppedError):
            self.fetch(urls, progress=stop, **changes)

    def carry_over(self, *chunks: Mapping[str, str]) -> None:
        """Make a new manifest with these chunks, as ReadArchive does."""
        new = self.output / ".tmp-manifest-x"
        for chunk, urls in enumerate(chunks):
            self.write_manifest(urls, chunk, new)
        carry_over(self.folder, new, self.output / ".scratch", "500MB", PACK_BYTES)
        for path in self.manifest.glob("*"):
            path.unlink()
        self.manifest.mkdir(exist_ok=True)
        for path in new.iterdir():
            path.replace(self.manifest / path.name)

    def read_ledger(self, chunk: int = 0) -> dict[str, dict[str, Any]]:
        """The ledger's rows by image path."""
        rows = pq.read_table(self.folder / chunk_name(chunk)).to_pylist()
        return {row["image_path"]: row for row in rows}

    def read_image(self, name: str) -> bytes:
        return ImageReader(self.images).read(name)

    def list_images(self) -> set[str]:
        """The paths of all images in packs, and of all files under images/ that are no packs."""
        packed = {
            path for chunk in list_packed_chunks(self.images) for path in PackStore(self.images, chunk).list_paths()
        }
        files = {path.relative_to(self.images).as_posix() for path in self.images.rglob("*") if path.is_file()}
        return packed | {name for name in files if not re.fullmatch(r"chunk-\d{5}(\.idx|/\d+\.tar)", name)}
