from gbif_webdataset.read.row_batch import UNREADABLE, make_unreadable


def test_unreadable_lines_become_a_table() -> None:
    lines = [(3, "blank-line", ""), (7, "ragged-line", "é\tb")]
    table = make_unreadable(lines)
    assert table.schema == UNREADABLE
    assert [tuple(line.values()) for line in table.to_pylist()] == lines
    assert make_unreadable([]).num_rows == 0
