"""Output folders written by hand, for tests that compare datasets."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES

DROPPED = ("stage", "reason", "image_path", "identifier", "coreid")


class OutputFolder:
    """The output folder of a dataset: its splits, and the images that each stage dropped."""

    def __init__(self, folder: Path, label_column: str = "species") -> None:
        self.folder, self.label_column = folder, label_column
        self.rows: dict[str, list[tuple[str, str, str]]] = {split: [] for split in SPLITS_OF_CLASSES}
        self.dropped: dict[str, list[tuple[str, str, str]]] = {"rejected": [], "failed": [], "clean": [], "split": []}

    def add(self, split: str, coreid: str, label: str = "moth", url: str = "") -> None:
        self.rows[split].append((coreid, url or f"http://x.example/{coreid}", label))

    def drop(self, stage: str, coreid: str, reason: str) -> None:
        self.dropped[stage].append((coreid, f"http://x.example/{coreid}", reason))

    def write(self) -> DatasetPaths:
        for name in ("splits", "manifest", "fetched"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        paths = DatasetPaths.under(self.folder)
        record = TargetRecord("CreateWebDataset", Fingerprint(1, {"label_column": self.label_column}))
        record.save(paths.record(record.task))
        for split, rows in self.rows.items():
            lines = [[coreid, url, f"d/{coreid}.jpg", label] for coreid, url, label in rows]
            self._csv(f"splits/{split}.csv", ["coreid", "identifier", "image_path", self.label_column], lines)
        dropped = [["split", reason, f"d/{coreid}.jpg", url, coreid] for coreid, url, reason in self.dropped["split"]]
        self._csv("splits/dropped.csv", DROPPED, dropped)
        self._table("manifest/rejected.parquet", self.dropped["rejected"], ("coreid", "identifier", "reason"))
        self._table("manifest/chunk-00000.parquet", self.dropped["failed"], ("coreid", "identifier", "image_path"))
        failed = [(image, "failed", image) for _, _, image in self.dropped["failed"]]
        self._table("fetched/chunk-00000.parquet", failed, ("image_path", "status", "error"))
        cleaned = [("clean", reason, "d/x.jpg", url, coreid) for coreid, url, reason in self.dropped["clean"]]
        self._table("clean-dropped.parquet", cleaned, DROPPED)
        return paths

    def _csv(self, name: str, columns: object, rows: list[list[str]]) -> None:
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])

    def _table(self, name: str, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> None:
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        pq.write_table(pa.table([pa.array(v, pa.string()) for v in values], names=list(columns)), self.folder / name)
