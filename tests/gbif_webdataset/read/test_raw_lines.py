import io

import pytest

from gbif_webdataset.read import line_blocks
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import read_raw_lines


def read(data: bytes, numbers: list[int], quote: str = "") -> list[str]:
    layout = FileLayout("type", ("f.txt",), "UTF-8", "\t", quote, 1, 0, ())
    return list(read_raw_lines("f.txt", io.BytesIO(data), layout, iter(numbers)))


@pytest.mark.parametrize("block", [4, 1 << 20])
def test_lines_are_found_by_their_numbers_with_the_header_counted(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", block)
    data = b"header\nfirst\r\n\nthird\xff\nlast"
    assert read(data, [2, 3, 4, 5]) == ["first", "", "third\ufffd", "last"]
    assert read(data, [1, 4]) == ["header", "third\ufffd"]
    assert read(data, []) == []


def test_a_record_with_enclosed_fields_is_found_by_its_first_line() -> None:
    data = b'header\n1\t"two\nlines"\n2\tx\n3\t\xff\n'
    assert read(data, [2, 4], '"') == ['1\t"two\nlines"', "2\tx"]
    assert read(data, [5], '"') == ["3\t?"]
