"""MakeCrosswalk: what became of each taxon of an older dataset in the taxonomy of a newer one."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from gbif_webdataset.crosswalk.link_taxa import EvidenceLimits, create_keys, link_taxa
from gbif_webdataset.crosswalk.official_table import load_official_table
from gbif_webdataset.crosswalk.read_taxa import Source, copy_occurrences, load_taxa
from gbif_webdataset.process_pool import run_in_processes
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file, temporary_folder
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind
from gbif_webdataset.terms.ranks import RANKS

COLUMNS = [column.name for column in columns.CROSSWALK]
SIDES = ("old", "new")


@dataclass(frozen=True)
class CrosswalkRequest:
    """What to compare: two datasets or archives, and the official table, if there is one."""

    old: Path
    new: Path
    table: Path | None = None
    limits: EvidenceLimits = field(default_factory=EvidenceLimits)


@dataclass(frozen=True)
class CrosswalkResources:
    """What making a crosswalk may use: a folder for temporary files, memory of DuckDB (`400MB`), and processes."""

    scratch: Path
    memory_limit: str
    workers: int
    progress: Callable[[int], None]


def make_crosswalk(request: CrosswalkRequest, output: Path, resources: CrosswalkResources) -> str:
    """Write the crosswalk to the CSV `output`; a summary of a few lines for the terminal.

    The bytes do not depend on the order of the rows of the datasets, on memory or on the number of processes.

    Raises:
        ArchiveError: an archive cannot be read.
        MissingPieceError: `old` or `new` is neither a dataset nor an archive, or has no taxon keys.
        ParameterError: the official table cannot be read.
    """
    resources.scratch.mkdir(parents=True, exist_ok=True)
    with temporary_folder(resources.scratch, "crosswalk") as folder:
        sources = [
            Source(f"--{side}", path, folder / f"{side}.parquet")
            for side, path in zip(SIDES, (request.old, request.new), strict=True)
        ]
        copied = dict(run_in_processes(copy_occurrences, sources, resources.workers, resources.progress))
        with tables.open_database(folder, resources.memory_limit) as connection:
            for side in SIDES:
                load_taxa(connection, side, copied[f"--{side}"])
                create_keys(connection, side)
            official = load_official_table(connection, request.table) if request.table else ""
            link_taxa(connection, request.limits, official)
            _write(connection, output)
            checklists = [f"  {side:<6} checklist: {copied[f'--{side}'].checklist}" for side in SIDES]
            return "\n".join([_summarize(connection, output, official), *checklists])


def _write(connection: duckdb.DuckDBPyConnection, output: Path) -> None:
    """Write `links`, highest ranks first, then by the text of the old key."""
    ranks = "[" + ", ".join(map(tables.quote_text, reversed(RANKS))) + "]"
    order = f"coalesce(list_position({ranks}, rank), {len(RANKS)} + 1), rank, old_key NULLS LAST, new_key NULLS LAST"
    with atomic_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for batch in tables.select_batches(connection, f"SELECT {', '.join(COLUMNS)} FROM links ORDER BY {order}"):
            lines.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _summarize(connection: duckdb.DuckDBPyConnection, output: Path, official: str) -> str:
    """The taxa of each kind at each rank, and the pairs of keys of the official table."""
    listed = []
    if official:
        query = f"SELECT count(*), count(old_keys.old_key) FILTER (new_keys.new_key IS NOT NULL) FROM ({official}) " \
                "LEFT JOIN old_keys USING (old_key) LEFT JOIN new_keys USING (new_key)"  # fmt: skip
        [(pairs, common)] = tables.fetch_rows(connection, query)
        listed = [f"{common:,} of {pairs:,} pairs of keys of the official table are in both datasets"]
    counts = dict(tables.fetch_rows(connection, "SELECT kind, count(DISTINCT coalesce(old_key, new_key)) FROM links "
                                    "GROUP BY kind"))  # fmt: skip
    [(shared,)] = tables.fetch_rows(connection, "SELECT coalesce(sum(occurrences), 0) FROM pairs")
    taxa = (f"  {counts[kind]:>9,} {kind}: {kind.meaning}" for kind in ChangeKind if kind in counts)
    return "\n".join(
        (*listed, f"{shared:,} occurrences are in both datasets; taxa of all ranks:", *taxa, f"  table  {output}")
    )
