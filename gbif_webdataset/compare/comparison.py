"""The images that differ between two datasets: added, dropped and why, with another label or in another split."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from gbif_webdataset.compare.label_changes import (
    Labels,
    TaxonomyOptions,
    are_comparable,
    are_texts_comparable,
    explain_comparison,
    load_explained,
)
from gbif_webdataset.errors import DamagedFileError, MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.manifest_checklist import load_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.recorded_files import find_damaged_files
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.columns import COMPARISON
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.terms.splits import split_paths

MEMORY_LIMIT = "700MB"
UNCHANGED, ADDED, DROPPED, LABEL, SPLIT, BOTH = "unchanged", "added", "dropped", "label", "split", "label-and-split"
TAXONOMY, TAXONOMY_AND_SPLIT = "taxonomy", "taxonomy-and-split"
ABSENT = "absent"
NOT_IN_ARCHIVE = "not-in-archive"
COLUMNS = [column.name for column in COMPARISON]
# Whether the label of an image is the same, another one that the crosswalk explains, or another one.
LABEL_CHANGE = """CASE WHEN NOT $compared THEN 'same'
    WHEN e.old_label IS NOT NULL THEN CASE WHEN o.label = n.label THEN 'same' ELSE 'explained' END
    WHEN l.old_label IS NOT NULL OR ($texts_compared AND o.label IS DISTINCT FROM n.label) THEN 'other'
    ELSE 'same' END"""
# One row for each image of either dataset.
JOINED = f"""CREATE TABLE joined AS SELECT * EXCLUDE label_change, CASE
        WHEN old_split IS NULL THEN '{ADDED}' WHEN new_split IS NULL THEN '{DROPPED}'
        WHEN label_change = 'other' THEN CASE WHEN old_split <> new_split THEN '{BOTH}' ELSE '{LABEL}' END
        WHEN label_change = 'explained' THEN
            CASE WHEN old_split <> new_split THEN '{TAXONOMY_AND_SPLIT}' ELSE '{TAXONOMY}' END
        WHEN old_split <> new_split THEN '{SPLIT}' ELSE '{UNCHANGED}' END AS change
    FROM (SELECT coalesce(o.coreid, n.coreid) AS coreid, coalesce(o.identifier, n.identifier) AS identifier,
            coalesce(n.image_path, o.image_path) AS image_path, o.split AS old_split, n.split AS new_split,
            o.label AS old_label, n.label AS new_label, {LABEL_CHANGE} AS label_change
        FROM old_rows o FULL JOIN new_rows n ON o.coreid = n.coreid AND o.identifier = n.identifier
            LEFT JOIN explained e ON e.old_label = o.label AND e.new_label = n.label
            LEFT JOIN listed l ON l.old_label = o.label)"""
# Stage and reason are those of the dataset in which the image is absent.
CHANGED = f"""CREATE TABLE changed AS SELECT j.change, j.coreid, j.identifier, j.image_path, j.old_split, j.new_split,
    j.old_label, j.new_label,
    coalesce(d.stage, CASE WHEN j.change IN ('{ADDED}', '{DROPPED}') THEN 'read' END) AS stage,
    coalesce(d.reason, CASE WHEN j.change IN ('{ADDED}', '{DROPPED}') THEN '{NOT_IN_ARCHIVE}' END) AS reason
    FROM joined j LEFT JOIN (
        SELECT '{ADDED}' AS change, * FROM old_dropped UNION ALL SELECT '{DROPPED}', * FROM new_dropped
    ) d ON d.change = j.change AND d.coreid = j.coreid AND d.identifier = j.identifier
    WHERE j.change <> '{UNCHANGED}'"""


@dataclass(frozen=True)
class Comparison:
    """The numbers of images by what happened to them.

    flows: by (split in the old dataset, split in the new one), ABSENT if the image is not in the dataset.
    changes: by kind of change.
    reasons: (change, stage, reason, images), why added images were not in the old dataset and dropped images are not
        in the new one, the most frequent first.
    labels: (old label, new label, images) of images with another label, the most frequent first.
    explained: the same of images whose labels changed as the crosswalk says.
    note: why labels are not compared, or may mean other taxa; empty if they are compared as they are.
    """

    flows: dict[tuple[str, str], int]
    changes: dict[str, int]
    reasons: list[tuple[str, str, str, int]]
    labels: list[tuple[str | None, str | None, int]]
    explained: list[tuple[str | None, str | None, int]] = field(default_factory=list)
    note: str = ""

    def count_images(self, side: int) -> int:
        """The images of the old dataset (side 0) or the new one (side 1)."""
        return sum(images for flow, images in self.flows.items() if flow[side] != ABSENT)


def compare(old: DatasetPaths, new: DatasetPaths, options: TaxonomyOptions | None = None) -> Comparison:
    """Compare two datasets, and write the rows that differ to comparison.csv in the report of the newer one.

    Two images are the same if occurrence and URL are equal. Labels are those of the shards of a dataset, or else those
    of its splits. Keys of different checklists are compared only with a crosswalk, or if the user states that they are
    the same.

    Raises:
        MissingPieceError: a folder has no dataset, or a split or its labels are missing.
        DamagedFileError: a table that is read is damaged.
    """
    options = options or TaxonomyOptions()
    before, after = (Labels(find_label_column(paths), load_checklist(paths)) for paths in (old, new))
    with tables.open_database(new.scratch, MEMORY_LIMIT) as connection:
        for name, paths in (("old", old), ("new", new)):
            _check_tables(paths)
            _load(connection, name, paths)
        distinct = tables.fetch_rows(connection, "SELECT DISTINCT label, label IN (SELECT label FROM new_rows) FROM "
                                                 "old_rows")  # fmt: skip
        load_explained(connection, options, [label for label, _ in distinct])
        compared = are_comparable(before, after, options)
        texts_compared = are_texts_comparable(before, after, options)
        connection.execute(JOINED, {"compared": compared, "texts_compared": texts_compared})
        connection.execute("DROP TABLE old_rows; DROP TABLE new_rows")
        connection.execute(CHANGED)
        flows = f"""SELECT coalesce(old_split, '{ABSENT}'), coalesce(new_split, '{ABSENT}'), count(*)
            FROM joined GROUP BY 1, 2"""
        comparison = Comparison(
            {(split, new_split): images for split, new_split, images in tables.fetch_rows(connection, flows)},
            dict(tables.fetch_rows(connection, "SELECT change, count(*) FROM joined GROUP BY 1")),
            tables.fetch_rows(connection, _count("change, stage, reason", (ADDED, DROPPED))),
            tables.fetch_rows(connection, _count("old_label, new_label", (LABEL, BOTH))),
            tables.fetch_rows(connection, _count("old_label, new_label", (TAXONOMY, TAXONOMY_AND_SPLIT))),
            explain_comparison(before, after, options, sum(is_shared for _, is_shared in distinct), len(distinct)),
        )
        connection.execute("DROP TABLE joined")
        _write(connection, new.comparison_table)
    return comparison


def find_label_column(paths: DatasetPaths) -> str:
    """The column with the labels of a dataset.

    Raises:
        MissingPieceError: there is no dataset in this folder.
    """
    for task, parameter in (("CreateWebDataset", "label_column"), ("SplitDataset", "category_key")):
        record = TargetRecord.load(paths.record(task))
        if record is not None and parameter in record.fingerprint.parameters:
            return str(record.fingerprint.parameters[parameter])
    raise MissingPieceError(
        f"{paths.output}: there is no dataset with splits in this folder; give the --output of a finished run"
    )


def _check_tables(paths: DatasetPaths) -> None:
    """Compare the tables that are read with their records. Nothing is changed in either dataset."""
    labels = ["ReadArchive", *(path.stem for path in sorted(paths.records.glob("FetchChunk-*.json")))]
    labels += ["CleanDataset", "SplitDataset", "CreateWebDataset"]
    for record in filter(None, (TargetRecord.load(paths.record(label)) for label in labels)):
        tables_only = {name: file for name, file in record.files.items() if not name.endswith((".tar", ".idx"))}
        for _, name in find_damaged_files(paths.output, [replace(record, files=tables_only)]):
            if (paths.output / name).exists():
                raise DamagedFileError.of_table(paths.output / name)


def _load(connection: duckdb.DuckDBPyConnection, name: str, paths: DatasetPaths) -> None:
    """Create `<name>_rows`, the labelled images of the splits, and `<name>_dropped`, all others with a reason."""
    label = find_label_column(paths)
    columns = "coreid VARCHAR, identifier VARCHAR"
    connection.execute(f"CREATE TABLE {name}_rows ({columns}, image_path VARCHAR, split VARCHAR, label VARCHAR)")
    connection.execute(f"CREATE TABLE {name}_all (rank INT, {columns}, stage VARCHAR, reason VARCHAR)")
    for split, path in split_paths(paths.splits).items():
        if label not in tables.read_header(path):
            raise MissingPieceError(f"{path}: the column {label} of the labels is missing; run SplitDataset again")
        connection.execute(
            f"INSERT INTO {name}_rows SELECT coreid, identifier, image_path, '{split}', {tables.quote_name(label)} "
            f"FROM {tables.csv_source(path)} WHERE {tables.quote_name(label)} IS NOT NULL"
        )
    for rank, source in enumerate(_list_dropped(paths)):
        connection.execute(f"INSERT INTO {name}_all SELECT {rank}, coreid, identifier, stage, reason FROM {source}")
    connection.execute(
        f"CREATE TABLE {name}_dropped AS SELECT coreid, identifier, max_by(stage, rank) AS stage, "
        f"max_by(reason, rank) AS reason FROM {name}_all WHERE identifier IS NOT NULL GROUP BY ALL"
    )
    connection.execute(f"DROP TABLE {name}_all")


def _list_dropped(paths: DatasetPaths) -> Iterator[str]:
    """SQL sources of the images that each stage dropped, in the order of the stages."""
    fetched, manifest = paths.list_chunks("fetched"), paths.list_chunks("manifest")
    if paths.rejected.is_file():
        yield f"(SELECT coreid, identifier, 'read' AS stage, reason FROM {tables.parquet_source([paths.rejected])})"
    if fetched and manifest:
        failed = f"SELECT image_path, error FROM {tables.parquet_source(fetched)} WHERE status = '{Status.FAILED}'"
        yield (
            f"(SELECT coreid, identifier, 'fetch' AS stage, error AS reason FROM {tables.parquet_source(manifest)} "
            f"JOIN ({failed}) USING (image_path))"
        )
    if paths.clean_dropped.is_file():
        yield tables.parquet_source([paths.clean_dropped])
    later = (paths.split_dropped, paths.shards_dropped)
    yield from (tables.csv_source(path) for path in later if path.is_file())


def _count(columns: str, changes: tuple[str, ...]) -> str:
    """The query of the changed images by `columns`, the most frequent first."""
    is_counted = f"change IN ({', '.join(map(tables.quote_text, changes))})"
    return (
        f"SELECT {columns}, count(*) AS images FROM changed WHERE {is_counted} GROUP BY ALL "
        f"ORDER BY images DESC, {columns}"
    )


def _write(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    query = f"SELECT {', '.join(COLUMNS)} FROM changed ORDER BY change, coreid, identifier"
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for batch in tables.select_batches(connection, query):
            lines.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
