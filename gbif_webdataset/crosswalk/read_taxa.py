"""The taxa of the occurrences of a dataset or an archive, as two tables of a database."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.read import dwca
from gbif_webdataset.read.archive_checklist import find_checklist
from gbif_webdataset.read.columns import RECORD_ID, ColumnSelection
from gbif_webdataset.read.dwca import RECORDS, Archive
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read_ahead import read_ahead
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.manifest_checklist import read_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.ranks import KEY_COLUMNS, MAIN_NAME_COLUMNS

ACCEPTED_KEYS = ("acceptedTaxonKey", "taxonKey")
ACCEPTED_NAMES = ("acceptedScientificName", "scientificName")
BATCHES_AHEAD = 1
CHECKLIST = "checklistKey"
COLUMNS = (*KEY_COLUMNS, *MAIN_NAME_COLUMNS, *ACCEPTED_KEYS, *ACCEPTED_NAMES, "taxonRank")
UNWRAP = """CREATE OR REPLACE MACRO unwrap_field(field, is_wrapped) AS CASE
    WHEN is_wrapped AND starts_with(field, '"') AND ends_with(field, '"') AND length(field) > 1
    THEN replace(field[2:-2], '""', '"') ELSE field END"""


@dataclass(frozen=True)
class Source:
    """A dataset or an archive whose taxa are read. `copy` is a Parquet file that an archive's rows are copied to."""

    option: str
    path: Path
    copy: Path

    @property
    def manifest(self) -> list[Path]:
        """The chunks of the manifest; empty for an archive."""
        return DatasetPaths.under(self.path).list_chunks("manifest") if self.path.is_dir() else []


@dataclass(frozen=True)
class OccurrenceFiles:
    """Parquet files with the occurrences of a source.

    Attributes:
        id_column: the column of the occurrences' ids.
        is_wrapped: whether fields that contain a quote are enclosed in quotes.
        defaults: values of columns where the field is empty.
        checklist: that of the taxon keys.
    """

    paths: tuple[Path, ...]
    id_column: str
    is_wrapped: bool = False
    defaults: Mapping[str, str] = field(default_factory=dict)
    checklist: Checklist = Checklist()  # noqa: RUF009 - it is immutable


def copy_occurrences(source: Source, progress: Callable[[int], None]) -> tuple[str, OccurrenceFiles]:
    """The option of the source, and the files of its manifest, or a new file with the occurrences of an archive.

    `progress` is called with the number of bytes read since the last call.

    Raises:
        ArchiveError: the archive cannot be read.
        MissingPieceError: a folder is neither a dataset nor an archive, or has no taxon keys.
    """
    if manifest := source.manifest:
        files = OccurrenceFiles(tuple(manifest), "coreid", checklist=read_checklist(manifest[0]))
        columns = set(pq.read_schema(manifest[0]).names)
    elif source.path.is_dir() and not any(source.path.rglob("meta.xml")):
        raise MissingPieceError(
            f"{source.option} {source.path}: neither a dataset with a manifest nor a Darwin Core Archive; give the "
            "--output of a run, or an archive"
        )
    else:
        with dwca.open_archive(source.path) as archive:
            files, columns = _copy_archive(archive, source.copy, progress)
    if not columns.intersection((*KEY_COLUMNS, *ACCEPTED_KEYS)):
        raise MissingPieceError(
            f"{source.option} {source.path}: it has no column of taxon keys, such as acceptedTaxonKey or speciesKey; "
            "give a dataset or an archive of GBIF"
        )
    return source.option, files


def _copy_archive(archive: Archive, copy: Path, progress: Callable[[int], None]) -> tuple[OccurrenceFiles, set[str]]:
    """Copy the ids and the columns of taxa of an archive's occurrences; the columns that have values."""
    layout = archive.layouts[RECORDS]
    selection = ColumnSelection.from_layout(layout, (*COLUMNS, CHECKLIST))
    readers = []

    def read_batches() -> Iterator[pa.RecordBatch]:
        for location in layout.locations:
            reader = RowReader(location, layout, selection)
            readers.append(reader)
            with (
                archive.open(location) as file,
                dwca.report_decoding(location, layout),
                closing(read_ahead(reader.read(file, progress), BATCHES_AHEAD)) as batches,
            ):
                for batch in batches:
                    yield from batch.rows.select(selection.schema.names).to_batches()

    arrow.write_parquet(read_batches(), copy, selection.schema)
    is_wrapped = any(reader.has_quotes for reader in readers) and not any(reader.has_raw_quotes for reader in readers)
    stated, defaults = find_checklist(archive), dict(selection.defaults)
    named = {defaults[CHECKLIST]} if CHECKLIST in defaults else set()
    if CHECKLIST in selection.schema.names:
        values = pc.unique(pq.read_table(copy, columns=[CHECKLIST]).column(CHECKLIST)).to_pylist()
        named = {value.strip('" ') for value in values if value} or named
    checklist = Checklist(named.pop(), stated.release) if len(named) == 1 else stated
    files = OccurrenceFiles((copy,), RECORD_ID, is_wrapped, defaults, checklist)
    return files, selection.names - {RECORD_ID, CHECKLIST}


def load_taxa(connection: duckdb.DuckDBPyConnection, side: str, files: OccurrenceFiles) -> None:
    """Create `<side>_taxa`, the distinct values of COLUMNS with their number `taxon`; and `<side>_occurrences`.

    The latter has the id (`coreid`) and the `taxon` of each occurrence. `side` is old or new.
    """
    connection.execute(UNWRAP)
    rows = tables.parquet_source(files.paths)
    present = tables.describe_columns(connection, f"(FROM {rows})")
    values = {name: _select_value(name, name in present, files) for name in COLUMNS}
    listed = ", ".join(f"{value} AS {tables.quote_name(name)}" for name, value in values.items())
    names = ", ".join(map(tables.quote_name, COLUMNS))
    number = f"hash({names})"
    connection.execute(f"CREATE VIEW {side}_rows AS SELECT {_select_value(files.id_column, True, files)} AS coreid, "
                       f"{listed} FROM {rows}")  # fmt: skip
    connection.execute(
        f"CREATE TABLE {side}_occurrences AS SELECT coreid, min({number}) AS taxon FROM {side}_rows "
        "WHERE coreid IS NOT NULL GROUP BY coreid"
    )
    connection.execute(f"CREATE TABLE {side}_taxa AS SELECT DISTINCT {number} AS taxon, {names} FROM {side}_rows")


def _select_value(name: str, is_present: bool, files: OccurrenceFiles) -> str:
    """The SQL of a column's value; NULL if it is empty."""
    default = tables.quote_text(files.defaults[name]) if name in files.defaults else "NULL"
    if not is_present:
        return f"{default}::VARCHAR"
    column = tables.quote_name(name)
    value = f"unwrap_field({column}, true)" if files.is_wrapped else column
    return f"coalesce(nullif(trim({value}), ''), {default})"
