"""RowReader compared with a simple, slow reading that follows the Darwin Core text guide, on random tables."""

import csv
import io
import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import line_blocks, row_reader
from gbif_webdataset.read.columns import RECORD_ID, ColumnSelection
from gbif_webdataset.read.meta_xml import Column, FileLayout
from gbif_webdataset.read.raw_lines import read_raw_lines
from gbif_webdataset.read.row_reader import RowReader

SMALL = 64
quick = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that files are cut at many places."""
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", SMALL)


@dataclass
class File:
    """A data file, its layout, and the positions of the columns to read."""

    data: bytes
    layout: FileLayout
    indexes: dict[str, int]

    def read(self) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, str]], RowReader]:
        """The rows, the unreadable lines, and the reader."""
        reader = RowReader("f.txt", self.layout, ColumnSelection(self.indexes, {}))
        batches = list(reader.read(io.BytesIO(self.data), lambda count: None))
        rows = [tuple(row.values()) for batch in batches for row in batch.rows.to_pylist()]
        return rows, [tuple(line.values()) for batch in batches for line in batch.unreadable.to_pylist()], reader

    def read_raw_lines(self, numbers: list[int]) -> list[str]:
        """The text of lines."""
        return list(read_raw_lines("f.txt", io.BytesIO(self.data), self.layout, iter(numbers)))


def make_layout(separator: str = "\t", quote: str = "", header: int = 0, encoding: str = "UTF-8") -> FileLayout:
    columns = tuple(Column(f"c{n}", n, None) for n in range(3))
    return FileLayout("type", ("f.txt",), encoding, separator, quote, header, 0, columns)


def draw_character(separator: str, enclosed: bool) -> st.SearchStrategy[str]:
    alphabet = st.one_of(
        st.sampled_from("ab01 ''\"\"éß漢😀\ufeff\x85\u2028\x0b\x0c\x1c,;|\t"),
        st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\0"),
    )
    if enclosed:
        return st.one_of(alphabet, st.sampled_from('",;|\t\n\r'))
    return alphabet.filter(lambda c: c != separator)


@st.composite
def plain_files(draw: st.DrawFn) -> tuple[File, list[str], int]:
    """A file without enclosed fields, the text of its lines, and how many of them are header lines."""
    separator = draw(st.sampled_from("\t,;|"))
    encoding, bom = draw(
        st.sampled_from([("UTF-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16", b""), ("latin-1", b"")])
    )
    width, header = draw(st.integers(2, 5)), draw(st.integers(0, 2))
    field = st.text(draw_character(separator, False), max_size=draw(st.sampled_from([3, 30, 200])))
    if encoding == "latin-1":
        field = field.map(lambda text: text.encode("latin-1", "replace").decode("latin-1"))
    good = st.lists(field, min_size=width, max_size=width).map(lambda fields: ["k" + fields[0].strip(), *fields[1:]])
    ragged = st.lists(field, min_size=1, max_size=width + 2).map(lambda fields: ["r", *fields])
    table = draw(st.lists(st.one_of(good, good, good, ragged, st.just([""]), st.just([" "])), max_size=25))
    names = [[f"c{n}" for n in range(width)]] * header
    texts = [separator.join(fields) for fields in [*names, ["k"] * width, *table]]
    kinds = draw(st.sampled_from([["\n", "\n", "\r\n"], ["\r"]]))
    ends = [draw(st.sampled_from(kinds)) for _ in texts]
    if ends and draw(st.booleans()):
        ends[-1] = ""
        texts = texts if texts[-1] else texts[:-1]  # after the last line end, an empty text is not a line
    indexes = draw(st.permutations(range(width)))[:2]
    indexes_read = {RECORD_ID: 0, **{f"c{n}": n for n in indexes}}
    data = "".join(text + end for text, end in zip(texts, ends, strict=False)).encode(encoding)
    return File(bom + data, make_layout(separator, "", header, encoding), indexes_read), texts, header


def read_simply(texts: list[str], header: int, file: File) -> tuple[list[Any], list[tuple[int, str, str]]]:
    """Rows and unreadable lines by the text guide: fields between separators, empty fields without a value."""
    rows: list[Any] = []
    unreadable = []
    width = 0
    for number, text in enumerate(texts, 1):
        fields = text.split(file.layout.separator)
        width = width or len(fields)
        if number <= header:
            continue
        if not text.strip():
            unreadable.append((number, "blank-line", text))
        elif len(fields) != width:
            unreadable.append((number, "ragged-line", text))
        else:
            rows.append((number, *(fields[index] or None for index in file.indexes.values())))
    return rows, unreadable


@quick
@given(plain_files())
def test_a_file_without_enclosed_fields_is_read_as_the_text_guide_says(drawn: tuple[File, list[str], int]) -> None:
    file, texts, header = drawn
    rows, unreadable, reader = file.read()
    assert (rows, unreadable) == read_simply(texts, header, file)
    assert reader.lines == len(rows) + len(unreadable) == len(texts) - header
    numbers = [row[0] for row in rows]
    assert file.read_raw_lines(numbers) == [texts[number - 1] for number in numbers]


@quick
@given(st.data())
def test_a_file_with_enclosed_fields_is_read_as_it_was_written(data: st.DataObject) -> None:
    separator, quote = data.draw(st.sampled_from("\t,;|")), data.draw(st.sampled_from("\"'"))
    encoding, bom = data.draw(st.sampled_from([("UTF-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16", b"")]))
    header, ends = data.draw(st.integers(0, 2)), data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    width = data.draw(st.integers(2, 4))
    field = st.text(draw_character(separator, True), max_size=40)
    row = st.lists(field, min_size=width, max_size=width).map(lambda fields: ["k" + fields[0], *fields[1:]])
    table = data.draw(st.lists(st.one_of(row, row, st.just([]), st.just(["short"])), max_size=20))
    # With QUOTE_MINIMAL the csv module would not enclose a field that has a lone CR.
    has_line_ends = any({"\r", "\n"} & set(field) for fields in table for field in fields)
    quoting = csv.QUOTE_ALL if has_line_ends else data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text, starts, texts = io.StringIO(newline=""), [], []
    writer = csv.writer(text, delimiter=separator, quotechar=quote, quoting=quoting, lineterminator=ends)
    writer.writerows([["c"] * width] * header)
    number = header + 1
    table = [["k"] * width, *table]
    for fields in table:
        before = text.tell()
        writer.writerow(fields)
        written = text.getvalue()[before:]
        starts.append(number)
        texts.append(written)
        number += len(io.StringIO(written, newline="").readlines())
    indexes_read = {RECORD_ID: 0, "c1": width - 1}
    file = File(bom + text.getvalue().encode(encoding), make_layout(separator, quote, header, encoding), indexes_read)
    rows, unreadable, reader = file.read()
    expected, bad = [], []
    for start, fields, written in zip(starts, table, texts, strict=True):
        if len(fields) == width:
            expected.append((start, fields[0] or None, fields[width - 1] or None))
        else:
            bad.append((start, "ragged-line" if fields else "blank-line", written.rstrip("\r\n")))
    assert rows == expected
    assert unreadable == bad
    assert reader.lines == len(rows) + len(unreadable)
    assert file.read_raw_lines(starts) == [written.rstrip("\r\n") for written in texts]


@quick
@given(st.data())
def test_a_file_is_wrapped_if_every_quote_is_in_a_wrapped_field(data: st.DataObject) -> None:
    wrapped = st.text('ab "', max_size=20).map(lambda text: '"' + text.replace('"', '""') + '"')
    raw = st.text('ab "', max_size=20).filter(lambda t: t.count('"') % 2 == 1 and not t.startswith('"'))
    plain = st.text("ab ", max_size=20)
    fields = data.draw(st.lists(st.one_of(wrapped, plain), min_size=2, max_size=30))
    broken = data.draw(st.booleans())
    if broken:
        fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(raw)
    ends = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = "id\ta\tb" + ends + "".join(f"k\t{a}\t{b}{ends}" for a, b in itertools.pairwise(fields))
    rows, _, reader = File(text.encode(), make_layout("\t", "", 1, "utf-8"), {RECORD_ID: 0, "a": 1, "b": 2}).read()
    assert (reader.has_quotes and not reader.has_raw_quotes) == (not broken and any('"' in field for field in fields))
    assert [(row[2] or "", row[3] or "") for row in rows] == list(itertools.pairwise(fields))


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("before", [b"", b"x\ty\tz\n" * 40])
def test_a_line_is_rejected_for_bytes_that_are_not_utf_8_only_if_its_column_is_read(quote: str, before: bytes) -> None:
    data = b"id\ta\tb\n" + before + b"1\tGozm\xe1ny\tx\n" + b"2\tx\tGozm\xe1ny\n" + b"3\tshort\n" + b"4\t\xc3\xa1\t\n"
    rows, unreadable, reader = File(data, make_layout("\t", quote, 1, "UTF-8"), {RECORD_ID: 0, "a": 1}).read()
    skipped = before.count(b"\n")
    assert [row[1:] for row in rows[skipped:]] == [("2", "x"), ("4", "á")]
    assert [(line - skipped, reason) for line, reason, _ in unreadable] == [(2, "invalid-text"), (4, "ragged-line")]
    assert reader.lines == 4 + skipped


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_first_line_that_is_not_blank_gives_the_number_of_columns(quote: str) -> None:
    for header, number in ((b"\n", 1), (b"# made by hand\n\n", 2), (b"", 0), (b"a\tb\n", 1)):
        data = header + b"\n1\t2\n\t\n3\t4\n"
        rows, unreadable, reader = File(data, make_layout("\t", quote, number, "UTF-8"), {RECORD_ID: 0, "b": 1}).read()
        assert [row[1:] for row in rows] == [("1", "2"), ("3", "4")]
        assert [reason for _, reason, _ in unreadable] == ["blank-line", "blank-line"]
        assert reader.lines == 4


def test_a_separator_in_quotes_in_the_header_starts_no_column() -> None:
    data = b'id,"name, first"\n1,a\n2,b\n'
    rows, unreadable, _ = File(data, make_layout(",", '"', 1, "UTF-8"), {RECORD_ID: 0, "name": 1}).read()
    assert [row[1:] for row in rows] == [("1", "a"), ("2", "b")]
    assert not unreadable


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_carriage_returns_end_lines_only_if_no_line_feed_is_near(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", block)
    monkeypatch.setattr(line_blocks, "MAX_LINE_BYTES", 1000)
    long = File(b"1\t" + b"a\r" * 400 + b"\n2\tb\n", make_layout(), {RECORD_ID: 0, "a": 1})
    rows, _, reader = long.read()
    assert rows == [(1, "1", "a " * 399 + "a"), (2, "2", "b")]
    assert reader.lines == 2
    mac = File(b"\xef\xbb\xbf" + b"1\ta\r" * 400 + b"\r2\tb", make_layout(), {RECORD_ID: 0, "a": 1})
    rows, unreadable, reader = mac.read()
    assert rows == [*((number, "1", "a") for number in range(1, 401)), (402, "2", "b")]
    assert unreadable == [(401, "blank-line", "")]
    assert reader.lines == 402
    assert mac.read_raw_lines([1, 401, 402]) == ["1\ta", "", "2\tb"]


def test_a_lone_carriage_return_in_a_field_is_a_space_and_ends_no_line() -> None:
    rows, unreadable, reader = File(b"1\ta\rb\n2\tc\n", make_layout(), {RECORD_ID: 0, "a": 1}).read()
    assert rows == [(1, "1", "a b"), (2, "2", "c")]
    assert not unreadable
    assert reader.lines == 2


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_file_without_a_column_that_meta_xml_names_is_an_error(quote: str) -> None:
    file = File(b"id\ta\n1\tx\n", make_layout("\t", quote, 1), {RECORD_ID: 0, "b": 2})
    with pytest.raises(ArchiveError, match=r"^f\.txt: has 2 columns, but in meta\.xml b is column 3; correct meta"):
        file.read()


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_file_with_a_million_columns_is_an_error(monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 4 << 20)
    data = b"1" + b"\t" * 1_000_000 + b"\n"
    with pytest.raises(ArchiveError, match=r"^f\.txt: has 1,000,001 columns, but this tool reads at most 10,000"):
        File(data * 2, make_layout("\t", quote, 1), {RECORD_ID: 0}).read()


def test_many_header_lines_are_skipped() -> None:
    data = b"# comment\n" * 500 + b"id\ta\n1\tx\n"
    rows, unreadable, _ = File(data, make_layout(header=501), {RECORD_ID: 0, "a": 1}).read()
    assert (rows, unreadable) == ([(502, "1", "x")], [])


def test_batches_of_a_file_with_enclosed_fields_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_reader, "BATCH_RECORDS", 5)
    monkeypatch.setattr(row_reader, "BATCH_CHARACTERS", 100)
    data = b"1\ta\n" * 7 + b"short\n" * 6 + b"2\t" + b"b" * 100 + b"\n3\tc\n"
    reader = RowReader("f.txt", make_layout("\t", '"'), ColumnSelection({RECORD_ID: 0, "a": 1}, {}))
    batches = list(reader.read(io.BytesIO(data), lambda count: None))
    assert [(batch.rows.num_rows, batch.unreadable.num_rows) for batch in batches] == [(5, 0), (2, 3), (1, 3), (1, 0)]


LINES = "1\ta\tx\n2\tb\ty\n"


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("header", "lines", "rows"),
    [
        ("id\tc1\tc2\t", LINES, ["a", "b"]),
        ("id\tc1\tc2\tc3", LINES, ["a", "b"]),
        ("id\tc1", LINES, ["a", "b"]),
        ("id", LINES, ["a", "b"]),
        ("id\tc1\tc2", LINES.replace("\n", "\t\t\n"), ["a", "b"]),
        ("id\tc1\tc2\t", LINES + "3\tc\n4\td\tz\tz\tz\n", ["a", "b"]),
        ("id\tc1\tc2", LINES + "3\tc\tz\tz\n" * 5, ["a", "b"]),
        ("id\tc1\tc2", "3\tc\tz\tz\n" * 5, []),
        ("id\tc1\tc2\tc3", "3\tc\n" * 5, []),
    ],
    ids=["separator", "named", "short", "shorter", "empty", "ragged", "confirmed", "values", "missing"],
)
def test_the_number_of_columns_follows_the_lines_if_none_agrees_with_the_header(
    header: str, lines: str, rows: list[str], quote: str
) -> None:
    file = File(f"{header}\n{lines}".encode(), make_layout("\t", quote, 1), {RECORD_ID: 0, "c1": 1})
    found, unreadable, reader = file.read()
    assert [row[2] for row in found] == rows
    assert len(found) + len(unreadable) == reader.lines == lines.count("\n")
    assert {reason for _, reason, _ in unreadable} <= {"ragged-line"}
