from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from tests.support.taxonomies import (
    A,
    C,
    make_crosswalk_of,
    occurrences,
    read_crosswalk,
    write_archives,
    write_official_table,
)


def test_the_columns_of_the_official_table_are_compared_with_the_keys(tmp_path: Path) -> None:
    """The newer dataset may have the older taxonomy."""
    paths = write_archives(tmp_path, occurrences((C, 2)), occurrences((A, 2), first=9))
    table = write_official_table(tmp_path / "gbif-col265.tsv.gz", [("1", "X1")])
    rows = read_crosswalk(make_crosswalk_of(tmp_path, *paths, table))
    assert [(row["old_key"], row["new_key"], row["evidence"]) for row in rows] == [("X1", "1", "table")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"a\tb\n1\t2\n", "has 0 columns whose name ends in :ID"), (b"\x1f\x8bnot gzip", "cannot be read")],
)
def test_a_file_that_is_no_such_table_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    table = tmp_path / "table.tsv"
    table.write_bytes(content)
    paths = write_archives(tmp_path, occurrences((A, 1)), occurrences((C, 1)))
    with pytest.raises(ParameterError, match=rf"^--MakeCrosswalk-table {table}: {problem}.*give a table with two"):
        make_crosswalk_of(tmp_path, *paths, table)


def test_a_table_of_other_checklists_is_refused(tmp_path: Path) -> None:
    paths = write_archives(tmp_path, occurrences((A, 1)), occurrences((C, 1)))
    table = write_official_table(tmp_path / "other.tsv.gz", [("8", "X9")])
    with pytest.raises(ParameterError, match=r"none of its 1 pairs of keys is in both datasets"):
        make_crosswalk_of(tmp_path, *paths, table)
