"""report/subset.csv: the images of each entry of the user's list of taxa at each stage."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.arrow import read_parquet_schema
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import IMAGE_STEM, SUBSET_STAGES
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.terms.splits import split_paths

COLUMNS = [column.name for column in SUBSET_STAGES]
MAX_LINES = 100  # of each kind in memory
STAGES = ("images", "fetched", "verified", "clean", "split", "samples")


@dataclass(frozen=True)
class SubsetLine:
    """A taxon of an entry: what the entry requests, the column, key and name that it matched, and its images by stage.

    `matched` is empty if nothing matched. `note` says why nothing or several taxa did.
    """

    requested: str
    matched: str
    key: str
    name: str
    images: Sequence[int]
    note: str


@dataclass
class SubsetTable:
    """The lines of report/subset.csv: how many there are, those without a sample, and the first ones of both kinds."""

    lines: int = 0
    without_samples: int = 0
    first_without: list[SubsetLine] = field(default_factory=list)
    first_with: list[SubsetLine] = field(default_factory=list)

    def add(self, line: SubsetLine) -> None:
        """Count a line."""
        self.lines += 1
        self.without_samples += not line.images[-1]
        first = self.first_with if line.images[-1] else self.first_without
        if len(first) < MAX_LINES:
            first.append(line)


def write_subset_stages(paths: DatasetPaths) -> SubsetTable | None:
    """Write report/subset.csv; a summary. None without a subset_list, or if a version before 0.5 read it.

    Raises:
        MissingPieceError: the images of the lines do not add up to those of the manifest.
    """
    paths.subset_stages.unlink(missing_ok=True)
    if not paths.subset_occurrences.is_file():
        return None
    with tables.open_database(paths.scratch) as connection:
        columns = "entry BIGINT, key VARCHAR, kingdom VARCHAR, stage VARCHAR, images BIGINT"
        connection.execute(f"CREATE TABLE counts ({columns})")
        occurrences = tables.parquet_source([paths.subset_occurrences])
        has_stems = IMAGE_STEM.name in read_parquet_schema(paths.subset_occurrences).names
        key = IMAGE_STEM.name if has_stems else "coreid"
        connection.execute(
            f"CREATE TABLE occurrences AS SELECT DISTINCT {key} AS occurrence, entry, coalesce(key, '') AS key, "
            f"coalesce(kingdom, '') AS kingdom FROM {occurrences}"
        )
        occurrence = r"regexp_replace(image_path, '(_\d+)?\.jpg$', '')" if has_stems else "coreid"
        for stage, source in _list_sources(paths):
            connection.execute(
                f"INSERT INTO counts SELECT entry, key, kingdom, '{stage}', count(*) FROM (SELECT {occurrence} AS "
                f"occurrence FROM ({source})) JOIN occurrences USING (occurrence) GROUP BY ALL"
            )
        _check_sum(connection, paths)
        return _write(connection, paths)


def _list_sources(paths: DatasetPaths) -> Iterator[tuple[str, str]]:
    """SQL of the images that are left after each stage."""
    clean = tables.parquet_source([paths.clean])
    fetched = tables.parquet_source(paths.list_chunks("fetched"))
    columns = "SELECT coreid, image_path FROM"
    yield "images", f"{columns} {tables.parquet_source(paths.list_chunks('manifest'))}"
    yield "fetched", f"{columns} {fetched} WHERE status <> '{Status.FAILED}'"
    yield "verified", f"{columns} {tables.parquet_source([paths.verified])} WHERE valid"
    yield "clean", f"{columns} {clean}"
    splits = " UNION ALL ".join(f"{columns} {tables.csv_source(path)}" for path in split_paths(paths.splits).values())
    yield "split", splits
    dropped = f"SELECT image_path FROM {tables.csv_source(paths.shards_dropped)}"
    yield "samples", f"SELECT coreid, image_path FROM ({splits}) ANTI JOIN ({dropped}) USING (image_path)"


def _check_sum(connection: duckdb.DuckDBPyConnection, paths: DatasetPaths) -> None:
    manifest = tables.parquet_source(paths.list_chunks("manifest"))
    query = f"SELECT (SELECT count(*) FROM {manifest}), (SELECT sum(images) FROM counts WHERE stage = 'images')"
    [(images, counted)] = tables.fetch_rows(connection, query)
    if images != counted:
        raise MissingPieceError(
            f"{paths.subset_stages}: not written, because the manifest has {images:,} images, but {counted or 0:,} "
            "belong to an entry of subset_list; report this as a bug"
        )


def _write(connection: duckdb.DuckDBPyConnection, paths: DatasetPaths) -> SubsetTable:
    rows_of_counts = tables.fetch_rows(connection, "SELECT entry, key, kingdom, stage, images FROM counts")
    counts = {tuple(taxon): images for *taxon, images in rows_of_counts}
    table = SubsetTable()
    with (
        atomic_file(paths.subset_stages) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
        tables.open_csv(paths.subset) as rows,
    ):
        written = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        written.writeheader()
        for row in rows:
            taxon = (int(row["entry"]), row["key"], "" if row["key"] else row["kingdom"])
            images = [counts.get((*taxon, stage), 0) for stage in STAGES]
            written.writerow(row | dict(zip(STAGES, images, strict=True)))
            table.add(SubsetLine(row["requested"], row["matched"], row["key"], row["name"], images, row["note"]))
    return table
