"""A dataset written by hand, with images, ledgers, a table and shards, for tests of the audit."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from gbif_webdataset.fetch.ledger import Outcome, make_outcome_table
from gbif_webdataset.shards.tar_writer import TarWriter, make_member
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord
from gbif_webdataset.terms import columns

COLUMNS = [column.name for column in columns.SHARDS]


class AuditedFolder:
    """The output folder of a dataset with `chunks` chunks of `images` images each, and two shards."""

    def __init__(self, output: Path, chunks: int = 2, images: int = 5) -> None:
        self.paths = DatasetPaths.under(output)
        for chunk in range(chunks):
            rows = [self._add_image(f"d{chunk}/{number}.jpg") for number in range(images)]
            pq_path = self.paths.chunk("fetched", chunk)
            pq_path.parent.mkdir(exist_ok=True)
            pq.write_table(make_outcome_table(rows), pq_path)
            self.record(f"FetchChunk-{chunk:05d}", pq_path)
        (output / "clean.parquet").write_bytes(b"the clean images")
        self.record("CleanDataset", output / "clean.parquet")
        self._add_shards()

    def _add_image(self, name: str) -> Outcome:
        path, data = self.paths.images / name, f"the bytes of {name}".encode() * 9
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        return Outcome(
            name, f"http://x.test/{name}", "fetched", "", 200, 1, len(data), sha256, None, None, "2026-01-01"
        )

    def _add_shards(self) -> None:
        lines, files = [COLUMNS], []
        for number in range(2):
            tar = self.paths.shards / "train" / f"train-{number:06d}.tar"
            tar.parent.mkdir(parents=True, exist_ok=True)
            with tar.open("wb") as file:
                writer = TarWriter(file)
                for sample in range(3):
                    key = f"{number}-{sample}"
                    writer.add([make_member(f"{key}.cls", b"1"), make_member(f"{key}.jpg", key.encode() * 300)])
                writer.close()
            tar.with_suffix(".idx").write_bytes(writer.index)
            lines.append(["train", f"train/{tar.name}", str(writer.samples), str(writer.bytes), writer.sha256])
            files += [tar, tar.with_suffix(".idx")]
        with self.paths.shard_list.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        self.record("CreateWebDataset", *files, self.paths.shard_list)

    def record(self, label: str, *files: Path, **inputs: str) -> TargetRecord:
        """Write the record of a task that wrote these files."""
        named = {file.relative_to(self.paths.output).as_posix(): FileRecord.of(file) for file in files}
        record = TargetRecord(label, Fingerprint(1, inputs=inputs), named)
        record.save(self.paths.record(label))
        return record

    def snapshot(self) -> Counter[tuple[str, bytes]]:
        """The name and bytes of every file."""
        files = (path for path in self.paths.output.rglob("*") if path.is_file())
        return Counter((path.relative_to(self.paths.output).as_posix(), path.read_bytes()) for path in files)
