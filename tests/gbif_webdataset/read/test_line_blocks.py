import io

import pytest

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import line_blocks
from gbif_webdataset.read.line_blocks import LineBlock, read_line_blocks


def read_lines(data: bytes, encoding: str = "utf-8") -> tuple[list[bytes], int]:
    """The lines of a file, and the bytes that were reported as read."""
    counts: list[int] = []
    blocks = list(read_line_blocks("f.txt", io.BytesIO(data), encoding, counts.append))
    lines = [line for block in blocks for line in block.data.split(b"\n")[:-1]]
    assert sum(block.lines for block in blocks) == len(lines)
    return lines, sum(counts)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_blocks_have_whole_lines_without_the_byte_order_mark(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", block)
    data = "a\nbc\n\ndé".encode()
    assert read_lines(data) == ([b"a", b"bc", b"", "dé".encode()], len(data))
    if block > 3:
        assert read_lines(b"\xef\xbb\xbf" + data)[0][0] == b"a"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_other_encodings_are_converted_to_utf_8(encoding: str) -> None:
    assert read_lines("é\nb\n".encode(encoding), encoding)[0] == ["é".encode(), b"b"]


def test_carriage_returns_end_lines_if_there_are_no_line_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_lines(b"a\rb\r\rc")[0] == [b"a", b"b", b"", b"c"]
    assert read_lines(b"a\rb\n")[0] == [b"a\rb"]
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 16)
    assert read_lines(b"a\r" * 100 + b"\n")[0] == [b"a\r" * 100]


def test_a_line_that_is_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(line_blocks, "MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(
        ArchiveError, match=r"f\.txt: a line is longer than 1 MiB; correct the file, or inform the publisher"
    ):
        read_lines(b"a\n" + b"b" * ((1 << 20) + 200))


def test_a_block_says_what_its_lines_contain() -> None:
    assert LineBlock.from_data(b"a\nb\n") == LineBlock(b"a\nb\n", 2, has_quotes=False, is_irregular=False)
    assert LineBlock.from_data(b'"\n').has_quotes
    assert LineBlock.from_data(b"a\r\n").is_irregular
    assert LineBlock.from_data(b"\0\n").is_irregular


def test_lines_are_skipped_from_the_beginning() -> None:
    last, block = LineBlock.from_data(b"a\nb\nc\n").skip_lines(2)
    assert (last, block.data, block.lines) == (b"b", b"c\n", 1)
    assert LineBlock.from_data(b"a\n").skip_lines(1)[1].lines == 0
