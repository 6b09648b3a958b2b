"""The columns that are read from a data file, and how their texts are stored in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import RECURRING

# Columns of this tool beside those of the archive; no column of an archive has a name with #.
RECORD_ID, LINE, FILE, HASH, SEVERAL = "#id", "#line", "#file", "#hash", "#several"
ARCHIVE, SPACE, OWNER = "#archive", "#space", "#owner"
"""Only with several archives: the number of the row's archive; that of the ids with which its id may be compared; and
that of the occurrence within a partition."""

MEDIUM_COLUMNS = {
    "mediaType": ("type",),
    "mediaFormat": ("format",),
    "mediaReferences": ("references", "furtherInformationURL"),
    "mediaCreator": ("creator",),
    "mediaPublisher": ("publisher", "providerLiteral"),
    "mediaRightsHolder": ("rightsHolder", "Owner"),
    "mediaLicense": ("license", "UsageTerms", "WebStatement", "rights"),
}
"""The terms of media extensions that give each of the manifest's columns on a medium: the first that is not empty."""
DISTINCT_COLUMNS = {
    RECORD_ID, "gbifID", "occurrenceID", "catalogNumber", "eventID", "decimalLatitude", "decimalLongitude",
    "identifier", "accessURI", "bestQualityAccessURI", "references", "furtherInformationURL", "mediaReferences",
}  # fmt: skip
"""Columns whose values differ from row to row. Values of other columns recur and are stored in dictionaries."""
SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


@dataclass(frozen=True)
class ColumnSelection:
    """The columns to read from a data file.

    Attributes:
        indexes: position in the file of each column, by name; the record's id is RECORD_ID.
        defaults: value of the columns that are empty or not in the file, by name.
    """

    indexes: Mapping[str, int]
    defaults: Mapping[str, str]

    @classmethod
    def from_layout(cls, layout: FileLayout, names: Iterable[str]) -> Self:
        """The columns with these names, as far as the layout has them."""
        columns = {name: column for name in names if (column := layout.find_column(name))}
        indexes = {name: column.index for name, column in columns.items() if column.index is not None}
        defaults = {name: column.default for name, column in columns.items() if column.default}
        return cls({RECORD_ID: layout.id_index, **indexes}, defaults)

    def add_variants(self, layout: FileLayout, names: Iterable[str]) -> Self:
        """The same columns, and further ones of these names, such as dc:rights beside dcterms:rights, as `rights#2`."""
        indexes = dict(self.indexes)
        for name in names:
            found = [column.index for column in layout.columns if column.name == name and column.index is not None]
            distinct = dict.fromkeys(found)  # a damaged descriptor may name one field thousands of times
            indexes |= {f"{name}#{number}": index for number, index in enumerate([*distinct][1:], 2)}
        return replace(self, indexes=indexes)

    def list_variants(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns with these names that are read, each followed by its variants."""
        read = [*dict.fromkeys([*self.indexes, *self.defaults])]
        return tuple(column for name in names for column in read if column.partition("#")[0] == name)

    @property
    def names(self) -> set[str]:
        """The columns that have values, in the file or by default."""
        return {*self.indexes, *self.defaults}

    @property
    def schema(self) -> pa.Schema:
        """The columns that are in the file, with their Arrow types."""
        distinct = {index for name, index in self.indexes.items() if name in DISTINCT_COLUMNS}
        return pa.schema([(n, pa.string() if index in distinct else RECURRING) for n, index in self.indexes.items()])

    def complete_rows(self, rows: pa.Table, is_wrapped: bool) -> pa.Table:
        """Rows with quotes removed from wrapped fields, empty fields null, and defaults filled in."""
        columns = {name: rows.column(name) for name in self.indexes}
        if is_wrapped and rows.num_rows:  # pyarrow combines no chunks by means of pandas
            columns = {name: _unwrap_fields(column) for name, column in columns.items()}
        for name, default in self.defaults.items():
            if name in columns:
                columns[name] = pc.fill_null(arrow.decode_dictionary(columns[name]), arrow.to_scalar(default))
            else:
                indexes = arrow.to_array(np.zeros(rows.num_rows, np.int32))
                columns[name] = pa.DictionaryArray.from_arrays(indexes, arrow.to_text_array([default]))
        typed = {
            name: cast_texts(column, pa.string() if name in DISTINCT_COLUMNS else RECURRING)
            for name, column in columns.items()
        }
        own = [name for name in (HASH, FILE, LINE, SEVERAL, SPACE) if name in rows.column_names]
        return pa.table({**{name: rows.column(name) for name in own}, **typed})


def coalesce_columns(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """For each row the value of the first of these columns that is not null."""
    present = set(rows.column_names)
    columns = [rows.column(name) for name in names if name in present]
    if not columns:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    return columns[0] if len(columns) == 1 else pc.coalesce(*map(arrow.decode_dictionary, columns))


def cast_texts(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A text column as the type `kind`: texts or a dictionary."""
    if column.type == kind:
        return column
    return arrow.decode_dictionary(column) if kind == pa.string() else column.dictionary_encode()


def trim_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts without the spaces around them. SPACES are those that DuckDB's trim removes."""
    return pc.utf8_trim(column, SPACES)


def _unwrap_fields(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fields without the quotes around them, inner quotes single, empty fields null."""
    if pa.types.is_dictionary(column.type):
        texts = column.combine_chunks()
        values = _unwrap_fields(texts.dictionary)
        if values.null_count:
            return _unwrap_fields(arrow.decode_dictionary(column))
        return pa.DictionaryArray.from_arrays(texts.indices, values)
    if not pc.any(pc.starts_with(column, '"')).as_py():
        return column
    is_wrapped = pc.fill_null(pc.match_substring_regex(column, '^"(?s:.*)"$'), arrow.to_scalar(False))
    inner = pc.replace_substring(pc.utf8_slice_codeunits(column, 1, -1), '""', '"')
    unwrapped = pc.if_else(is_wrapped, inner, column)
    null = pa.nulls(1, pa.string())[0]  # pa.scalar would import pandas
    return pc.if_else(pc.equal(unwrapped, arrow.to_scalar("")), null, unwrapped)
