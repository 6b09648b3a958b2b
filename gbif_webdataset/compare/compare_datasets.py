"""What differs between two datasets: images added, dropped and why, with another label or in another split."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.splits import split_paths

MEMORY_LIMIT = "700MB"
ADDED, DROPPED = "added", "dropped"
SAME, LABEL, SPLIT, BOTH = "unchanged", "label", "split", "label-and-split"
ABSENT = "absent"
COLUMNS = (
    "change", "coreid", "identifier", "image_path", "old_split", "new_split", "old_label", "new_label",
    "stage", "reason",
)  # fmt: skip
NOT_IN_ARCHIVE = "not-in-archive"
# A row of each side by what it is the image of; the stage and reason are those of the side where the image is absent.
JOINED = """CREATE TABLE joined AS SELECT coalesce(o.coreid, n.coreid) AS coreid,
    coalesce(o.identifier, n.identifier) AS identifier, coalesce(n.image_path, o.image_path) AS image_path,
    o.split AS old_split, n.split AS new_split, o.label AS old_label, n.label AS new_label,
    CASE WHEN o.split IS NULL THEN 'added' WHEN n.split IS NULL THEN 'dropped'
        WHEN o.label IS DISTINCT FROM n.label AND o.split <> n.split THEN 'label-and-split'
        WHEN o.label IS DISTINCT FROM n.label THEN 'label' WHEN o.split <> n.split THEN 'split'
        ELSE 'unchanged' END AS change
    FROM old_rows o FULL JOIN new_rows n ON o.coreid = n.coreid AND o.identifier = n.identifier"""
REASONED = """CREATE TABLE changed AS SELECT j.change, j.coreid, j.identifier, j.image_path, j.old_split, j.new_split,
    j.old_label, j.new_label, coalesce(w.stage, CASE WHEN j.change IN ('added', 'dropped') THEN 'read' END) AS stage,
    coalesce(w.reason, CASE WHEN j.change IN ('added', 'dropped') THEN 'not-in-archive' END) AS reason
    FROM joined j LEFT JOIN (
        SELECT 'added' AS change, * FROM old_lost UNION ALL SELECT 'dropped', * FROM new_lost
    ) w ON w.change = j.change AND w.coreid = j.coreid AND w.identifier = j.identifier
    WHERE j.change <> 'unchanged'"""


@dataclass(frozen=True)
class Comparison:
    """Images of two datasets. `flows` counts them by (split in the old, split in the new), ABSENT where it isn't there;
    `changes` by what changed; `reasons` by (change, stage, reason), the reason why an added image was not in the old
    dataset, and why a dropped one is not in the new; `classes` by (old label, new label), of changed labels.
    """

    flows: dict[tuple[str, str], int]
    changes: dict[str, int]
    reasons: list[tuple[str, str, str, int]]
    classes: list[tuple[str, str, int]]

    def total(self, side: int) -> int:
        """The images of the old dataset (side 0) or the new one (1)."""
        return sum(count for flow, count in self.flows.items() if flow[side] != ABSENT)


def compare(old: Path, new: Path, target: Path, scratch: Path) -> Comparison:
    """Compare the datasets in the output folders `old` and `new`, and write the rows that differ to the CSV `target`.

    An image is the same where both its occurrence and its URL are. The label is what each dataset's shards were made
    with, or else its splits. Raises MissingPieceError for a folder without a dataset.
    """
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        for name, output in (("old", old), ("new", new)):
            _load(connection, name, output)
        connection.execute(JOINED)
        connection.execute("DROP TABLE old_rows; DROP TABLE new_rows")
        connection.execute(REASONED)
        flows = f"""SELECT coalesce(old_split, '{ABSENT}'), coalesce(new_split, '{ABSENT}'), count(*)
            FROM joined GROUP BY 1, 2"""
        comparison = Comparison(
            {(one, other): count for one, other, count in tables.fetch_rows(connection, flows)},
            dict(tables.fetch_rows(connection, "SELECT change, count(*) FROM joined GROUP BY 1")),
            _counted(connection, "change, stage, reason", f"change IN ('{ADDED}', '{DROPPED}')"),
            _counted(connection, "old_label, new_label", f"change IN ('{LABEL}', '{BOTH}')"),
        )
        connection.execute("DROP TABLE joined")
        _write(connection, target)
    return comparison


def label_column(output: Path) -> str:
    """The column that a dataset's labels are in. Raises MissingPieceError where there is no dataset."""
    for task, parameter in (("CreateWebDataset", "label_column"), ("SplitDataset", "category_key")):
        record = TargetRecord.load(DatasetPaths.under(output).record(task))
        if record is not None:
            return str(record.fingerprint.parameters[parameter])
    raise MissingPieceError(f"{output}: holds no dataset; give the --output of a run that came as far as its splits")


