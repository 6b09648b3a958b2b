"""A dataset at a glance: what its tables, of any size, come to in a few hundred rows, and which images to show."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow.parquet as pq

from gbif_webdataset.report import facets
from gbif_webdataset.report.equal_earth import Cell, cell_of
from gbif_webdataset.report.facets import FACETS, OF_SAMPLES, Breakdown
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.splits import SPLITS, split_paths

MEMORY_LIMIT = "1GB"
MOST_LINES = 50
MOST_BALANCED = 8
PICTURED = 24  # classes
CANDIDATES = 24  # images of a class, or of a reason: some may have no file any more
OF_ANY_RANK = ("acceptedScientificName", "species", "scientificName")
NAMES = {"acceptedTaxonKey": OF_ANY_RANK, "label": OF_ANY_RANK, "taxonKey": ("scientificName",)}


@dataclass(frozen=True)
class Places:
    """The tables of a dataset and the folder of its images; `duplicates` need not exist."""

    fetched: tuple[Path, ...]
    clean: Path
    clean_dropped: Path
    duplicates: Path
    splits: Path
    shards: Path
    images: Path


class Counted(NamedTuple):
    """A class: its label, what people call it (empty where nothing tells), and its samples by split."""

    label: str
    name: str
    train: int
    val: int
    test: int
    holdout: int = 0

    @property
    def samples(self) -> int:
        """Samples of all splits."""
        return self.train + self.val + self.test + self.holdout


class Copies(NamedTuple):
    """Images that are the same, `exact`ly or `near`ly: their groups, the images in these, those that were kept."""

    kind: str
    groups: int
    images: int
    kept: int


class Failed(NamedTuple):
    """Images of a host that failed for an error; without a host, those of all others."""

    host: str
    error: str
    images: int


class Dropped(NamedTuple):
    """A reason for which images were dropped after they were fetched, and `paths` of some of them below images/."""

    stage: str
    reason: str
    images: int
    paths: tuple[str, ...]


class Leak(NamedTuple):
    """What images of a split share with train: so many of them, and their part of all; None where nothing tells."""

    shares: str
    by_split: dict[str, tuple[int | None, float | None]]


class Balanced(NamedTuple):
    """A class and its images by split; `val_off` and `test_off` are images above (or below) what was asked."""

    label: str
    images: int
    val: int
    test: int
    val_off: float
    test_off: float


@dataclass(frozen=True)
class Overview:
    """All that the page shows of the tables.

    `by` has a Breakdown for each of FACETS whose columns are there. Of the samples: `cells` of the map, `sizes` by half
    octaves of width and height, `weights` by the file's bytes, rounded down to 1, 2 or 5 and zeros. `of_classes` are
    images of the largest classes by label, `balance` has the classes furthest from the asked fractions,
    `fetched_bytes` are those of all images that came.
    """

    by: dict[str, Breakdown]
    cells: dict[Cell, int]
    sizes: dict[tuple[int, int], int]
    weights: dict[int, int]
    failures: tuple[Failed, ...]
    classes: tuple[Counted, ...]
    leakage: tuple[Leak, ...]
    balance: tuple[Balanced, ...]
    copies: tuple[Copies, ...]
    of_classes: dict[str, tuple[str, ...]]
    dropped: tuple[Dropped, ...]
    fetched_bytes: int


def look(places: Places, label_column: str, scratch: Path) -> Overview:
    """Read the tables, a few columns at a time and never as a whole.

    Images to show are those with the least hashes of their paths: the order of rows does not matter.
    """
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        _open(connection, places, label_column)
        facets.count(connection, {**FACETS, **OF_SAMPLES}, "fetched", "samples")
        there = {name for (name,) in tables.fetch_rows(connection, "SELECT DISTINCT facet FROM counted")}
        classes = tuple(classes_of(connection, places.shards / "classes.csv", label_column))
        chosen = f"min_by(image_path, md5_number_lower(image_path), {CANDIDATES})"
        return Overview(
            by={name: facets.breakdown(connection, name, of.most) for name, of in FACETS.items() if name in there},
            cells={cell_of(key): images for key, images in facets.numbers(connection, "cell").items()},
            sizes={divmod(key, 1000): images for key, images in facets.numbers(connection, "size").items()},
            weights=facets.numbers(connection, "weight"),
            failures=tuple(_failures(connection)),
            classes=classes,
            leakage=tuple(_leakage(places.splits / "leakage.csv")),
            balance=tuple(_balance(places.splits / "balance.csv")),
            copies=tuple(_copies(connection, places.duplicates)),
            of_classes=_of_classes(connection, chosen, label_column, [one.label for one in classes[:PICTURED]]),
            dropped=tuple(_dropped(connection, chosen)),
            fetched_bytes=_fetched_bytes(connection),
        )


def _open(connection: duckdb.DuckDBPyConnection, places: Places, label_column: str) -> None:
    """Make the views `fetched`, `clean`, `dropped`, and `samples`, the clean images that were dropped no later.

    `labelled` are these with the label's column.
    """
    later = [tables.csv_source(places.splits / "dropped.csv"), tables.csv_source(places.shards / "dropped.csv")]
    lost = " UNION ALL ".join(f"SELECT stage, reason, image_path FROM {source}" for source in later)
    before = f"SELECT stage, reason, image_path FROM {tables.parquet_source([places.clean_dropped])}"
    connection.execute(f"CREATE VIEW fetched AS SELECT * FROM {tables.parquet_source(places.fetched)}")
    connection.execute(f"CREATE VIEW clean AS SELECT * FROM {tables.parquet_source([places.clean])}")
    connection.execute(f"CREATE VIEW dropped AS {before} UNION ALL {lost}")
    connection.execute(f"CREATE TABLE lost AS SELECT image_path FROM ({lost})")
    is_any_lost = tables.fetch_rows(connection, "SELECT 1 FROM lost LIMIT 1")
    less = "ANTI JOIN lost USING (image_path)" if is_any_lost else ""
    connection.execute(f"CREATE VIEW samples AS SELECT clean.* FROM clean {less}")
    if label_column not in pq.read_schema(places.clean).names:  # the splits have it
        parts = map(tables.csv_source, split_paths(places.splits).values())
        label = f"SELECT image_path, {tables.quote_name(label_column)} FROM"
        labels = " UNION ALL ".join(f"{label} {part}" for part in parts)
        connection.execute(f"CREATE TABLE labels AS {labels}")
        connection.execute("CREATE VIEW labelled AS SELECT * FROM samples JOIN labels USING (image_path)")
    else:
        connection.execute("CREATE VIEW labelled AS SELECT * FROM samples")


def classes_of(connection: duckdb.DuckDBPyConnection, path: Path, label_column: str) -> list[Counted]:
    """The classes of classes.csv, the largest first, and what most of their images are called."""
    import pandas as pd  # a third of the start of every task, if it stood above

    table = pd.read_csv(path, dtype={"split": str, "label": str, "name": str}, keep_default_na=False)
    counts = table.pivot_table(index="label", columns="split", values="samples", aggfunc="sum", fill_value=0)
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    names = (
        dict(zip(table["label"], table["name"], strict=True)) if "name" in table else _names(connection, label_column)
    )
    found = (Counted(label, names.get(label, ""), *map(int, of)) for label, *of in counts.itertuples())
    return sorted(found, key=lambda one: (-one.samples, one.label))


def _names(connection: duckdb.DuckDBPyConnection, label_column: str) -> dict[str, str]:
    """What most images with a label are called in the column that goes with that of the label."""
    columns = [name for name, *_ in tables.fetch_rows(connection, "DESCRIBE labelled")]
    names = NAMES.get(label_column, (label_column.removesuffix("Key"),))
    name = next((name for name in names if name in columns and name != label_column), None)
    if name is None:
        return {}
    label, name = tables.quote_name(label_column), tables.quote_name(name)
    counted = f"""SELECT {label}::VARCHAR AS label, left({name}, 500) AS name, count(*) AS images
        FROM labelled WHERE {name} IS NOT NULL GROUP BY ALL"""
    query = f"SELECT label, arg_max(name, (images, name)) FROM ({counted}) GROUP BY label"
    return dict(tables.fetch_rows(connection, query))


def _failures(connection: duckdb.DuckDBPyConnection) -> Iterator[Failed]:
    """By host and error, the most first; those beyond MOST_LINES by error alone."""
    counted = f"""SELECT left(lower({facets.HOST}), {facets.LONGEST}) AS host, error, count(*) AS images FROM fetched
        WHERE status = 'failed' GROUP BY ALL"""
    turn = "row_number() OVER (ORDER BY images DESC, host, error)"
    shown = f"CASE WHEN turn <= {MOST_LINES} THEN host ELSE '' END AS shown"
    query = f"""SELECT {shown}, error, sum(images)::BIGINT FROM (SELECT *, {turn} AS turn FROM ({counted}))
        GROUP BY shown, error ORDER BY shown = '', 3 DESC, shown, error"""
    yield from (Failed(*row) for row in tables.fetch_rows(connection, query))


def _fetched_bytes(connection: duckdb.DuckDBPyConnection) -> int:
    query = "SELECT coalesce(sum(bytes), 0)::BIGINT FROM fetched WHERE status <> 'failed'"
    return int(tables.fetch_rows(connection, query)[0][0])


def _copies(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Copies]:
    if path.exists():
        query = f"""SELECT kind, count(DISTINCT "group"), count(*), count(*) FILTER (kept)
            FROM {tables.parquet_source([path])} GROUP BY kind ORDER BY kind"""
        yield from (Copies(*row) for row in tables.fetch_rows(connection, query))


def _of_classes(
    connection: duckdb.DuckDBPyConnection, chosen: str, label_column: str, labels: list[str]
) -> dict[str, tuple[str, ...]]:
    wanted = ", ".join(tables.quote_text(label) for label in labels)
    label = f"{tables.quote_name(label_column)}::VARCHAR"
    query = f"SELECT {label} AS label, {chosen} FROM labelled WHERE {label} IN ({wanted}) GROUP BY 1"
    found = dict(tables.fetch_rows(connection, query)) if labels else {}
    return {label: tuple(found.get(label, ())) for label in labels}


def _dropped(connection: duckdb.DuckDBPyConnection, chosen: str) -> Iterator[Dropped]:
    query = f"SELECT stage, reason, count(*) AS images, {chosen} FROM dropped GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    for stage, reason, images, paths in tables.fetch_rows(connection, query):
        yield Dropped(stage, reason, images, tuple(paths))


def _balance(path: Path) -> Iterator[Balanced]:
    """The classes that are furthest from the asked fractions."""
    with tables.open_csv(path) as lines:
        for line in islice(lines, MOST_BALANCED):
            images, val, test = (int(line[name]) for name in ("images", "val", "test"))
            yield Balanced(line["label"], images, val, test, float(line["val_off"]), float(line["test_off"]))


def _leakage(path: Path) -> list[Leak]:
    found: dict[str, Leak] = {}
    with tables.open_csv(path) as lines:
        for line in lines:
            shared = int(line["shared"]) if line["shared"] else None
            share = float(line["share"]) if line["share"] else None
            found.setdefault(line["shares"], Leak(line["shares"], {})).by_split[line["split"]] = shared, share
    return list(found.values())
