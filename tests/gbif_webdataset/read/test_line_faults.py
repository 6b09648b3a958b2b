import random

import pytest

from gbif_webdataset.read.line_faults import CheckedLines


def check(data: bytes, fields: int = 3, separator: bytes = b"\t") -> tuple[bytes, list[tuple[object, ...]]]:
    """The good lines of a block that starts at line 10, and its other lines."""
    lines = CheckedLines(data, separator, fields)
    lines.reject_invalid_texts([0, 2])
    table = lines.take_faulty(10)
    table.validate(full=True)
    return lines.take_good(), [tuple(line.values()) for line in table.to_pylist()]


def check_simply(data: bytes, fields: int, separator: bytes) -> tuple[bytes, list[tuple[object, ...]]]:
    """The same, line by line."""
    good, faulty = b"", []
    for number, line in enumerate(data.split(b"\n")[:-1], 10):
        columns = line.split(separator)
        fault = ""
        if not line.strip(separator) or (len(columns) != fields and not line.strip()):
            fault = "blank-line"
        elif len(columns) != fields:
            fault = "ragged-line"
        elif any("\ufffd" in columns[index].decode(errors="replace") for index in (0, 2)):
            fault = "invalid-text"
        if fault:
            faulty.append((number, fault, line.decode(errors="replace")))
        else:
            good += line + b"\n"
    return good, faulty


def test_each_fault_is_found() -> None:
    assert check(b"1\t\ta\n\n1\n1\t\xff\tb\n\xff\t\t\n\t\t\n \t \t \n \n") == (
        b"1\t\ta\n1\t\xff\tb\n \t \t \n",
        [
            (11, "blank-line", ""), (12, "ragged-line", "1"), (14, "invalid-text", "\ufffd\t\t"),
            (15, "blank-line", "\t\t"), (17, "blank-line", " "),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("separator", [b"\t", b",", b" "])
@pytest.mark.parametrize("seed", range(20))
def test_faults_are_those_that_each_line_has_by_itself(separator: bytes, seed: int) -> None:
    rng = random.Random(seed)
    pieces = [separator, separator, b"\n", b"a", b" ", b"\t", b"\r", b"\xff", b"\xc3", "é".encode()]
    data = b"".join(rng.choices(pieces, k=300)) + b"\n"
    assert check(data, 3, separator) == check_simply(data, 3, separator)


def test_no_line_has_a_number_of_fields_that_is_not_known_yet() -> None:
    assert check(b" \n\t\nx\n", fields=0) == (
        b"", [(10, "blank-line", " "), (11, "blank-line", "\t"), (12, "ragged-line", "x")],
    )  # fmt: skip
