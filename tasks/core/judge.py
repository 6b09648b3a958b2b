"""Which media of a bucket are images to fetch, under which path; and why the others are not."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core import dwca, licences, tables
from tasks.core.conditions import Condition
from tasks.core.dwca import Archive, DataFile
from tasks.core.errors import ArchiveError, SelectionError
from tasks.core.rows import KEY, LINE
from tasks.core.tables import text

RECORD_COLUMNS = (
    "datasetKey", "occurrenceID", "basisOfRecord", "institutionCode", "catalogNumber", "recordedBy", "sex", "lifeStage",
    "eventID", "eventDate", "year", "month", "day", "countryCode", "stateProvince", "decimalLatitude",
    "decimalLongitude", "coordinateUncertaintyInMeters", "scientificName", "acceptedScientificName", "vernacularName",
    "taxonRank", "kingdom", "class", "order", "family", "genus", "species", "taxonKey", "acceptedTaxonKey", "orderKey",
    "familyKey", "genusKey", "speciesKey", "checklistKey", "license", "rightsHolder", "publisher",
)  # fmt: skip
MEDIUM_COLUMNS = {
    "mediaType": ("type",),
    "mediaFormat": ("format",),
    "mediaReferences": ("references", "furtherInformationURL"),
    "mediaCreator": ("creator",),
    "mediaPublisher": ("publisher", "providerLiteral"),
    "mediaRightsHolder": ("rightsHolder", "Owner"),
    "mediaLicense": ("license", "UsageTerms", "WebStatement", "rights"),
}
URLS = {
    dwca.AUDUBON: ("bestQualityAccessURI", "accessURI", "identifier"),
    dwca.DOCUMENT: ("accessURI", "identifier"),
}
# Columns whose values are each row's own; those of the others recur, and are held once, with a number in each row.
OWN = {
    KEY, "gbifID", "occurrenceID", "catalogNumber", "eventID", "decimalLatitude", "decimalLongitude", "identifier",
    "accessURI", "bestQualityAccessURI", "references", "furtherInformationURL",
    "mediaReferences",
}  # fmt: skip
RECURRING = pa.dictionary(pa.int32(), pa.string())
HASH, PART = "#hash", "#part"
OURS = ("coreid", "identifier", "image_path", "licenseCode")


@dataclass(frozen=True)
class Selection:
    """Which images to take. `subset` holds keys of the column `key`; `cap` is images a value of it, 0 for all.

    `licenses` are codes of licences.CODES, none for any; `where` is an SQL condition on the records' columns,
    among which `coreid` is the record's id.
    """

    key: str
    subset: tuple[str, ...] | None = None
    cap: int = 0
    seed: int = 0
    extra_columns: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True)
class Wanted:
    """The columns to read of a data file, and the defaults of those that are empty or not in it."""

    indexes: Mapping[str, int]
    defaults: Mapping[str, str]

    @classmethod
    def of(cls, layout: DataFile, names: Iterable[str]) -> "Wanted":
        """What a layout has of these terms; the record's id is KEY."""
        columns = {name: column for name in names if (column := layout.column(name))}
        indexes = {name: column.index for name, column in columns.items() if column.index is not None}
        defaults = {name: column.default for name, column in columns.items() if column.default}
        return cls({KEY: layout.key_index, **indexes}, defaults)

    @property
    def names(self) -> set[str]:
        """The terms that have a value."""
        return {*self.indexes, *self.defaults}

    @property
    def schema(self) -> pa.Schema:
        """The columns that are read, with the type that each is held in."""
        own = {index for name, index in self.indexes.items() if name in OWN}
        return pa.schema([(n, pa.string() if index in own else RECURRING) for n, index in self.indexes.items()])

    def resolve(self, rows: pa.Table, wrapped: bool) -> pa.Table:
        """The rows with wrapped fields unwrapped, empty ones null, and defaults in place."""
        columns = {name: rows.column(name) for name in self.indexes}
        if wrapped:
            columns = {name: _unwrapped(column) for name, column in columns.items()}
        for name, default in self.defaults.items():
            if name in columns:
                columns[name] = pc.fill_null(tables.plain(columns[name]), tables.texts([default])[0])
            else:
                everywhere = tables.array(np.zeros(rows.num_rows, np.int32))
                columns[name] = pa.DictionaryArray.from_arrays(everywhere, tables.texts([default]))
        columns = {name: _held(column, pa.string() if name in OWN else RECURRING) for name, column in columns.items()}
        return pa.table({**{name: rows.column(name) for name in (HASH, PART, LINE)}, **columns})


