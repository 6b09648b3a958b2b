"""Whose each sample is: the table of licences and names that goes with the shards, and what it comes to."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.shards.sample_keys import select_with_keys
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.splits import SPLITS, split_paths

ATTRIBUTION, DERIVED_DATASET = "attribution.parquet", "derived_dataset.csv"
MEMORY_LIMIT = "500MB"
# The columns of the table and those of the splits that they are of: the first that says something.
COLUMNS = {
    "image_path": ("image_path",),
    "identifier": ("identifier",),
    "coreid": ("coreid",),
    "datasetKey": ("datasetKey",),
    "licenseCode": ("licenseCode",),
    "license": ("mediaLicense",),  # a medium's is not its record's
    "rightsHolder": ("mediaRightsHolder", "rightsHolder"),
    "creator": ("mediaCreator",),
    "publisher": ("mediaPublisher", "publisher"),
    "references": ("mediaReferences",),
}
OWN = {"key", "image_path", "identifier", "coreid", "references"}
SCHEMA = pa.schema([(n, pa.string() if n in OWN else RECURRING) for n in ("split", "key", "label", *COLUMNS)])
DATASET_KEY = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Uses:
    """What the samples are under and from: `licences` counts samples by split and code, the most restrictive last;
    `versions` are the numbers of versions that the licences' texts name, "" where one names none;
    `occurrences` counts those of each dataset."""

    licences: Mapping[str, Mapping[str, int]]
    versions: tuple[str, ...]
    occurrences: Mapping[str, int]

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes there are, the most restrictive last."""
        return tuple(str(code) for code in licences.Licence if any(code in counts for counts in self.licences.values()))

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(sum(counts.values()) for counts in self.licences.values())


def write(splits: Path, label_column: str, samples: Mapping[str, int], folder: Path, scratch: Path) -> Uses:
    """Write `folder`/attribution.parquet, a row for each sample in the shards, and derived_dataset.csv.

    `samples` are those in the shards, by split. Of a medium that names no rights holder or publisher the record's
    stands there. derived_dataset.csv is as GBIF's form wants it, which refuses a line with names of columns and keys
    that are none of its datasets'. Raises MissingPieceError where the splits don't hold the samples.
    """
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        queries = [_select(path, split, label_column) for split, path in split_paths(splits).items()]
        batches = (batch for query in queries for batch in tables.select_batches(connection, query))
        count = arrow.write_parquet((batch.cast(SCHEMA) for batch in batches), folder / ATTRIBUTION, SCHEMA)
        if count != sum(samples.values()):
            raise MissingPieceError(
                f"{splits}: {count:,} rows have a label, but the shards hold {sum(samples.values()):,} samples; "
                "run CreateWebDataset again"
            )
        uses = _uses(connection, folder / ATTRIBUTION)
    _write_derived(folder / DERIVED_DATASET, uses.occurrences)
    return uses


def _select(path: Path, split: str, label_column: str) -> str:
    """The query of a split's rows in the table's columns."""
    names = tables.read_header(path)
    columns = []
    for name, sources in COLUMNS.items():
        there = [tables.quote_name(source) for source in sources if source in names]
        columns.append(f"coalesce({', '.join(there) or 'NULL'}) AS {tables.quote_name(name)}")
    label = tables.quote_name(label_column)
    stated = f"'{split}' AS split, key, {label} AS label"
    rows = select_with_keys(tables.csv_source(path))
    return f"SELECT {stated}, {', '.join(columns)} FROM ({rows}) WHERE {label} IS NOT NULL"


def _uses(connection: duckdb.DuckDBPyConnection, path: Path) -> Uses:
    table = tables.parquet_source([path])
    counted: dict[str, dict[str, int]] = {}
    for split, code, count in tables.fetch_rows(
        connection,
        f"SELECT split, coalesce(licenseCode, '{licences.Licence.UNKNOWN}'), count(*) FROM {table} GROUP BY 1, 2",
    ):
        counted.setdefault(split, {})[code] = count
    in_order = {
        split: dict(sorted(counted[split].items(), key=lambda item: licences.strictness(item[0])))
        for split in SPLITS
        if split in counted
    }
    version = "regexp_extract(coalesce(license, ''), '[1-9][.][0-9]')"
    versions = tables.fetch_rows(connection, f"SELECT DISTINCT {version} FROM {table} ORDER BY 1")
    datasets = (
        f"SELECT datasetKey, count(*) FROM (SELECT DISTINCT datasetKey, coreid FROM {table} "
        "WHERE datasetKey IS NOT NULL) GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return Uses(in_order, tuple(version for (version,) in versions), dict(tables.fetch_rows(connection, datasets)))


def _write_derived(path: Path, occurrences: Mapping[str, int]) -> None:
    rows = [(key, count) for key, count in occurrences.items() if DATASET_KEY.fullmatch(key)]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
