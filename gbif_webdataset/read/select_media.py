"""Which media of a bucket are images to fetch, under which path; and why the others are not."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.errors import ArchiveError, SelectionError
from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import (
    HASH,
    MEDIUM_COLUMNS,
    OWN,
    PART,
    RECORD_COLUMNS,
    URLS,
    Wanted,
    first_of,
    held,
)
from gbif_webdataset.read.dwca import Archive, DataFile
from gbif_webdataset.read.row_reader import KEY, LINE
from gbif_webdataset.read.where_clause import Condition
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.storage.tables import quote_text
from gbif_webdataset.terms import licences

OURS = ("coreid", "identifier", "image_path", "licenseCode")
NO_FAULT = ""
REASONS = (
    NO_FAULT, "orphaned", "several-occurrences", "no-url", "not-http", "not-still-image", "duplicate-medium",
    "not-in-subset", "not-where", "unusable-licence", "over-cap",
)  # fmt: skip
HTTP = r"(?i)^\s*https?://[^/?#\s]"
SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
# A name that is safe as a file's on every system stays; any other keeps its letters and gains a digest of the whole.
SAFE = "[a-z0-9][a-z0-9-]{0,99}"
MADE_SAFE = f"""CREATE MACRO made_safe(name) AS CASE WHEN regexp_full_match(name, '{SAFE}') THEN name
    ELSE 'x' || regexp_replace(name[:40], '[^A-Za-z0-9]+', '-', 'g') || '~' || sha256(name)[:16] END"""
REJECTED_TABLE = """CREATE TABLE rejected
    (kind VARCHAR, part INT, line BIGINT, reason VARCHAR, coreid VARCHAR, identifier VARCHAR, raw VARCHAR)"""
# What a medium says of itself: Dublin Core's type, and a media type that is often missing or only 'jpeg'.
NOT_STILL = """(trim(type) <> ''
        AND NOT regexp_full_match(trim(type), '(?i)(.*[/:#])?(still ?image|image|photograph)')
    OR regexp_full_match(trim(format), '(?i)(audio|video|text|model|message|application)/.*')
        AND NOT lower(trim(format)) = 'application/octet-stream')"""
Rows = np.ndarray[Any, np.dtype[Any]]


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
        columns = {name: found.column(name) for name in OURS}
        for source, rows in ((self.records, found.column("record")), (self.media, found.column("medium"))):
            columns |= {name: source.column(name).take(rows) for name in source.column_names}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


@dataclass(frozen=True)
class Judged:
    """The media of a bucket: in each field one beside the other, whose it is, and why it is no image to fetch."""

    record: Rows  # its row among the records
    coreid: pa.ChunkedArray
    url: pa.ChunkedArray
    licence: pa.ChunkedArray
    nth: Rows  # of its record's images, from 0
    reason: Rows  # a number in REASONS
    repeated: Rows  # rows of records that have an earlier one's id

    @property
    def images(self) -> Rows:
        """The media that are images to fetch."""
        return np.flatnonzero(self.reason == 0)

    def bar(self, reason: str, those: Rows) -> None:
        """Tell why those are no images to fetch, as far as nothing has been told."""
        self.reason[those & (self.reason == 0)] = REASONS.index(reason)


class Judge:
    """Judges the media of an archive by a selection, bucket by bucket. Rows come in the order of their lines.

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
        connection.execute(MADE_SAFE)
        connection.execute(REJECTED_TABLE)
        connection.execute("CREATE TABLE last_taken (category VARCHAR, draw UBIGINT, coreid VARCHAR, url VARCHAR)")

    def decide(self, records: pa.Table, media: pa.Table) -> Decided:
        """The images of a bucket, in order; the other lines go to `rejected`."""
        judged = self._judged(records, media)
        if self._selection.cap:
            judged.bar("over-cap", self._over_cap(records, judged))
        barred = arrow.to_array(np.flatnonzero(judged.reason))
        reasons = arrow.to_text_array(REASONS).take(arrow.to_array(judged.reason).take(barred))
        self._reject("media", media.take(barred), reasons, judged.url.take(barred))
        if not self._of_events:
            repeated = records.take(arrow.to_array(judged.repeated))
            reasons = arrow.to_text_array(["duplicate-id"] * repeated.num_rows)
            self._reject("records", repeated, reasons, pa.nulls(repeated.num_rows, pa.string()))
        stated = {n: held(first_of(media, MEDIUM_COLUMNS[n]), self.schema.field(n).type) for n in self._stated}
        return Decided(
            self.schema, records.select(self._carried), pa.table(stated), self._found(records, media, judged)
        )

    def rank(self, buckets: Iterable[tuple[pa.Table, pa.Table]]) -> None:
        """Find the last image that the cap lets each category have, over all buckets."""
        self._connection.execute("CREATE TABLE draws AS FROM last_taken LIMIT 0")
        for records, media in buckets:
            self._draw(records, self._judged(records, media))
            self._connection.execute("INSERT INTO draws SELECT category, draw, coreid, url FROM drawn")
        self._connection.execute(
            "INSERT INTO last_taken SELECT * FROM draws QUALIFY row_number() OVER "
            f"(PARTITION BY category ORDER BY draw, coreid, url) = {self._selection.cap}"
        )
        self._connection.execute("DROP TABLE draws")

    def _judged(self, records: pa.Table, media: pa.Table) -> Judged:
        """What becomes of a bucket's media, but for the cap."""
        record_ids, coreid = trimmed(records.column(KEY)), trimmed(media.column(KEY))
        numbers, count = _numbered(pa.chunked_array([*record_ids.chunks, *coreid.chunks], pa.string()))
        of_records, of_media = np.split(numbers, [records.num_rows])
        first = _firsts(of_records, count)
        statement, licence, not_still, unusable = self._statements(media)
        url = first_of(media, self._urls)
        judged = Judged(
            record=first[of_media],
            coreid=coreid,
            url=trimmed(url),
            licence=licence.take(arrow.to_array(statement)),
            nth=np.zeros(media.num_rows, np.int64),
            reason=np.zeros(media.num_rows, np.int8),
            repeated=np.flatnonzero(first[of_records] != np.arange(records.num_rows)),
        )
        judged.bar("orphaned", (judged.record < 0) | _truths(coreid.is_null()))
        if self._of_events:
            judged.bar("several-occurrences", np.bincount(of_records, minlength=count)[of_media] > 1)
        judged.bar("no-url", ~_truths(pc.not_equal(judged.url, arrow.to_scalar(""))))
        judged.bar("not-http", ~_truths(pc.match_substring_regex(url, HTTP)))
        judged.bar("not-still-image", not_still[statement])
        _number(judged, of_media)
        for reason, chosen in self._selected(records).items():
            judged.bar(reason, ~np.append(chosen, False)[judged.record])
        judged.bar("unusable-licence", unusable[statement])
        return judged

    def _statements(self, media: pa.Table) -> tuple[Rows, pa.ChunkedArray, Rows, Rows]:
        """For each medium the number of what it says of its kind and licence; of each number the licence's code,
        whether that is no still image, and whether the licence is none of those wanted.

        Many say it in the same words, and each wording is looked at once.
        """
        columns = {"type": ("type",), "format": ("format",), "licence": MEDIUM_COLUMNS["mediaLicense"]}
        said = pa.table({name: first_of(media, terms) for name, terms in columns.items()})
        numbers, count = np.zeros(media.num_rows, np.int64), 1
        for column in said.columns:
            others, many = _numbered(column)
            numbers, count = _numbered(pa.chunked_array([arrow.to_array(numbers * many + others)]))
        self._connection.register("statements", said.take(arrow.to_array(_firsts(numbers, count)[: count - 1])))
        taken = ", ".join(quote_text(code) for code in self._selection.licenses)
        query = f"SELECT {licences.code_expression('licence')} AS code, {NOT_STILL} AS not_still FROM statements"
        judged = self._connection.sql(
            f"SELECT code, not_still, {f'code NOT IN ({taken})' if taken else 'false'} AS unusable FROM ({query})"
        ).to_arrow_table()
        return numbers, judged.column("code"), _truths(judged.column("not_still")), _truths(judged.column("unusable"))

    def _selected(self, records: pa.Table) -> dict[str, Rows]:
        """For each record whether the subset has it and whether the condition holds, by the reason where not."""
        chosen = {}
        if self._selection.subset is not None:
            keys = arrow.to_text_array(self._selection.subset)
            chosen["not-in-subset"] = _truths(pc.is_in(arrow.decode_dictionary(self._category(records)), keys))
        if self._condition is not None:
            if "coreid" not in records.column_names:
                records = records.append_column("coreid", trimmed(records.column(KEY)))
            columns = self._condition.columns
            chosen["not-where"] = _truths(self._condition.holds(records.select(columns) if columns else records))
        return chosen

    def _category(self, records: pa.Table) -> pa.ChunkedArray:
        return first_of(records, (self._selection.key,))

    def _found(self, records: pa.Table, media: pa.Table, judged: Judged) -> pa.Table:
        """The images, each with its path and with its rows among the records and the media."""
        rows, record = arrow.to_array(judged.images), arrow.to_array(judged.record[judged.images])
        datasets = arrow.decode_dictionary(first_of(records, ("datasetKey",)))
        datasets = pc.fill_null(datasets, arrow.to_scalar("no-dataset")).combine_chunks().dictionary_encode()
        folders = self._safe(datasets.dictionary).take(datasets.indices.take(record))
        nth = judged.nth[judged.images]
        ends = arrow.to_text_array([f"_{n}.jpg" if n else ".jpg" for n in range(int(nth.max(initial=0)) + 1)])
        coreid = judged.coreid.take(rows)
        found = pa.table(
            {"coreid": coreid, "identifier": judged.url.take(rows), "licenseCode": judged.licence.take(rows)}
        )
        files = [self._safe(coreid), ends.take(arrow.to_array(nth))]
        paths = pc.binary_join_element_wise(folders, arrow.to_scalar("/"), *files, arrow.to_scalar(""))
        found = found.append_column("image_path", paths)
        for name, column in {"record": record, "medium": rows, "hash": media.column(HASH).take(rows)}.items():
            found = found.append_column(name, column)
        return found.take(pc.sort_indices(found, [("hash", "ascending"), ("image_path", "ascending")]))

    def _safe(self, names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The names, those made safe that aren't."""
        if pc.all(pc.match_substring_regex(names, f"^{SAFE}$"), min_count=0).as_py():
            return names
        self._connection.register("names", pa.table({"name": names}))
        return self._connection.sql("SELECT made_safe(name) AS name FROM names").to_arrow_table().column("name")

    def _draw(self, records: pa.Table, judged: Judged) -> None:
        """Make the table `drawn` of a bucket's images, with the number that each has drawn."""
        rows, record = arrow.to_array(judged.images), arrow.to_array(judged.record[judged.images])
        columns = [rows, self._category(records).take(record), judged.coreid.take(rows), judged.url.take(rows)]
        self._connection.register("images", pa.table(columns, ["medium", "category", "coreid", "url"]))
        draw = f"md5_number_lower('{self._selection.seed}|' || coreid || '|' || url)"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE drawn AS SELECT *, {draw} AS draw FROM images")

    def _over_cap(self, records: pa.Table, judged: Judged) -> Rows:
        """For each medium whether its category has as many as the cap lets it have without it."""
        self._draw(records, judged)
        query = """SELECT medium FROM drawn d JOIN last_taken l ON l.category IS NOT DISTINCT FROM d.category
            WHERE (d.draw, d.coreid, d.url) > (l.draw, l.coreid, l.url)"""
        over = np.zeros(len(judged.reason), bool)
        over[self._connection.execute(query).fetchnumpy()["medium"]] = True
        return over

    def _reject(self, kind: str, rows: pa.Table, reasons: pa.Array, urls: pa.Array) -> None:
        columns = [rows.column(PART), rows.column(LINE), reasons, trimmed(rows.column(KEY)), urls]
        self._connection.register("barred", pa.table(columns, list("abcde")))
        self._connection.execute(f"INSERT INTO rejected SELECT '{kind}', *, NULL FROM barred")


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts without the spaces around them, of any kind that Unicode knows, as DuckDB's trim."""
    return pc.utf8_trim(column, SPACES)


def _numbered(column: pa.ChunkedArray) -> tuple[Rows, int]:
    """For each row a number, the same for the same value; and how many there may be. The last is for no value."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    count = len(encoded.dictionary)
    return np.from_dlpack(pc.fill_null(encoded.indices.cast(pa.int64()), arrow.to_scalar(count))), count + 1


def _firsts(numbers: Rows, count: int) -> Rows:
    """The first row of each number, -1 where it has none."""
    firsts = np.full(count, -1)
    firsts[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return firsts


def _truths(column: pa.ChunkedArray | pa.Array) -> Rows:
    """Truths as numpy holds them; null is none."""
    known = pc.fill_null(column, arrow.to_scalar(False)).cast(pa.uint8())
    return np.from_dlpack(known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known).astype(bool)


def _number(judged: Judged, owner: Rows) -> None:
    """Number the images of each owner by their URLs; of several with one URL all but the first are no images."""
    images = judged.images
    images = images[np.bincount(owner[images], minlength=1)[owner[images]] > 1]
    urls = pc.rank(judged.url.take(arrow.to_array(images)), tiebreaker="dense")
    order = np.lexsort((np.from_dlpack(urls), owner[images]))
    images, urls = images[order], np.from_dlpack(urls)[order]
    again = (np.diff(owner[images], prepend=-1) == 0) & (np.diff(urls.astype(np.int64), prepend=-1) == 0)
    judged.reason[images[again]] = REASONS.index("duplicate-medium")
    images = images[~again]
    begins = np.flatnonzero(np.diff(owner[images], prepend=-1))
    judged.nth[images] = np.arange(len(images)) - np.repeat(begins, np.diff(begins, append=len(images)))


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