@dataclass(frozen=True)
class Decided:
    """A bucket's images, found and not yet put together: `found` is narrow, a row an image."""

    schema: pa.Schema
    records: pa.Table
    media: pa.Table
    found: pa.Table

    def slice(self, begin: int, end: int) -> "Decided":
        """Some of the images."""
        return replace(self, found=self.found.slice(begin, end - begin))

    def images(self) -> pa.Table:
        """The manifest's rows."""
        found = self.found.combine_chunks()
        columns = {"coreid": found.column("coreid"), "identifier": found.column("url")}
        columns["image_path"] = found.column("image_path")
        for source, rows in ((self.records, found.column("record")), (self.media, found.column("medium"))):
            columns |= {name: source.column(name).take(rows) for name in source.column_names}
        columns["licenseCode"] = found.column("licence")
        return pa.table(columns, schema=self.schema)


class Judge:
    """Judges the media of an archive by a selection, bucket by bucket.

    Raises SelectionError for columns that the archive lacks, ArchiveError for media without a column for a URL.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, archive: Archive, selection: Selection) -> None:
        self._connection, self._selection, self._of_events = connection, selection, archive.of_events
        self._condition = _condition(archive.records, selection)
        self.records = Wanted.of(archive.records, _record_columns(archive.records, selection, self._condition))
        urls = URLS.get(archive.media.row_type, ("identifier", "accessURI"))
        terms = [term for terms in MEDIUM_COLUMNS.values() for term in terms]
        self.media = Wanted.of(archive.media, dict.fromkeys([*urls, *terms]))
        self._urls = [name for name in urls if name in self.media.names]
        if not self._urls:
            raise ArchiveError(
                f"{archive.path}: its {archive.media.locations[0]} has no column for a URL; {dwca.GET_THE_RIGHT_ONE}"
            )
        self._carried = [n for n in (*RECORD_COLUMNS, *_asked(selection)) if n in self.records.names]
        self._carried = list(dict.fromkeys(self._carried))
        self._stated = [n for n, found in MEDIUM_COLUMNS.items() if any(term in self.media.names for term in found)]
        names = ["coreid", "identifier", "image_path", *self._carried, *self._stated, "licenseCode"]
        self.schema = pa.schema([(name, pa.string() if name in (*OURS, *OWN) else RECURRING) for name in names])
        connection.execute(SAFE)
        connection.execute(REJECTED_TABLE)
        connection.execute("CREATE TABLE last_taken (category VARCHAR, draw UBIGINT, coreid VARCHAR, url VARCHAR)")
        connection.register("subset", pa.table({"key": tables.texts(selection.subset or ())}))

    def decide(self, records: pa.Table, media: pa.Table) -> "Decided":
        """The images of a bucket, in order; the other lines go to `rejected`."""
        self._judge(records, media)
        self._connection.execute("INSERT INTO rejected " + REJECTED_MEDIA)
        if not self._of_events:
            self._connection.execute("INSERT INTO rejected " + REJECTED_RECORDS)
        found = self._connection.sql(
            "SELECT coreid, url, image_path, licence, record, medium, hash FROM judged WHERE reason IS NULL "
            "ORDER BY hash, image_path"
        ).to_arrow_table()
        self._connection.execute("DROP TABLE judged; DROP TABLE r")
        stated = {n: _held(_first_of(media, MEDIUM_COLUMNS[n]), self.schema.field(n).type) for n in self._stated}
        # Taking rows out of many small pieces is several times as slow as out of one.
        return Decided(
            self.schema, records.select(self._carried).combine_chunks(), pa.table(stated).combine_chunks(), found
        )

    def rank(self, buckets: Iterable[tuple[pa.Table, pa.Table]]) -> None:
        """Find the last image that the cap lets each category have, over all buckets."""
        self._connection.execute("CREATE TABLE draws (category VARCHAR, draw UBIGINT, coreid VARCHAR, url VARCHAR)")
        for records, media in buckets:
            self._judge(records, media)
            self._connection.execute(
                "INSERT INTO draws SELECT category, draw, coreid, url FROM judged WHERE reason IS NULL"
            )
        self._connection.execute(
            "INSERT INTO last_taken SELECT * FROM draws QUALIFY row_number() OVER "
            f"(PARTITION BY category ORDER BY draw, coreid, url) = {self._selection.cap}"
        )
        self._connection.execute("DROP TABLE draws")

    def _judge(self, records: pa.Table, media: pa.Table) -> None:
        """Make the tables `r`, `m` and `judged` of a bucket: narrow ones, a medium a row in the last."""
        self._connection.register("record_rows", self._narrow_records(records))
        self._connection.register("medium_rows", self._narrow_media(media))
        self._connection.execute(STATEMENTS.format(licence=licences.code_of("licence"), not_still=NOT_STILL))
        in_subset = "true" if self._selection.subset is None else "category IN (SELECT key FROM subset)"
        self._connection.execute(RECORDS.format(in_subset=in_subset))
        taken = ", ".join(text(code) for code in self._selection.licenses)
        unusable = f"s.code NOT IN ({taken})" if taken else "false"
        many = "r.lines > 1" if self._of_events else "false"
        draw = (
            f"md5_number_lower('{self._selection.seed}|' || coreid || '|' || url)"
            if self._selection.cap
            else "0::UBIGINT"
        )
        self._connection.execute(FOUND.format(many=many, unusable=unusable))
        self._connection.execute(JUDGED.format(draw=draw))
        self._connection.execute("DROP TABLE found")

    def _narrow_records(self, records: pa.Table) -> pa.Table:
        nothing = pa.nulls(records.num_rows, pa.string())
        category = records.column(self._selection.key) if self._selection.key in records.column_names else nothing
        holds = tables.array(np.ones(records.num_rows, bool))
        if self._condition is not None:
            if "coreid" not in records.column_names:
                records = records.append_column("coreid", pc.utf8_trim(records.column(KEY), " "))
            holds = self._condition.holds(
                records.select(self._condition.columns) if self._condition.columns else records
            )
        return pa.table(
            {
                "record": tables.array(np.arange(records.num_rows)),
                "part": records.column(PART),
                "line": records.column(LINE),
                "coreid": records.column(KEY),
                "alone": _alone(records),
                "dataset": records.column("datasetKey") if "datasetKey" in records.column_names else nothing,
                "category": category,
                "holds": holds,
            }
        )

    def _narrow_media(self, media: pa.Table) -> pa.Table:
        return pa.table(
            {
                "medium": tables.array(np.arange(media.num_rows)),
                "hash": media.column(HASH),
                "alone": _alone(media),
                "part": media.column(PART),
                "line": media.column(LINE),
                "coreid": media.column(KEY),
                "url": _first_of(media, self._urls),
                "type": _first_of(media, ("type",)),
                "format": _first_of(media, ("format",)),
                "licence": _first_of(media, MEDIUM_COLUMNS["mediaLicense"]),
            }
        )


# A name that is safe as a file's on every system stays; any other keeps its letters and gains a digest of the whole.
SAFE = """CREATE MACRO safe(name) AS CASE WHEN regexp_full_match(name, '[a-z0-9][a-z0-9-]{0,99}') THEN name
    ELSE 'x' || regexp_replace(name[:40], '[^A-Za-z0-9]+', '-', 'g') || '~' || sha256(name)[:16] END"""
REJECTED_TABLE = """CREATE TABLE rejected
    (kind VARCHAR, part INT, line BIGINT, reason VARCHAR, coreid VARCHAR, identifier VARCHAR, raw VARCHAR)"""
# What media say of themselves is said by many in the same words: each wording is looked at once.
STATEMENTS = """CREATE OR REPLACE TEMP TABLE statements AS
    SELECT *, {licence} AS code, coalesce({not_still}, false) AS not_still
    FROM (SELECT DISTINCT type, format, licence FROM medium_rows)"""
RECORDS = """CREATE OR REPLACE TEMP TABLE r AS WITH
    datasets AS (
        SELECT dataset, safe(coalesce(dataset, 'no-dataset')) AS folder
        FROM (SELECT DISTINCT dataset FROM record_rows)),
    counted AS (
        SELECT *, 1 AS number, 1 AS lines FROM record_rows WHERE alone UNION ALL
        SELECT *, row_number() OVER (PARTITION BY trim(coreid) ORDER BY part, line),
            count(*) OVER (PARTITION BY trim(coreid)) FROM record_rows WHERE NOT alone)
    SELECT record, part, line, trim(coreid) AS coreid, category, holds, folder, coalesce({in_subset}, false) AS wanted,
        number, lines FROM counted c JOIN datasets d ON d.dataset IS NOT DISTINCT FROM c.dataset"""
FOUND = """CREATE OR REPLACE TEMP TABLE found AS
    SELECT m.medium, m.hash, m.alone, m.part, m.line, trim(m.coreid) AS coreid, trim(m.url) AS url,
        s.code AS licence, {unusable} AS barred, r.record, r.folder, r.category, r.wanted, r.holds, CASE
        WHEN r.coreid IS NULL THEN 'orphaned'
        WHEN {many} THEN 'several-occurrences'
        WHEN coalesce(trim(m.url), '') = '' THEN 'no-url'
        WHEN NOT regexp_matches(m.url, '(?i)^\\s*https?://[^/?#\\s]') THEN 'not-http'
        WHEN s.not_still THEN 'not-still-image' END AS fault
    FROM medium_rows m
    JOIN statements s ON s.type IS NOT DISTINCT FROM m.type AND s.format IS NOT DISTINCT FROM m.format
        AND s.licence IS NOT DISTINCT FROM m.licence
    LEFT JOIN (SELECT * FROM r WHERE number = 1) r ON r.coreid = trim(m.coreid)"""
JUDGED = """CREATE OR REPLACE TEMP TABLE judged AS WITH
    single AS (
        SELECT *, coalesce(fault, CASE WHEN
            row_number() OVER (PARTITION BY coreid, url, fault IS NULL ORDER BY part, line) > 1
            THEN 'duplicate-medium' END) AS unusable FROM found WHERE NOT alone),
    numbered AS (
        SELECT *, fault AS unusable, 0 AS number FROM found WHERE alone UNION ALL
        SELECT *, row_number() OVER (PARTITION BY coreid, unusable IS NULL ORDER BY url) - 1 FROM single),
    counted AS (SELECT *, {draw} AS draw FROM numbered)
    SELECT c.medium, c.record, c.part, c.line, c.coreid, c.url, c.licence, c.category, c.draw, c.hash,
        c.folder || '/' || safe(c.coreid)
            || CASE WHEN c.number = 0 THEN '' ELSE '_' || c.number END || '.jpg' AS image_path,
        CASE WHEN c.unusable IS NOT NULL THEN c.unusable
            WHEN NOT c.wanted THEN 'not-in-subset'
            WHEN NOT c.holds THEN 'not-where'
            WHEN c.barred THEN 'unusable-licence'
            WHEN (c.draw, c.coreid, c.url) > (l.draw, l.coreid, l.url) THEN 'over-cap' END AS reason
    FROM counted c LEFT JOIN last_taken l ON l.category IS NOT DISTINCT FROM c.category"""
# What a medium says of itself: Dublin Core's type, and a media type that is often missing or only 'jpeg'.
NOT_STILL = """(trim(type) <> ''
        AND NOT regexp_full_match(trim(type), '(?i)(.*[/:#])?(still ?image|image|photograph)')
    OR regexp_full_match(trim(format), '(?i)(audio|video|text|model|message|application)/.*')
        AND NOT lower(trim(format)) = 'application/octet-stream')"""
REJECTED_MEDIA = "SELECT 'media', part, line, reason, coreid, url, NULL FROM judged WHERE reason IS NOT NULL"
REJECTED_RECORDS = "SELECT 'records', part, line, 'duplicate-id', coreid, NULL, NULL FROM r WHERE number > 1"


def _asked(selection: Selection) -> list[str]:
    by_key = [selection.key] if selection.subset is not None or selection.cap else []
    return [*selection.extra_columns, *by_key]


def _record_columns(layout: DataFile, selection: Selection, condition: Condition | None) -> list[str]:
    there = {column.name for column in layout.columns}
    for name in _asked(selection):
        if name not in there or name in OURS or name in MEDIUM_COLUMNS:
            near = difflib.get_close_matches(name, sorted(there), 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; its columns are the terms in meta.xml"
            raise SelectionError(f"{layout.locations[0]} has no column {name}{hint}")
    return list(dict.fromkeys([*RECORD_COLUMNS, *_asked(selection), *(condition.columns if condition else ())]))


def _condition(layout: DataFile, selection: Selection) -> Condition | None:
    if not selection.where:
        return None
    names: dict[str, str] = {}
    for column in layout.columns:
        names.setdefault(column.name.lower(), column.name)
    names.setdefault("coreid", "coreid")  # the record's id, which need not have a term
    return Condition(selection.where, tuple(names.values()))


def _alone(rows: pa.Table) -> pa.Array:
    """For each row whether no other has the same id: most do, and need no counting within it."""
    hashes = np.from_dlpack(rows.column(HASH).combine_chunks())
    order = np.argsort(hashes)
    same = np.diff(hashes[order]) == 0
    alone = np.ones(len(hashes), bool)
    alone[order[1:][same]] = alone[order[:-1][same]] = False
    return tables.array(alone)


def _first_of(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """The first of these columns that says something."""
    found = [rows.column(name) for name in names if name in rows.column_names]
    if not found:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    return found[0] if len(found) == 1 else pc.coalesce(*map(tables.plain, found))


def _held(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The same texts, held as texts or as a dictionary."""
    if column.type == kind:
        return column
    return tables.plain(column) if kind == pa.string() else column.dictionary_encode()


def _unwrapped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fields without the quotes around them, inner ones single; empty ones null."""
    if pa.types.is_dictionary(column.type):
        held = column.combine_chunks()
        values = _unwrapped(held.dictionary)
        if values.null_count:
            return _unwrapped(tables.plain(column))
        return pa.DictionaryArray.from_arrays(held.indices, values)
    if not pc.any(pc.starts_with(column, '"')).as_py():
        return column
    wrapped = pc.fill_null(pc.match_substring_regex(column, '^"(?s:.*)"$'), False)
    inner = pc.replace_substring(pc.utf8_slice_codeunits(column, 1, -1), '""', '"')
    plain = pc.if_else(wrapped, inner, column)
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)
