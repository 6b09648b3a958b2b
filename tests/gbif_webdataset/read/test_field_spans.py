import random

import pyarrow as pa
import pytest

from gbif_webdataset.read.field_spans import SpanReader
from gbif_webdataset.storage.arrow import RECURRING

TYPES = {0: pa.string(), 2: RECURRING, 3: RECURRING, 4: RECURRING, 6: pa.string()}
FIELDS = 7


def read(reader: SpanReader) -> dict[int, list[str | None]]:
    """The columns of the lines added so far."""
    columns = reader.take_columns()
    assert {index: column.type for index, column in columns.items()} == TYPES
    for column in columns.values():
        column.validate(full=True)
    return {index: column.to_pylist() for index, column in columns.items()}


def test_columns_have_the_fields_of_all_lines_and_null_for_empty_fields() -> None:
    reader = SpanReader(b"\t", FIELDS, TYPES)
    assert reader.add(b"1\tx\ta\t\tc\t\tg\n2\tx\ta\t\tc\t\t\n", 2, required=0)
    assert reader.add("3\tx\t\t\U0001f98b é\t\ty\t\n".encode(), 1, required=0)
    assert read(reader) == {
        0: ["1", "2", "3"], 2: ["a", "a", None], 3: [None, None, "\U0001f98b é"], 4: ["c", "c", None],
        6: ["g", None, None],
    }  # fmt: skip


@pytest.mark.parametrize("separator", [",", "|", "\t", "\x01"])
def test_any_separator_of_one_byte_is_found(separator: str) -> None:
    reader = SpanReader(separator.encode(), FIELDS, TYPES)
    assert reader.add(separator.join("abcdefg\n").replace(f"{separator}\n", "\n").encode(), 1)
    assert read(reader) == {0: ["a"], 2: ["c"], 3: ["d"], 4: ["e"], 6: ["g"]}


@pytest.mark.parametrize(
    "fault",
    [
        b"2\t\t\t\t\t\n", b"2\t\t\t\t\t\t\t\n", b"2\t\t\t\t\t\n\t\t\t\t\t\t\t\n", b"\n", b"\t\t\t\t\t\t\n",
        b"2\t\ta\xff\t\t\t\t\n", b"2\t\t\xc3\t\xa9\t\t\t\n", b"2\t\t\xed\xa0\x80\t\t\t\t\n", b"2\t\t\t\t\t\t\xc3\n",
    ],
)  # fmt: skip
def test_lines_with_a_fault_add_nothing(fault: bytes) -> None:
    reader = SpanReader(b"\t", FIELDS, TYPES)
    good = b"1\t\ta\t\t\t\t\n"
    assert not reader.add(good + fault + good, 2 + fault.count(b"\n"), required=0)
    assert reader.add(good, 1, required=0)
    assert read(reader)[0] == ["1"]


def test_bytes_that_are_not_utf8_are_no_fault_in_a_column_that_is_not_read() -> None:
    reader = SpanReader(b"\t", FIELDS, TYPES)
    assert reader.add(b"1\t\xff\ta\t\t\t\xff\tg\n", 1)
    assert read(reader)[6] == ["g"]


@pytest.mark.parametrize("distinct", [1, 3, 10_000])
def test_columns_are_the_same_however_often_their_values_recur(distinct: int) -> None:
    rng = random.Random(1)
    reader = SpanReader(b"\t", FIELDS, TYPES)
    for _ in range(4):  # spans of varied columns are narrowed from batch to batch
        rows = [
            [f"{n}", *(rng.choice(["", f"{rng.randrange(distinct)}"]) for _ in range(FIELDS - 1))] for n in range(900)
        ]
        for begin in range(0, len(rows), 100):
            data = "".join("\t".join(row) + "\n" for row in rows[begin : begin + 100])
            assert reader.add(data.encode(), 100, required=0)
        assert read(reader) == {index: [row[index] or None for row in rows] for index in TYPES}
