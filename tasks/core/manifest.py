"""The manifest: one row per photo of an archive, dealt into chunks, and every other line with its reason."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tasks.core import dwca, tables
from tasks.core.dwca import Archive, DataFile
from tasks.core.errors import ArchiveError, ParameterError, SelectionError
from tasks.core.rows import RowReader, Unreadable
from tasks.core.tables import quoted, text

OCCURRENCE_COLUMNS = (
    "datasetKey", "occurrenceID", "basisOfRecord", "institutionCode", "collectionCode", "catalogNumber",
    "recordedBy", "identifiedBy", "individualCount", "sex", "lifeStage", "eventID", "eventDate", "year", "month", "day",
    "countryCode", "stateProvince", "locality", "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters",
    "scientificName", "acceptedScientificName", "verbatimScientificName", "vernacularName", "taxonRank",
    "taxonomicStatus", "kingdom", "phylum", "class", "order", "family", "genus", "species", "taxonKey",
    "acceptedTaxonKey", "kingdomKey", "phylumKey", "classKey", "orderKey", "familyKey", "genusKey", "speciesKey",
    "iucnRedListCategory", "license", "rightsHolder", "publisher", "references", "datasetName",
)  # fmt: skip
MEDIUM_COLUMNS = ("type", "format", "references", "title", "created", "creator", "publisher", "license", "rightsHolder")
REASONS = {
    "orphaned": "whose occurrence is not in the archive",
    "no-url": "without a URL",
    "not-http": "whose URL is not http or https",
    "not-still-image": "that are no still images",
    "duplicate-medium": "that an occurrence names twice",
    "not-in-subset": "that are not in subset_list",
    "over-cap": "beyond num_images_per_category",
}
REJECTED = pa.schema(
    [("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("coreid", pa.string()),
     ("identifier", pa.string()), ("raw", pa.string())]
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which images to take. `subset` holds keys of the column `key`; `cap` is images a value of it, 0 for all."""

    key: str
    subset: tuple[str, ...] | None = None
    cap: int = 0
    seed: int = 0
    extra_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """Lines of the archive's files and what became of them; `images` by chunk, `rejected` by file and reason."""

    media_files: tuple[str, ...]
    media_lines: int
    occurrence_lines: int
    images: tuple[int, ...]
    rejected: dict[str, dict[str, int]]


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of a subset list: a JSON list, or a text with a key a line. Numbers come as they are written."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        is_json = content.lstrip().startswith(("[", "{"))
        keys = json.loads(content, parse_int=str, parse_float=str) if is_json else content.split("\n")
    except (OSError, ValueError) as error:
        raise ParameterError(f"subset_list {path} can't be read: {error}") from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ParameterError(f"subset_list {path} must be a JSON list of keys, or a text with a key a line")
    keys = sorted({key.strip() for key in keys} - {""})
    if not keys:
        raise ParameterError(f"subset_list {path} holds no key")
    return tuple(keys)


def bytes_of(archive: Path) -> int:
    """Bytes that `build` reads of an archive, inflated."""
    with dwca.opened(archive) as source:
        return _bytes_of(source)


def build(
    archive: Path,
    folder: Path,
    chunks: int,
    selection: Selection,
    scratch: Path,
    memory_limit: str,
    progress: Callable[[int, int], None],
) -> Counts:
    """Write `folder`/chunk-NNNNN.parquet, an image a row, and `folder`/rejected.parquet, every other line.

    An occurrence's images are in one chunk, chosen by its id alone; rows are sorted by `image_path`.
    Raises ArchiveError for an archive that can't be read, SelectionError where nothing is left of it.
    `progress` is told the bytes read so far and in all.
    """
    with dwca.opened(archive) as source, tables.database(scratch, memory_limit) as connection:
        reading = _Reading(source, connection, progress)
        occurrence_columns = _occurrence_columns(source.occurrence, selection)
        reading.load("medium", source.media, _media_columns(source), with_raw=True)
        reading.load("occurrence", source.occurrence, occurrence_columns, with_raw=False)
        _classify(connection, chunks, selection, occurrence_columns)
        counts = _counts(connection, reading, chunks)
        if not sum(counts.images):
            raise SelectionError(_emptied(archive, counts, selection))
        _write(connection, folder, chunks, occurrence_columns, reading)
        return counts


class _Reading:
    """Loads data files into tables of a database, and keeps count of their lines."""

    def __init__(
        self, archive: Archive, connection: duckdb.DuckDBPyConnection, progress: Callable[[int, int], None]
    ) -> None:
        self.archive, self.connection, self.progress = archive, connection, progress
        self.total = _bytes_of(archive)
        self.done = 0
        self.lines: dict[str, int] = {}
        self.unreadable: list[Unreadable] = []

    def load(self, table: str, layout: DataFile, columns: Mapping[str, str], with_raw: bool) -> None:
        """Fill `table` with `file`, `line`, `coreid`, `raw` where asked for, and the columns: name -> term."""
        found = {name: layout.column(term) for name, term in columns.items()}
        wanted = {name: column.index for name, column in found.items() if column and column.index is not None}
        wanted["coreid"] = layout.key_index
        self.lines[table] = 0
        for number, location in enumerate(layout.locations):
            reader = RowReader(location, layout, wanted, with_raw)
            with self.archive.open(location) as file:
                make = f"INSERT INTO {table}_rows" if number else f"CREATE TABLE {table}_rows AS"
                make = f"{make} SELECT {text(location)} AS file, {number} AS part, * FROM rows"
                tables.load(self.connection, make, reader.schema, reader.read(file, self._advance))
            self.lines[table] += reader.lines
            self.unreadable += reader.unreadable
        value = "unwrapped({})" if reader.wrapped else "{}"
        selected = [f"trim({value.format('coreid')}) AS coreid"]
        for name, column in found.items():
            here = value.format(quoted(name)) if name in wanted else "NULL"
            default = text(column.default) if column and column.default else "NULL"
            selected.append(f"coalesce(nullif({here}, ''), {default}) AS {quoted(name)}")
        self.connection.execute(UNWRAPPED)
        raw = "rtrim(raw, chr(10)) AS raw," if with_raw else ""
        self.connection.execute(
            f"CREATE VIEW {table} AS SELECT file, part, line, {raw} {', '.join(selected)} FROM {table}_rows"
        )

    def _advance(self, count: int) -> None:
        self.done += count
        self.progress(self.done, self.total)


def _bytes_of(archive: Archive) -> int:
    return sum(archive.size(name) for name in (*archive.occurrence.locations, *archive.media.locations))


UNWRAPPED = """CREATE OR REPLACE MACRO unwrapped(field) AS CASE
    WHEN length(field) > 1 AND starts_with(field, '"') AND ends_with(field, '"')
    THEN replace(field[2:-2], '""', '"') ELSE field END"""

# A name that is safe as a file's on every system stays; any other keeps its letters and gains a digest of the whole.
SAFE = """CREATE MACRO safe(name) AS CASE WHEN regexp_full_match(name, '[a-z0-9][a-z0-9-]{0,99}') THEN name
    ELSE 'x' || regexp_replace(name[:40], '[^A-Za-z0-9]+', '-', 'g') || '~' || sha256(name)[:16] END"""


def _media_columns(archive: Archive) -> dict[str, str]:
    urls = [name for name in ("identifier", "accessURI") if archive.media.column(name)]
    if not urls:
        raise ArchiveError(
            f"{archive.path}: its {archive.media.locations[0]} has no column for a URL; {dwca.GET_THE_RIGHT_ONE}"
        )
    names = {f"media{name[0].upper()}{name[1:]}": name for name in MEDIUM_COLUMNS if archive.media.column(name)}
    return {"identifier": urls[-1], **{"mediaType": "type", "mediaFormat": "format"}, **names}


def _occurrence_columns(layout: DataFile, selection: Selection) -> dict[str, str]:
    """Which terms of the occurrences the manifest carries."""
    there = {column.name for column in layout.columns}
    asked = [*selection.extra_columns]
    if selection.subset is not None or selection.cap:
        asked.append(selection.key)
    for name in asked:
        if name not in there:
            near = difflib.get_close_matches(name, sorted(there), 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; it names columns as meta.xml does"
            raise SelectionError(f"{layout.locations[0]} has no column {name}{hint}")
    names = dict.fromkeys([name for name in OCCURRENCE_COLUMNS if name in there] + asked)
    return {name: name for name in names}


def _classify(
    connection: duckdb.DuckDBPyConnection, chunks: int, selection: Selection, occurrence_columns: Mapping[str, str]
) -> None:
    """Give every medium its reason to be left out, or its path and chunk."""
    key = quoted(selection.key) if selection.key in occurrence_columns else "NULL"
    dataset = "datasetKey" if "datasetKey" in occurrence_columns else "NULL"
    if selection.subset is not None:
        keys = pa.table({"key": pa.array(selection.subset, pa.string())})
        connection.register("subset", keys)
    in_subset = "true" if selection.subset is None else f"coalesce(o.{key} IN (SELECT key FROM subset), false)"
    connection.execute(SAFE)
    connection.execute(f"""CREATE TABLE known AS
        SELECT coreid, any_value({dataset}) AS dataset, min(part * (1::HUGEINT << 64) + line) AS place,
               any_value({key}) AS category, bool_or({in_subset.replace("o.", "")}) AS wanted
        FROM occurrence WHERE coreid <> '' GROUP BY coreid""")
    connection.execute(f"""CREATE TABLE image AS WITH
        stated AS (
            SELECT m.file, m.part, m.line, m.coreid, trim(m.identifier) AS identifier, o.dataset, o.category, CASE
                WHEN o.coreid IS NULL THEN 'orphaned'
                WHEN coalesce(trim(m.identifier), '') = '' THEN 'no-url'
                WHEN NOT regexp_full_match(trim(m.identifier), '(?i)https?://[^/?#\\s]+.*') THEN 'not-http'
                WHEN {NOT_STILL} THEN 'not-still-image' END AS fault, o.wanted
            FROM medium m LEFT JOIN known o USING (coreid)),
        told AS (
            SELECT *, CASE WHEN fault IS NOT NULL THEN fault
                WHEN row_number() OVER (PARTITION BY coreid, identifier, fault IS NULL ORDER BY part, line) > 1
                    THEN 'duplicate-medium'
                WHEN NOT wanted THEN 'not-in-subset' END AS reason
            FROM stated),
        counted AS (
            SELECT *, row_number() OVER (PARTITION BY coreid, reason IS NULL ORDER BY identifier) - 1 AS number,
                row_number() OVER (PARTITION BY category, reason IS NULL ORDER BY
                    md5_number_lower('{selection.seed}|' || coreid || '|' || identifier), coreid, identifier) AS rank
            FROM told)
        SELECT file, part, line, coreid, identifier,
            CASE WHEN reason IS NULL AND {selection.cap} > 0 AND rank > {selection.cap} THEN 'over-cap'
                ELSE reason END AS reason,
            safe(coalesce(dataset, 'no-dataset')) || '/' || safe(coreid)
                || CASE WHEN number = 0 THEN '' ELSE '_' || number END || '.jpg' AS image_path,
            md5_number_lower(coreid) % {chunks} AS chunk
        FROM counted ORDER BY chunk, image_path""")


# What a medium says of itself: Dublin Core's type, and a media type that is often missing or only 'jpeg'.
NOT_STILL = """(m.mediaType IS NOT NULL
        AND NOT regexp_full_match(trim(m.mediaType), '(?i)(.*[/:#])?(still ?image|image|photograph)')
    OR regexp_full_match(trim(m.mediaFormat), '(?i)(audio|video|text|model|message|application)/.*')
        AND NOT lower(trim(m.mediaFormat)) = 'application/octet-stream')"""


def _counts(connection: duckdb.DuckDBPyConnection, reading: _Reading, chunks: int) -> Counts:
    rejected: dict[str, dict[str, int]] = {"occurrence": {}, "media": {}}
    locations = set(reading.archive.occurrence.locations)
    for line in reading.unreadable:
        of_kind = rejected["occurrence" if line.file in locations else "media"]
        of_kind[line.reason] = of_kind.get(line.reason, 0) + 1
    for reason, count in tables.rows(connection, "SELECT reason, count(*) FROM image GROUP BY 1 ORDER BY 1"):
        if reason:
            rejected["media"][reason] = rejected["media"].get(reason, 0) + count
    for reason, count in tables.rows(connection, f"SELECT reason, count(*) FROM ({UNUSABLE}) GROUP BY 1"):
        rejected["occurrence"][reason] = rejected["occurrence"].get(reason, 0) + count
    by_chunk = dict(tables.rows(connection, "SELECT chunk, count(*) FROM image WHERE reason IS NULL GROUP BY 1"))
    images = tuple(by_chunk.get(chunk, 0) for chunk in range(chunks))
    lines, dropped = reading.lines["medium"], sum(rejected["media"].values())
    if lines != sum(images) + dropped:
        raise ArchiveError(
            f"{reading.archive.path}: {lines} media do not add up to {sum(images)} images and {dropped} others"
        )
    return Counts(reading.archive.media.locations, lines, reading.lines["occurrence"], images, rejected)


# Occurrences that can't be used: the second line of an id, and lines without one.
UNUSABLE = """SELECT o.file, o.line,
        CASE WHEN coalesce(o.coreid, '') = '' THEN 'no-id' ELSE 'duplicate-id' END AS reason,
        o.coreid, NULL::VARCHAR AS identifier, NULL::VARCHAR AS raw
    FROM occurrence o LEFT JOIN known k ON k.coreid = o.coreid AND k.place = o.part * (1::HUGEINT << 64) + o.line
    WHERE k.coreid IS NULL"""


def _write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    chunks: int,
    occurrence_columns: Sequence[str] | Mapping[str, str],
    reading: _Reading,
) -> None:
    described = tables.rows(connection, "SELECT column_name FROM (DESCRIBE medium)")
    medium_columns = [name for (name,) in described if name.startswith("media")]
    names = ["coreid", "identifier", "image_path", *occurrence_columns, *medium_columns]
    columns = ", ".join(
        [f"i.{name}" for name in names[:3]] + [f"o.{quoted(n)}" for n in occurrence_columns]
        + [f"m.{n}" for n in medium_columns]
    )  # fmt: skip
    connection.execute(f"""CREATE TABLE manifest AS SELECT chunk, {columns}
        FROM (SELECT * FROM image WHERE reason IS NULL) i
        JOIN medium m USING (part, line) JOIN known k ON k.coreid = i.coreid
        JOIN occurrence o ON o.part * (1::HUGEINT << 64) + o.line = k.place ORDER BY chunk, image_path""")
    schema = pa.schema([(name, pa.string()) for name in names])
    for chunk in range(chunks):
        query = f"SELECT * EXCLUDE chunk FROM manifest WHERE chunk = {chunk} ORDER BY image_path"
        tables.write_parquet(tables.select(connection, query), folder / f"chunk-{chunk:05d}.parquet", schema)
    unreadable = pa.table(
        {
            "file": pa.array([line.file for line in reading.unreadable], pa.string()),
            "line": pa.array([line.line for line in reading.unreadable], pa.int64()),
            "reason": pa.array([line.reason for line in reading.unreadable], pa.string()),
            "raw": pa.array([line.raw for line in reading.unreadable], pa.string()),
        }
    )
    connection.register("unreadable", unreadable)
    query = f"""SELECT * FROM (
            SELECT i.file, i.line, i.reason, i.coreid, i.identifier, m.raw FROM image i JOIN medium m USING (part, line)
            WHERE i.reason IS NOT NULL
            UNION ALL SELECT file, line, reason, NULL, NULL, raw FROM unreadable
            UNION ALL {UNUSABLE}) ORDER BY file, line"""
    tables.write_parquet(tables.select(connection, query), folder / "rejected.parquet", REJECTED)


def _emptied(archive: Path, counts: Counts, selection: Selection) -> str:
    """Which filter left nothing of the archive, in one sentence."""
    media = counts.rejected["media"]
    lines = f"{archive}: none of its {counts.media_lines:,} media is left"
    if not counts.media_lines:
        return f"{archive}: its media file is empty; {dwca.GET_THE_RIGHT_ONE}"
    if media.get("not-in-subset"):
        return (
            f"{lines}: subset_list holds {len(selection.subset or ()):,} keys, and no image's {selection.key} is among "
            f"them ({media['not-in-subset']:,} images); check subset_list and subset_key"
        )
    reasons = ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in sorted(media.items()))
    return f"{lines}: {reasons}; {dwca.GET_THE_RIGHT_ONE}"
