"""Seconds, peak memory and size of the report page of a large dataset."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import runs
from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.publish.attribution import AttributionSummary
from gbif_webdataset.publish.description import DatasetDescription, Shard, read_classes
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.report.page import ReportContent, write_page
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import BALANCE, LEAKAGE

LABEL = "acceptedTaxonKey"
IMAGES = """SELECT 'd' || i % 40 || '/' || i || '.jpg' AS image_path, (i // 2)::VARCHAR AS coreid,
    'https://host' || i % 97 || '.example/' || i AS identifier, 'dataset ' || i % 40 AS datasetKey,
    ['cc0', 'cc-by', 'cc-by-nc', 'unknown'][1 + i % 4] AS licenseCode, chr(65 + i::INT % 26) || 'E' AS countryCode,
    ['adult', 'larva', NULL][1 + i % 3] AS lifeStage, (1950 + i % 75)::VARCHAR AS year,
    (1 + i % 12)::VARCHAR AS month, (hash(i) % 18000 / 100.0 - 90)::VARCHAR AS decimalLatitude,
    (i % 3600 / 10.0 - 180)::VARCHAR AS decimalLongitude,
    CASE WHEN i < {classes} THEN i ELSE floor({classes} * pow(hash(i + 3) % 1000000 / 1e6, 3)) END::INT AS class,
    class::VARCHAR AS acceptedTaxonKey, repeat('Longissima ', 8) || class AS acceptedScientificName,
    400 + i % 3000 AS width, 300 + i % 2000 AS height, 40000 + i % 900000 AS file_size, 50000 AS bytes,
    CASE WHEN i % 50 = 49 THEN 'failed' ELSE 'fetched' END AS status,
    CASE WHEN i % 50 = 49 THEN 'not-found' END AS error FROM range({images}) numbers(i)"""


def bench(images: int, classes: int) -> None:
    """Write the page of a dataset with so many images and classes, in a process of its own."""
    print(f"page: {images:,} images of {classes:,} classes, {runs.describe_load()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name), images, classes)
        command = [sys.executable, "-m", "bench.page", name, str(images)]
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=runs.ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise runs.BenchError(f"{' '.join(command)} failed")
        size = (Path(name) / "report" / "index.html").stat().st_size
    print(f"  {seconds:.1f} s, {usage.ru_maxrss / 1024:,.0f} MiB; the page has {size / 1e6:.1f} MB")


def write_tables(folder: Path, images: int, classes: int) -> None:
    """Write the tables of a dataset in which every downloaded image is a sample."""
    for name in ("splits", "shards", "images", "fetched"):
        (folder / name).mkdir()
    drawn = IMAGES.format(images=images, classes=classes)
    with tables.open_database(folder / ".scratch") as connection:
        for name, query in {
            "fetched/chunk-00000.parquet": drawn,
            "clean.parquet": f"SELECT * FROM ({drawn}) WHERE status = 'fetched'",
            "clean-dropped.parquet": "SELECT '' AS stage, '' AS reason, '' AS image_path LIMIT 0",
        }.items():
            connection.execute(f"COPY ({query}) TO {tables.quote_text(str(folder / name))} (FORMAT parquet)")
        counted = f"""SELECT ['train', 'val', 'test'][1 + (hash(coreid) % 3)::INT] AS split, acceptedTaxonKey AS label,
            class, count(*) AS samples FROM {tables.parquet_source([folder / "clean.parquet"])} GROUP BY ALL"""
        connection.execute(f"COPY ({counted}) TO {tables.quote_text(str(folder / 'shards' / 'classes.csv'))} (HEADER)")
    for name in ("splits/dropped.csv", "shards/dropped.csv"):
        (folder / name).write_text("stage,reason,image_path\n")
    for name, columns in (("leakage", LEAKAGE), ("balance", BALANCE)):
        (folder / "splits" / f"{name}.csv").write_text(",".join(column.name for column in columns) + "\n")


def write_report(folder: Path, images: int) -> None:
    """Write the page of the tables in `folder` into `folder`/report."""
    paths = DatasetPaths.under(folder)
    description = DatasetDescription(
        title="Many images",
        sources=[Source("many.zip")],
        attribution=AttributionSummary({"train": {"cc0": images}}, (), {}),
        shards=[Shard("train", "train/train-000000.tar", images, 0, "")],
        classes=read_classes(paths.classes),
        media_lines=images,
        lines=[AccountLine("sample", "train", images, kept=True)],
        settings={"CreateWebDataset": {"label_column": LABEL}},
    )
    write_page(paths, ReportContent([folder / "many.zip"], description, {}, []))


if __name__ == "__main__":
    write_report(Path(sys.argv[1]), int(sys.argv[2]))
