"""The columns of the manifest, and the columns of the archive that are read for them."""

import difflib
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
from gbif_webdataset.terms.columns import DARWIN_CORE
from gbif_webdataset.terms.ranks import NAME_COLUMNS

OWN_COLUMNS = ("coreid", "identifier", "image_path", "licenseCode")
"""The manifest's columns that this tool computes; the others are copied from records and media."""


@dataclass(frozen=True)
class ManifestColumns:
    """Columns to read and to write.

    Attributes:
        selections: the columns to read of MEDIA and RECORDS.
        where, media_where: the conditions of the user on records and media; None without one.
        url_columns: columns of the media that may hold the URL, the preferred one first.
        record_columns, medium_columns: the manifest's columns that are copied from records and media.
        schema: the manifest's columns with their Arrow types.
    """

    selections: dict[str, ColumnSelection]
    where: WhereClause | None
    media_where: WhereClause | None
    url_columns: tuple[str, ...]
    record_columns: tuple[str, ...]
    medium_columns: tuple[str, ...]
    schema: pa.Schema

    @property
    def licence_columns(self) -> tuple[str, ...]:
        """The columns of the media that may state a licence."""
        return self.selections[MEDIA].list_variants(MEDIUM_COLUMNS["mediaLicense"])

    @classmethod
    def from_archive(cls, archive: Archive, options: SelectionOptions) -> Self:
        """The columns of an archive that these options need.

        Raises:
            SelectionError: the archive lacks a column that the options name.
            ParameterError: `where` or `media_where` is not a condition.
            ArchiveError: the media have no column for a URL.
        """
        _check_requested(archive.records, options)
        where = _parse_where(archive.records, options.where, OCCURRENCES) if options.where else None
        requested = [*_list_requested(options), *_list_later(options)]
        records = ColumnSelection.from_layout(
            archive.records,
            dict.fromkeys([*DARWIN_CORE, *requested, *(where.columns if where else ()), *_list_compared(options)]),
        )
        media_where = _parse_where(archive.media, options.media_where, MEDIA_ROWS) if options.media_where else None
        urls = URL_COLUMNS[archive.media.row_type]
        terms = [term for terms in MEDIUM_COLUMNS.values() for term in terms]
        media = ColumnSelection.from_layout(
            archive.media, dict.fromkeys([*urls, *terms, *(media_where.columns if media_where else ())])
        )
        if archive.event_keys and archive.event_keys.medium != archive.media.id_index:
            media = replace(media, indexes={**media.indexes, KEY: archive.event_keys.medium})
        media = media.add_variants(archive.media, [*urls, *MEDIUM_COLUMNS["mediaLicense"]])
        url_columns = media.list_variants(urls)
        if not url_columns:
            location, preferred = archive.media.locations[0], ", ".join(urls[:2])
            raise ArchiveError(f"{archive.path}: {location} has no column for a URL ({preferred}); {GET_DWCA}")
        present = records.names | ({VERNACULAR} if archive.vernacular_names else set())
        copied = dict.fromkeys(name for name in (*DARWIN_CORE, *requested) if name in present)
        of_media = [name for name, terms in MEDIUM_COLUMNS.items() if any(term in media.names for term in terms)]
        names = ["coreid", "identifier", "image_path", *copied, *of_media, "licenseCode"]
        schema = pa.schema(
            [(name, pa.string() if name in (*OWN_COLUMNS, *DISTINCT_COLUMNS) else RECURRING) for name in names]
        )
        selections = {MEDIA: media, RECORDS: records}
        return cls(selections, where, media_where, url_columns, tuple(copied), tuple(of_media), schema)


def _list_requested(options: SelectionOptions) -> list[str]:
    by_category = [options.subset_key] if options.needs_category else []
    return [*options.extra_columns, *by_category]


def _list_later(options: SelectionOptions) -> list[str]:
    names = [*options.later_columns, *([options.subset_key] if options.subset is not None else [])]
    return [name for name in names if name not in OWN_COLUMNS and name not in MEDIUM_COLUMNS]


def _list_compared(options: SelectionOptions) -> tuple[str, ...]:
    """Columns that names of the subset are compared with, beyond those of the manifest."""
    return NAME_COLUMNS if options.has_names else ()


def _check_requested(records: FileLayout, options: SelectionOptions) -> None:
    """Raise SelectionError for a requested column that the records lack, or that the manifest has by itself."""
    existing = {column.name for column in records.columns}
    for name in _list_requested(options):
        parameter = "extra-columns" if name in options.extra_columns else "subset-key"
        if name in OWN_COLUMNS or name in MEDIUM_COLUMNS:
            raise SelectionError(
                f"--ReadArchive-{parameter} {name}: the manifest has a column of its own with this name; choose a "
                f"column of {records.locations[0]}"
            )
        if name not in existing:
            similar = difflib.get_close_matches(name, sorted(existing), 3, 0.5)
            hint = f"did you mean {' or '.join(similar)}?" if similar else "meta.xml lists its columns"
            raise SelectionError(
                f"--ReadArchive-{parameter} {name}: {records.locations[0]} has no column {name}; {hint}"
            )


def _parse_where(layout: FileLayout, text: str, subject: Subject) -> WhereClause:
    """The condition. Where names differ only in case, the first column counts."""
    names: dict[str, str] = {}
    for column in layout.columns:
        names.setdefault(column.name.lower(), column.name)
    if subject is OCCURRENCES:
        names.setdefault("coreid", "coreid")  # the record's id, which may have no term in meta.xml
    return WhereClause(text, tuple(names.values()), subject)
