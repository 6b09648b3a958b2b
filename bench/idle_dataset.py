"""A dataset that is finished, made without downloading: ledgers, verified tables and records of images without files.

python -m bench.idle_dataset ARCHIVE OUTPUT CHUNKS    write all but the manifest, which ReadArchive wrote
"""

import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench import archive, runs
from bench.archive import Differences
from gbif_webdataset.fetch.attempts import RetryBacklog
from gbif_webdataset.fetch.ledger import Outcome, pack_outcome, read_manifest_urls, write_ledger
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.splits import SPLITS
from gbif_webdataset.verify.verify_chunk import COLUMNS
from tasks.clean import CleanDataset
from tasks.delete import DeleteImages
from tasks.fetch import FetchChunk
from tasks.read import ReadArchive
from tasks.report import ReportDataset
from tasks.shards import CreateWebDataset
from tasks.split import SplitDataset
from tasks.verify import VerifyChunk, VerifyImages

MEDIA_PER_OCCURRENCE = 1.3
SAMPLES_PER_SHARD = 1_000
FILE_SIZE = 250_000


def make_dataset(folder: Path, images: int, chunks: int) -> list[str]:
    """Make a dataset of about so many images, and return the command that finds nothing to do."""
    source, output = folder / "archive.zip", folder / "dataset"
    archive.write(source, round(images / MEDIA_PER_OCCURRENCE), Differences(varied=True))
    options = ("--chunks", str(chunks), "--workers", "2")
    runs.timed(runs.luigi("ReadArchive", source, output, *options))
    runs.timed([sys.executable, "-m", "bench.idle_dataset", str(source), str(output), str(chunks)])
    return runs.luigi("ReportDataset", source, output, *options)


def _write_fetched(dataset: dict[str, Any]) -> None:
    for chunk in range(dataset["chunks"]):
        fetched, verified = FetchChunk(**dataset, chunk=chunk), VerifyChunk(**dataset, chunk=chunk)
        with fetched.write_target() as target:
            manifest, ledger = fetched.paths.chunk("manifest", chunk), fetched.paths.chunk("fetched", chunk)
            outcomes = {path: _make_outcome(path, url) for path, url in read_manifest_urls(manifest)}
            write_ledger(manifest, ledger, outcomes)
            target.results = {"outcomes": {"fetched": len(outcomes)}, "retries": RetryBacklog().to_results()}
            target.add(ledger)
        with verified.write_target() as target:
            table, path = pq.read_table(ledger), verified.paths.chunk("verified", chunk)
            kept = table.select([name for name in table.column_names if name not in COLUMNS.names])
            for field in COLUMNS:
                kept = kept.append_column(field, _make_column(field, table))
            arrow.write_parquet(kept.to_batches(), path, kept.schema)
            target.results = {"findings": {"valid": table.num_rows}}
            target.add(path)


def _make_outcome(path: str, url: str) -> tuple[Any, ...]:
    sha256 = f"{random.getrandbits(256):064x}"
    fetched_at = "2026-01-01T00:00:00Z"
    return pack_outcome(
        Outcome(path, url, "fetched", "", 200, 1, FILE_SIZE, sha256, "image/jpeg", url, fetched_at, url)
    )


def _make_column(field: pa.Field, ledger: pa.Table) -> pa.Array:
    rows = ledger.num_rows
    if field.name in ledger.column_names:
        return ledger[field.name].cast(field.type)
    if field.name == "perceptual_hash":
        return arrow.to_typed_array([f"{random.getrandbits(64):016x}" for _ in range(rows)], field.type)
    values = {
        "valid": True, "error": "", "warning": "", "format": "JPEG", "mode": "RGB", "flat": False, "width": 1024,
        "height": 768, "stored_width": 1024, "stored_height": 768, "file_size": FILE_SIZE, "fetch_date": "2026-01-01",
    }  # fmt: skip
    return arrow.to_typed_array([values[field.name]] * rows, field.type)


def _write_finished(dataset: dict[str, Any]) -> None:
    """Write the records of all stages after verifying, and their files without rows."""
    report = ReportDataset(**dataset)
    paths, images = report.paths, sum(ReadArchive(**dataset).images_per_chunk())
    for task, files in {
        VerifyImages(**dataset): [paths.verified, paths.errors],
        DeleteImages(**dataset): [paths.deleted],
        CleanDataset(**dataset): [paths.clean, paths.duplicates],
        SplitDataset(**dataset): [paths.splits / f"{split}.csv" for split in SPLITS],
        CreateWebDataset(**dataset): [
            paths.shards / f"train/train-{n:06}.tar" for n in range(images // SAMPLES_PER_SHARD)
        ],
        report: [paths.accounting],
    }.items():
        with task.write_target() as target:
            for path in files:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("image_path,identifier,reason,deleted_at,version\n")
                target.add(path)
            target.results = {"summary": "finished"}


def main() -> None:
    """The command line."""
    source, output, chunks = sys.argv[1:]
    dataset = {"dwca": source, "output": output, "chunks": int(chunks)}
    _write_fetched(dataset)
    _write_finished(dataset)


if __name__ == "__main__":
    main()
