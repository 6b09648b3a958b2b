"""A folder with a chunk's ledger and images, to be verified."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.fetch import ledger
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.image_store import open_store
from gbif_webdataset.verify.finding import Finding
from gbif_webdataset.verify.verify_chunk import VerifyOptions, verify_chunk
from gbif_webdataset.verify.verify_images import combine_chunks

MAX_PIXELS = 10_000
MANIFEST = pa.schema([(name, pa.string()) for name in ("coreid", "identifier", "image_path", "speciesKey")])
LEDGER = pa.schema([*MANIFEST, *ledger.COLUMNS])
Checker = Callable[..., Finding]


class VerifyRun:
    """An output folder. `progress` has the number of images that each call reported."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.progress: list[int] = []

    def verify(
        self, files: Mapping[str, bytes | None], chunk: int = 0, workers: int = 2, strict: bool = False
    ) -> Counter[str]:
        """Verify a chunk with these files, by image path. None stands for an image that was not downloaded."""
        source, target = self._write_ledger(files, chunk), self.output / "verified" / chunk_name(chunk)
        options = VerifyOptions(MAX_PIXELS, strict, workers)
        self.progress = []
        return verify_chunk(
            source,
            open_store(self.output / "images", chunk),
            target,
            options,
            lambda counts: self.progress.append(counts.total()),
        )

    def combine(self, chunks: int = 1) -> dict[str, int]:
        """Combine that many verified chunks."""
        paths = [self.output / "verified" / chunk_name(chunk) for chunk in range(chunks)]
        verified, errors = self.output / "verified.parquet", self.output / "errors.csv"
        return combine_chunks(paths, verified, errors, self.output / "scratch", "500MB")

    def table(self, chunk: int = 0) -> pa.Table:
        """The verified table of a chunk."""
        return pq.read_table(self.output / "verified" / chunk_name(chunk))

    def errors(self) -> list[list[str]]:
        """The lines of errors.csv."""
        with (self.output / "errors.csv").open(newline="") as file:
            return list(csv.reader(file))

    def _write_ledger(self, files: Mapping[str, bytes | None], chunk: int) -> Path:
        rows = []
        for name, data in files.items():
            row: dict[str, Any] = {"coreid": Path(name).stem, "identifier": f"http://a.org/{name}", "image_path": name}
            row |= {"speciesKey": "0012", "fetched_at": "2026-03-04T05:06:07Z", "attempts": 1}
            row["final_url"] = "http://a.org/"
            if data is None:
                row |= {"status": "failed", "error": "not-found", "http_status": 404}
            else:
                path = self.output / "images" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                row |= {"status": "fetched", "error": "", "bytes": len(data), "sha256": sha256_of(data)}
            rows.append(row)
        target = self.output / "fetched" / chunk_name(chunk)
        target.parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(pa.Table.from_pylist(rows, LEDGER), target)
        return target


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
