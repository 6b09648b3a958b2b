"""attribution.parquet, the licence and the names of each sample, and derived_dataset.csv for GBIF."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.shards.sample_keys import select_with_keys
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms import columns, licences
from gbif_webdataset.terms.splits import SPLITS, split_paths

ATTRIBUTION, DERIVED_DATASET = "attribution.parquet", "derived_dataset.csv"
MEMORY_LIMIT = "500MB"
SOURCES = {
    "image_path": ("image_path",),
    "identifier": ("identifier",),
    "coreid": ("coreid",),
    "datasetKey": ("datasetKey",),
    "licenseCode": ("licenseCode",),
    "license": ("mediaLicense",),  # not the licence of the record, which is another one
    "rightsHolder": ("mediaRightsHolder", "rightsHolder"),
    "creator": ("mediaCreator",),
    "publisher": ("mediaPublisher", "publisher"),
    "references": ("mediaReferences",),
}
"""Columns of the table, and the columns of the splits that fill them: the first of these that has a value."""
DISTINCT = {"key", "image_path", "identifier", "coreid", "references"}
STEM = r"regexp_replace(image_path, '(_\d+)?\.jpg$', '')"
"""SQL of what is distinct for each occurrence; two of several archives may have the same datasetKey and coreid."""
MAX_UNKNOWN_TEXTS = 10
DATASET_KEY = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class AttributionSummary:
    """Licences and sources of all samples.

    licences: the number of samples by split and licence code, the most restrictive licence last.
    versions: the version numbers in the texts of the licences, "" for a text without one.
    occurrences: the number of occurrences by datasetKey.
    unknown_texts: the most frequent texts of licences that are unknown, with their samples; "" for no text.
    """

    licences: Mapping[str, Mapping[str, int]]
    versions: tuple[str, ...]
    occurrences: Mapping[str, int]
    unknown_texts: Mapping[str, int] = field(default_factory=dict)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all licences, the most restrictive last."""
        return tuple(
            code for code in map(str, licences.Licence) if any(code in counts for counts in self.licences.values())
        )


def list_columns(sources: Sequence[Source]) -> tuple[columns.Column, ...]:
    """The columns of attribution.parquet."""
    return columns.ATTRIBUTION_OF_SEVERAL if len(sources) > 1 else columns.ATTRIBUTION


def write_attribution(
    paths: DatasetPaths, label_column: str, samples: Mapping[str, int], sources: Sequence[Source]
) -> AttributionSummary:
    """Write attribution.parquet, one row for each sample of the shards, and derived_dataset.csv into report/.

    `samples` is the number of samples in the shards, by split, and `sources` describe the archives. If a medium has no
    rights holder or publisher, the row has those of its record.

    Raises:
        MissingPieceError: the splits do not have these samples.
    """
    path = paths.report / ATTRIBUTION
    with tables.open_database(paths.scratch, MEMORY_LIMIT) as connection:
        names = [column.name for column in list_columns(sources)]
        schema = pa.schema([(name, pa.string() if name in DISTINCT else RECURRING) for name in names])
        archive = _select_archive(sources)
        queries = [_select(csv, split, label_column, archive) for split, csv in split_paths(paths.splits).items()]
        batches = (batch for query in queries for batch in tables.select_batches(connection, query))
        count = arrow.write_parquet((batch.cast(schema) for batch in batches), path, schema)
        if count != sum(samples.values()):
            raise MissingPieceError(
                f"{paths.splits}: {count:,} rows have a label, but the shards have {sum(samples.values()):,} "
                "samples; run CreateWebDataset again"
            )
        summary = _summarize(connection, path)
    _write_derived_dataset(paths.report / DERIVED_DATASET, summary.occurrences)
    return summary


def _select_archive(sources: Sequence[Source]) -> list[str]:
    """SQL of the columns that a dataset of several archives has beyond the usual ones."""
    if len(sources) == 1:
        return []
    dois = " ".join(f"WHEN {tables.quote_text(source.name)} THEN {tables.quote_text(source.doi)}" for source in sources)
    archive = tables.quote_name(columns.ARCHIVE.name)
    return [archive, f"nullif(CASE {archive} {dois} END, '') AS {tables.quote_name(columns.ARCHIVE_DOI.name)}"]


def _select(path: Path, split: str, label_column: str, more: Sequence[str]) -> str:
    """The query of a split's rows with the columns of the table; `more` is SQL of the last ones."""
    names = tables.read_header(path)
    label = tables.quote_name(label_column)
    selected = [f"'{split}' AS split", "key", f"{label} AS label"]
    for name, sources in SOURCES.items():
        present = [tables.quote_name(source) for source in sources if source in names]
        selected.append(f"coalesce({', '.join(present) or 'NULL'}) AS {tables.quote_name(name)}")
    selected += more
    return f"SELECT {', '.join(selected)} FROM ({select_with_keys(tables.csv_source(path))}) WHERE {label} IS NOT NULL"


def _summarize(connection: duckdb.DuckDBPyConnection, path: Path) -> AttributionSummary:
    table = tables.parquet_source([path])
    code = f"coalesce(licenseCode, '{licences.Licence.UNKNOWN}')"
    query = f"SELECT split, {code} AS code, count(*) AS samples FROM {table} GROUP BY ALL"
    counts = {(split, code): samples for split, code, samples in tables.fetch_rows(connection, query)}
    by_split = {
        split: {code: counts[split, code] for code in map(str, licences.Licence) if (split, code) in counts}
        for split in SPLITS
        if any(split == other for other, _ in counts)
    }
    version = "regexp_extract(coalesce(license, ''), '[1-9][.][0-9]')"
    versions = tables.fetch_rows(connection, f"SELECT DISTINCT {version} FROM {table} ORDER BY 1")
    occurrences = (
        f"SELECT datasetKey, count(*) FROM (SELECT DISTINCT datasetKey, {STEM} FROM {table} "
        "WHERE datasetKey IS NOT NULL) GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    unknown = (
        f"SELECT coalesce(license, ''), count(*) FROM {table} WHERE {code} = '{licences.Licence.UNKNOWN}' "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_UNKNOWN_TEXTS}"
    )
    return AttributionSummary(
        by_split,
        tuple(version for (version,) in versions),
        dict(tables.fetch_rows(connection, occurrences)),
        dict(tables.fetch_rows(connection, unknown)),
    )


def _write_derived_dataset(path: Path, occurrences: Mapping[str, int]) -> None:
    """Write the file that GBIF's form for derived datasets accepts: no header, and only keys of GBIF datasets."""
    rows = [(key, count) for key, count in occurrences.items() if DATASET_KEY.fullmatch(key)]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
