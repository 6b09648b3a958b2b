"""The columns of the manifest, and the columns of the archive that are read for them."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from gbif_webdataset.errors import ArchiveError, SelectionError
from gbif_webdataset.read.columns import DISTINCT_COLUMNS, MEDIUM_COLUMNS, ColumnSelection
from gbif_webdataset.read.dwca import GET_DWCA, MEDIA, RECORDS, URL_COLUMNS, Archive
from gbif_webdataset.read.event_keys import KEY
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.vernacular_names import NAME as VERNACULAR
from gbif_webdataset.read.where_clause import MEDIA_ROWS, OCCURRENCES, Subject, WhereClause
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.terms.columns import ARCHIVE, DARWIN_CORE
from gbif_webdataset.terms.ranks import NAME_COLUMNS

OWN_COLUMNS = ("coreid", "identifier", "image_path", "licenseCode")
"""The manifest's columns that this tool computes; the others are copied from records and media."""


@dataclass(frozen=True)
class ArchiveColumns:
    """Columns to read of an archive.

    Attributes:
        selections: the columns of MEDIA and RECORDS.
        url_columns: columns of the media that may hold the URL, the preferred one first.
    """

    selections: dict[str, ColumnSelection]
    url_columns: tuple[str, ...]


@dataclass(frozen=True)
class ManifestColumns:
    """Columns to read and to write. Where one of several archives lacks a column, its rows have nulls.

    Attributes:
        of_archives: the columns to read of each archive.
        where, media_where: the conditions of the user on records and media; None without one.
        licence_columns: the columns of the media that may state a licence.
        record_columns, medium_columns: the manifest's columns that are copied from records and media.
        schema: the manifest's columns with their Arrow types.
        notes: columns that the options name and that some of the archives lack.
    """

    of_archives: tuple[ArchiveColumns, ...]
    where: WhereClause | None
    media_where: WhereClause | None
    licence_columns: tuple[str, ...]
    record_columns: tuple[str, ...]
    medium_columns: tuple[str, ...]
    schema: pa.Schema
    notes: tuple[str, ...]

    @classmethod
    def from_archives(cls, archives: Sequence[Archive], options: SelectionOptions) -> Self:
        """The columns of all archives that these options need.

        Raises:
            SelectionError: no archive has a column that the options name.
            ParameterError: `where` or `media_where` is not a condition.
            ArchiveError: the media of an archive have no column for a URL.
        """
        several = (ARCHIVE.name,) if len(archives) > 1 else ()
        own = (*OWN_COLUMNS, *several)
        _check_requested([archive.records for archive in archives], options, own)
        where = media_where = None
        if options.where:
            where = _parse_where([archive.records for archive in archives], options.where, OCCURRENCES)
        if options.media_where:
            media_where = _parse_where([archive.media for archive in archives], options.media_where, MEDIA_ROWS)
        requested = [*_list_requested(options), *_list_later(options, own)]
        of_records = [*DARWIN_CORE, *requested, *(where.columns if where else ()), *_list_compared(options)]
        of_media = media_where.columns if media_where else ()
        read = tuple(_select_columns(archive, of_records, of_media) for archive in archives)
        present = {name for columns in read for name in columns.selections[RECORDS].names}
        present |= {VERNACULAR for archive in archives if archive.vernacular_names}
        copied = tuple(dict.fromkeys(name for name in (*DARWIN_CORE, *requested) if name in present))
        names_of_media = {name for columns in read for name in columns.selections[MEDIA].names}
        media = tuple(name for name, terms in MEDIUM_COLUMNS.items() if not names_of_media.isdisjoint(terms))
        names = ["coreid", "identifier", "image_path", *copied, *media, "licenseCode", *several]
        schema = pa.schema(
            [(name, pa.string() if name in (*OWN_COLUMNS, *DISTINCT_COLUMNS) else RECURRING) for name in names]
        )
        notes = _note_missing(archives, RECORDS, [*_list_requested(options), *(where.columns if where else ())])
        notes += _note_missing(archives, MEDIA, media_where.columns if media_where else ())
        return cls(read, where, media_where, _list_licence_columns(read), copied, media, schema, tuple(notes))


