"""The columns of a data file that are read, and how their texts are held."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.dwca import DataFile
from gbif_webdataset.read.row_reader import KEY, LINE
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import RECURRING

RECORD_COLUMNS = (
    "datasetKey", "occurrenceID", "basisOfRecord", "institutionCode", "catalogNumber", "recordedBy", "sex", "lifeStage",
    "eventID", "eventDate", "year", "month", "day", "countryCode", "stateProvince", "decimalLatitude",
    "decimalLongitude", "coordinateUncertaintyInMeters", "scientificName", "acceptedScientificName", "vernacularName",
    "taxonRank", "kingdom", "phylum", "class", "order", "family", "genus", "species", "taxonKey", "acceptedTaxonKey",
    "kingdomKey", "phylumKey", "classKey", "orderKey", "familyKey", "genusKey", "speciesKey", "checklistKey", "license",
    "rightsHolder", "publisher",
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
HASH, PART = "#hash", "#part"


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
                columns[name] = pc.fill_null(arrow.decode_dictionary(columns[name]), arrow.to_scalar(default))
            else:
                everywhere = arrow.to_array(np.zeros(rows.num_rows, np.int32))
                columns[name] = pa.DictionaryArray.from_arrays(everywhere, arrow.to_text_array([default]))
        columns = {name: held(column, pa.string() if name in OWN else RECURRING) for name, column in columns.items()}
        return pa.table({**{name: rows.column(name) for name in (HASH, PART, LINE)}, **columns})


def first_of(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """The first of these columns that says something."""
    found = [rows.column(name) for name in names if name in rows.column_names]
    if not found:
        return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])
    return found[0] if len(found) == 1 else pc.coalesce(*map(arrow.decode_dictionary, found))


def held(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The same texts, held as texts or as a dictionary."""
    if column.type == kind:
        return column
    return arrow.decode_dictionary(column) if kind == pa.string() else column.dictionary_encode()


def _unwrapped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fields without the quotes around them, inner ones single; empty ones null."""
    if pa.types.is_dictionary(column.type):
        texts = column.combine_chunks()
        values = _unwrapped(texts.dictionary)
        if values.null_count:
            return _unwrapped(arrow.decode_dictionary(column))
        return pa.DictionaryArray.from_arrays(texts.indices, values)
    if not pc.any(pc.starts_with(column, '"')).as_py():
        return column
    wrapped = pc.fill_null(pc.match_substring_regex(column, '^"(?s:.*)"$'), False)
    inner = pc.replace_substring(pc.utf8_slice_codeunits(column, 1, -1), '""', '"')
    plain = pc.if_else(wrapped, inner, column)
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)
