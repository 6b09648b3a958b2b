"""The columns of plain lines. Neighbouring columns that recur together are split once for each distinct text.

NumPy finds the separators, and Arrow copies only the columns to read: of GBIF's 240 columns a manifest has 40.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gbif_webdataset.storage import arrow

LF = ord("\n")
VARIED_SPAN, VARIED_COLUMN = 4, 16
"""A span, or a column, is varied if it has more than one distinct text for so many lines."""
Positions = np.ndarray[Any, np.dtype[np.int64]]
Columns = dict[int, pa.Array]


class SpanReader:
    """Reads columns of lines that have `fields` fields. `types` are the columns' Arrow types, by their position.

    A span is a range of neighbouring columns. Its texts contain their separators, also the one (or LF) at the end.
    """

    def __init__(self, separator: bytes, fields: int, types: Mapping[int, pa.DataType]) -> None:
        self._separator, self._fields = separator[0], fields
        self._is_recurring = {column: pa.types.is_dictionary(types[column]) for column in sorted(types)}
        self._spans = _join_neighbours({column: not recurs for column, recurs in self._is_recurring.items()})
        self._texts: list[list[pa.Array]] = [[] for _ in self._spans]

    def add(self, data: bytes, lines: int, required: int | None = None) -> bool:
        """Add lines, each ended by LF. False, and nothing is added, if one of them has a fault.

        A fault is another number of fields, a column to read that is not UTF-8, or an empty field in the column
        `required`.
        """
        ends = self._find_ends(data)
        if len(ends) != lines * self._fields:
            return False
        ends = ends.reshape(lines, self._fields)
        if (np.frombuffer(data, np.uint8)[ends[:, -1]] != LF).any():
            return False
        line_starts = np.append(0, ends[:-1, -1] + 1)

        def find_starts(column: int) -> Positions:
            return ends[:, column - 1] + 1 if column else line_starts

        if required is not None and (find_starts(required) == ends[:, required]).any():
            return False
        # The texts of the spans and those between them are one array, of which those of the spans are taken.
        bounds = [bound for span in self._spans for bound in (find_starts(span.start), ends[:, span.stop - 1] + 1)]
        offsets = np.stack(bounds, axis=1)
        texts = _make_texts(pa.binary(), offsets, data)
        numbers = np.arange(0, offsets.size, 2).reshape(lines, -1).T.ravel()
        try:
            taken = texts.take(arrow.to_array(numbers)).cast(pa.string())
        except pa.ArrowInvalid:
            return False
        for number, collected in enumerate(self._texts):
            collected.append(taken.slice(number * lines, lines))
        return True

    def take_columns(self) -> Columns:
        """The columns of the lines added since the last call, by their position. At least one line was added."""
        columns: Columns = {}
        spans: list[range] = []
        for span, collected in zip(self._spans, self._texts, strict=True):
            texts = pa.concat_arrays(collected)
            if self._is_recurring[span.start]:
                encoded = texts.dictionary_encode()
                columns |= self._split_recurring(span, encoded)
                counts = {column: len(columns[column].dictionary) for column in span}
                spans += _narrow_span(span, len(texts), len(encoded.dictionary), counts)
            else:
                columns[span.start] = self._split(texts, 1)[0]
                spans.append(span)
        self._spans, self._texts = spans, [[] for _ in spans]
        return columns

    def _split_recurring(self, span: range, texts: pa.DictionaryArray) -> Columns:
        columns: Columns = {}
        for column, values in zip(span, self._split(texts.dictionary, len(span)), strict=True):
            distinct = values.dictionary_encode()
            columns[column] = pa.DictionaryArray.from_arrays(distinct.indices.take(texts.indices), distinct.dictionary)
        return columns

    def _split(self, texts: pa.Array, width: int) -> list[pa.Array]:
        """Texts of `width` fields as columns, without the separators; empty fields are null."""
        _, offsets, data = texts.buffers()
        begin, end = np.frombuffer(offsets, np.int32)[[0, len(texts)]]
        data = data.slice(begin, end - begin)
        ends = self._find_ends(data).reshape(len(texts), width)
        starts = np.append(0, ends.ravel()[:-1] + 1).reshape(ends.shape)
        fields = _make_texts(pa.string(), np.stack([starts, ends], axis=2), data, np.repeat(ends > starts, 2))
        numbers = np.arange(0, 2 * ends.size, 2).reshape(ends.shape)
        return [fields.take(arrow.to_array(np.ascontiguousarray(numbers[:, column]))) for column in range(width)]

    def _find_ends(self, data: bytes | pa.Buffer) -> Positions:
        """Where the fields end."""
        text = np.frombuffer(data, np.uint8)
        return np.flatnonzero((text == self._separator) | (text == LF))


def _make_texts(
    kind: pa.DataType, offsets: Positions, data: bytes | pa.Buffer, is_valid: Positions | None = None
) -> pa.Array:
    """The texts between each offset and the next."""
    ends = pa.py_buffer(offsets.ravel().astype(np.int32))
    validity = None if is_valid is None else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(kind, offsets.size - 1, [validity, ends, pa.py_buffer(data)])


def _join_neighbours(is_alone: Mapping[int, bool]) -> list[range]:
    """Columns as spans. `is_alone` says for each column, in their order, whether it is a span of its own."""
    spans: list[range] = []
    for column in is_alone:
        if is_alone[column] or is_alone.get(column - 1, True):
            spans.append(range(column, column + 1))
        else:
            spans[-1] = range(spans[-1].start, column + 1)
    return spans


def _narrow_span(span: range, lines: int, texts: int, counts: Mapping[int, int]) -> list[range]:
    """The spans to use for the next lines, because a dictionary of varied texts is larger and slower than the texts.

    `texts` and `counts` are the distinct texts of the span and of its columns. Of a varied span, varied columns become
    spans of their own, at least that with the most distinct texts.
    """
    if len(span) == 1 or texts * VARIED_SPAN <= lines:
        return [span]
    limit = min(lines // VARIED_COLUMN, max(counts.values()) - 1)
    return _join_neighbours({column: count > limit for column, count in counts.items()})
