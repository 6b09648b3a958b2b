import io

import pytest

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import enclosed_records
from gbif_webdataset.read.enclosed_records import EnclosedFile
from gbif_webdataset.read.meta_xml import FileLayout


def open_file(data: bytes, header_lines: int = 0, counts: list[int] | None = None) -> EnclosedFile:
    layout = FileLayout("type", ("f.txt",), "UTF-8", ",", '"', header_lines, 0, ())
    return EnclosedFile("f.txt", io.BytesIO(data), layout, (counts if counts is not None else []).append)


def test_records_have_their_first_line_text_and_fields() -> None:
    data = b'1,"a\nb"\n2,"say ""c"""\r\n\n3,d'
    assert [tuple(record) for record in open_file(data).read_records()] == [
        (1, '1,"a\nb"', ["1", "a\nb"]), (3, '2,"say ""c"""', ["2", 'say "c"']), (4, "", []), (5, "3,d", ["3", "d"]),
    ]  # fmt: skip


def test_quotes_in_the_header_need_not_be_balanced() -> None:
    file = open_file(b'# comment\nid,"size in"" or cm"",x"\n1,a\n', header_lines=2)
    assert [record.line for record in file.read_records()] == [3]
    assert file.header == 'id,"size in"" or cm"",x"\n'


@pytest.mark.parametrize(
    ("header", "fields"), [(b'id,"a, b"\n', 2), (b'id,12" trap,b\n', 3), (b"\n", 0), (b" \n", 0), (b"id\n", 1)]
)
def test_the_fields_of_the_header_are_counted(header: bytes, fields: int) -> None:
    file = open_file(header + b"1\n", header_lines=1)
    assert len(list(file.read_records())) == 1
    assert file.count_header_fields() == fields


def test_a_byte_order_mark_is_not_part_of_the_first_record() -> None:
    [record] = open_file(b"\xef\xbb\xbf1,a\n").read_records()
    assert (record.raw, record.fields) == ("1,a", ["1", "a"])


def test_all_characters_are_reported_as_progress() -> None:
    counts: list[int] = []
    data = b"1,a\n" * 1_000_000
    assert sum(1 for _ in open_file(data, counts=counts).read_records()) == 1_000_000
    assert sum(counts) == len(data)
    assert len(counts) > 2


def test_a_quote_that_is_never_closed_is_an_error_before_the_end_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosed_records, "MAX_LINE_BYTES", 1 << 20)
    data = b'1,"' + b"a line\n" * 200_000
    counts: list[int] = []
    with pytest.raises(
        ArchiveError, match=r"^f\.txt: a record is longer than 1 MiB; correct the file, or inform the publisher"
    ):
        list(open_file(data, counts=counts).read_records())
    assert sum(counts) < len(data)