def _select_columns(archive: Archive, of_records: Iterable[str], of_media: Iterable[str]) -> ArchiveColumns:
    """The columns of an archive with these names, and those that every manifest needs of media."""
    records = ColumnSelection.from_layout(archive.records, dict.fromkeys(of_records))
    urls = URL_COLUMNS[archive.media.row_type]
    terms = [term for terms in MEDIUM_COLUMNS.values() for term in terms]
    media = ColumnSelection.from_layout(archive.media, dict.fromkeys([*urls, *terms, *of_media]))
    if archive.event_keys and archive.event_keys.medium != archive.media.id_index:
        media = replace(media, indexes={**media.indexes, KEY: archive.event_keys.medium})
    media = media.add_variants(archive.media, [*urls, *MEDIUM_COLUMNS["mediaLicense"]])
    url_columns = media.list_variants(urls)
    if not url_columns:
        location, preferred = archive.media.locations[0], ", ".join(urls[:2])
        raise ArchiveError(f"{archive.path}: {location} has no column for a URL ({preferred}); {GET_DWCA}")
    return ArchiveColumns({MEDIA: media, RECORDS: records}, url_columns)


def _note_missing(archives: Sequence[Archive], kind: str, names: Iterable[str]) -> list[str]:
    """A note for each archive and each of these columns of MEDIA or RECORDS that it lacks, but others have."""
    return [
        f"{archive.label}: {archive.layouts[kind].locations[0]} has no column {name}, so it is empty there"
        for archive in (archives if len(archives) > 1 else ())
        for name in dict.fromkeys(names)
        if name != "coreid" and archive.layouts[kind].find_column(name) is None
    ]


def _list_licence_columns(read: Iterable[ArchiveColumns]) -> tuple[str, ...]:
    terms = MEDIUM_COLUMNS["mediaLicense"]
    found = [name for columns in read for name in columns.selections[MEDIA].list_variants(terms)]
    return tuple(sorted(dict.fromkeys(found), key=lambda name: terms.index(name.partition("#")[0])))


def _list_requested(options: SelectionOptions) -> list[str]:
    by_category = [options.subset_key] if options.needs_category else []
    return [*options.extra_columns, *by_category]


def _list_later(options: SelectionOptions, own: Sequence[str]) -> list[str]:
    names = [*options.later_columns, *([options.subset_key] if options.subset is not None else [])]
    return [name for name in names if name not in own and name not in MEDIUM_COLUMNS]


def _list_compared(options: SelectionOptions) -> tuple[str, ...]:
    """Columns that names of the subset are compared with, beyond those of the manifest."""
    return NAME_COLUMNS if options.has_names else ()


def _check_requested(records: Sequence[FileLayout], options: SelectionOptions, own: Sequence[str]) -> None:
    """Raise SelectionError for a requested column that all archives lack, or that the manifest has by itself."""
    existing = {column.name for layout in records for column in layout.columns}
    location = records[0].locations[0]
    for name in _list_requested(options):
        parameter = "extra-columns" if name in options.extra_columns else "subset-key"
        if name in own or name in MEDIUM_COLUMNS:
            raise SelectionError(
                f"--ReadArchive-{parameter} {name}: the manifest has a column of its own with this name; choose a "
                f"column of {location}"
            )
        if name not in existing:
            similar = difflib.get_close_matches(name, sorted(existing), 3, 0.5)
            hint = f"did you mean {' or '.join(similar)}?" if similar else "meta.xml lists its columns"
            raise SelectionError(f"--ReadArchive-{parameter} {name}: {location} has no column {name}; {hint}")


def _parse_where(layouts: Sequence[FileLayout], text: str, subject: Subject) -> WhereClause:
    """The condition. Where names differ only in case, the first column counts."""
    names: dict[str, str] = {}
    for column in (column for layout in layouts for column in layout.columns):
        names.setdefault(column.name.lower(), column.name)
    if subject is OCCURRENCES:
        names.setdefault("coreid", "coreid")  # the record's id, which may have no term in meta.xml
    return WhereClause(text, tuple(names.values()), subject)