def _load(connection: duckdb.DuckDBPyConnection, name: str, output: Path) -> None:
    """Make `<name>_rows`, the images in the splits with a label, and `<name>_lost`, all others with the last reason."""
    label = label_column(output)
    columns = "coreid VARCHAR, identifier VARCHAR"
    connection.execute(f"CREATE TABLE {name}_rows ({columns}, image_path VARCHAR, split VARCHAR, label VARCHAR)")
    connection.execute(f"CREATE TABLE {name}_all (rank INT, {columns}, stage VARCHAR, reason VARCHAR)")
    for split, path in split_paths(DatasetPaths.under(output).splits).items():
        if label not in tables.read_header(path):
            raise MissingPieceError(f"{path}: has no column {label}, which its shards have labels of; run it again")
        connection.execute(
            f"INSERT INTO {name}_rows SELECT coreid, identifier, image_path, '{split}', {tables.quote_name(label)} "
            f"FROM {tables.csv_source(path)} WHERE {tables.quote_name(label)} IS NOT NULL"
        )
    for rank, query in enumerate(_lost(output)):
        connection.execute(f"INSERT INTO {name}_all SELECT {rank}, coreid, identifier, stage, reason FROM {query}")
    connection.execute(
        f"CREATE TABLE {name}_lost AS SELECT coreid, identifier, max_by(stage, rank) AS stage, "
        f"max_by(reason, rank) AS reason FROM {name}_all WHERE identifier IS NOT NULL GROUP BY ALL"
    )
    connection.execute(f"DROP TABLE {name}_all")


def _lost(output: Path) -> list[str]:
    """SQL of the images that each stage lost, in the stages' order."""
    paths = DatasetPaths.under(output)
    fetched, manifest = (sorted(folder.glob("chunk-*.parquet")) for folder in (paths.fetched, paths.manifest))
    found = []
    if paths.rejected.is_file():
        rejected = tables.parquet_source([paths.rejected])
        found.append(f"(SELECT coreid, identifier, 'read' AS stage, reason FROM {rejected})")
    if fetched and manifest:
        failed = f"SELECT image_path, error FROM {tables.parquet_source(fetched)} WHERE status = 'failed'"
        found.append(
            f"(SELECT coreid, identifier, 'fetch' AS stage, error AS reason FROM {tables.parquet_source(manifest)} "
            f"JOIN ({failed}) USING (image_path))"
        )
    if paths.clean_dropped.is_file():
        found.append(tables.parquet_source([paths.clean_dropped]))
    dropped = (paths.split_dropped, paths.shards_dropped)
    return [*found, *(tables.csv_source(path) for path in dropped if path.is_file())]


def _counted(connection: duckdb.DuckDBPyConnection, columns: str, condition: str) -> list[Any]:
    counted = f"SELECT {columns}, count(*) AS images FROM changed WHERE {condition} GROUP BY ALL"
    return tables.fetch_rows(connection, f"{counted} ORDER BY images DESC, {columns}")


def _write(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    names = ", ".join(COLUMNS)
    with atomic_file(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        query = f"SELECT {names} FROM changed ORDER BY change, coreid, identifier"
        for batch in tables.select_batches(connection, query):
            lines.writerows(_rows(batch))


def _rows(batch: pa.RecordBatch) -> Sequence[Sequence[str | None]]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
