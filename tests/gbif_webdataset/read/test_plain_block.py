import pyarrow as pa
import pytest

from gbif_webdataset.read.columns import LINE, RECORD_ID
from gbif_webdataset.read.line_blocks import LineBlock
from gbif_webdataset.read.plain_block import BlockParser, count_fields, is_wrapped
from gbif_webdataset.storage.arrow import ROW_GROUP

SCHEMA = pa.schema([(LINE, pa.int64()), (RECORD_ID, pa.string()), ("a", pa.dictionary(pa.int32(), pa.string()))])
PARSER = BlockParser("f.txt", "\t", 3, {RECORD_ID: 0, "a": 2}, SCHEMA)


def parse(data: bytes) -> tuple[list[tuple[object, ...]], list[tuple[int, str, str]]]:
    """Rows and unreadable lines of a block that starts at line 10."""
    PARSER.add(LineBlock.from_data(data), 10)
    batch = PARSER.take_batch()
    assert batch.rows.schema == SCHEMA
    rows = [tuple(row.values()) for row in batch.rows.to_pylist()]
    return rows, [tuple(line.values()) for line in batch.unreadable.to_pylist()]


def test_a_regular_block_gives_the_selected_columns_with_line_numbers() -> None:
    assert parse(b"1\tx\ta\n2\t\t\n") == ([(10, "1", "a"), (11, "2", None)], [])


def test_lines_with_faults_are_separated_from_the_rows() -> None:
    data = b"1\tx\ta\n\n2\tx\n3\tx\ty\tz\n4\tx\t\xff\n5\t\xff\tb\n\t\t\n \t \t \n"
    assert parse(data) == (
        [(10, "1", "a"), (15, "5", "b"), (17, " ", " ")],
        [
            (11, "blank-line", ""), (12, "ragged-line", "2\tx"), (13, "ragged-line", "3\tx\ty\tz"),
            (14, "invalid-text", "4\tx\ufffd".replace("x", "x\t")), (16, "blank-line", "\t\t"),
        ],
    )  # fmt: skip


def test_a_block_without_rows_has_the_schema_of_the_others() -> None:
    assert parse(b"\n\n") == ([], [(10, "blank-line", ""), (11, "blank-line", "")])
    parser = BlockParser("f.txt", "\t", 0, {RECORD_ID: 0, "a": 2}, SCHEMA)
    parser.add(LineBlock.from_data(b" \n"), 1)
    batch = parser.take_batch()
    assert (batch.rows.num_rows, batch.unreadable.num_rows) == (0, 1)


def test_a_batch_has_the_rows_of_all_blocks_since_the_last_one_and_is_full_after_many_rows() -> None:
    for line in (10, 12):
        PARSER.add(LineBlock.from_data(b"1\tx\ta\n2\tx\n"), line)
    batch = PARSER.take_batch()
    assert batch.rows.column(LINE).to_pylist() == [10, 12]
    assert batch.unreadable.column("line").to_pylist() == [11, 13]
    PARSER.add(LineBlock.from_data(b"1\tx\ta\n" * ROW_GROUP), 14)
    assert PARSER.is_full
    assert PARSER.take_batch().rows.num_rows == ROW_GROUP
    assert not PARSER.is_full
    assert PARSER.take_batch().rows.num_rows == 0


def test_dos_line_ends_are_removed_and_control_characters_become_spaces() -> None:
    assert parse(b"1\tx\ta\r\n2\tx\tb\r\n")[0] == [(10, "1", "a"), (11, "2", "b")]
    assert parse(b"1\tx\ta\0b\n2\tx\tc\rd\n")[0] == [(10, "1", "a b"), (11, "2", "c d")]


def test_a_byte_order_mark_at_the_start_of_a_later_block_is_kept() -> None:
    assert parse(b"\xef\xbb\xbf1\tx\ta\n")[0] == [(10, "\ufeff1", "a")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a\t"b ""c"" d"\n', True), (b'"a"\t"b"\r\n', True), (b"a\tb\n", True), (b'a\tb "c"\n', False),
        (b'a\t"b" c\n', False), (b'a\t"\n', False), (b'"a"\tb\n12" trap\tc\n', False),
    ],
)  # fmt: skip
def test_a_block_is_wrapped_if_every_field_with_a_quote_is_enclosed(data: bytes, expected: bool) -> None:
    assert is_wrapped(data, b"\t") == expected


def test_a_blank_line_has_no_fields() -> None:
    assert [count_fields(line, "\t") for line in (b"", b" ", b"\t", b"a", b"a\tb\t")] == [0, 0, 0, 1, 3]
