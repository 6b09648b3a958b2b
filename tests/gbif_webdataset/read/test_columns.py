from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.read.columns import (
    FILE,
    HASH,
    LINE,
    RECORD_ID,
    SPACES,
    ColumnSelection,
    coalesce_columns,
    trim_texts,
)
from gbif_webdataset.read.meta_xml import Column, FileLayout
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage.arrow import RECURRING
from tests.support.archives import DWC, make_medium, make_occurrence, write_download
from tests.support.manifests import make_manifest

LAYOUT = FileLayout(
    "type", ("f.txt",), "UTF-8", "\t", "", 1, 0,
    (Column("a", 1, None), Column("b", None, "x"), Column("c", 2, "y"), Column("gbifID", 0, None)),
)  # fmt: skip


def complete(values: dict[str, list[str | None]], is_wrapped: bool) -> dict[str, list[str | None]]:
    """The columns a, b and c of rows with these values."""
    selection = ColumnSelection.from_layout(LAYOUT, ["a", "b", "c", "missing"])
    count = len(values["a"])
    rows = pa.table(
        {
            HASH: pa.array([0] * count, pa.uint64()),
            FILE: pa.array([0] * count, pa.int32()),
            LINE: pa.array([1] * count, pa.int64()),
            RECORD_ID: pa.array(["1"] * count),
            **{name: pa.array(texts, pa.string()).dictionary_encode() for name, texts in values.items()},
        }
    )
    completed = selection.complete_rows(rows, is_wrapped)
    return {name: completed.column(name).to_pylist() for name in "abc"}


def test_columns_are_selected_with_their_positions_and_defaults() -> None:
    selection = ColumnSelection.from_layout(LAYOUT, ["gbifID", "a", "b", "c", "missing"])
    assert selection.indexes == {RECORD_ID: 0, "gbifID": 0, "a": 1, "c": 2}
    assert selection.defaults == {"b": "x", "c": "y"}
    assert selection.names == {RECORD_ID, "gbifID", "a", "b", "c"}
    types = [pa.string(), pa.string(), RECURRING, RECURRING]
    assert selection.schema == pa.schema(list(zip(selection.indexes, types, strict=True)))


def test_a_field_that_a_descriptor_names_again_and_again_is_read_once() -> None:
    layout = replace(LAYOUT, columns=(Column("a", 1, None), Column("a", 3, None), *[Column("a", 1, None)] * 30_000))
    selection = ColumnSelection.from_layout(layout, ["a"]).add_variants(layout, ["a"])
    assert selection.indexes == {RECORD_ID: 0, "a": 1, "a#2": 3}


def test_defaults_fill_empty_fields_and_missing_columns_and_nothing_else() -> None:
    found = complete({"a": ["1", None], "c": [None, "2"]}, is_wrapped=False)
    assert found == {"a": ["1", None], "b": ["x", "x"], "c": ["y", "2"]}


@pytest.mark.parametrize(
    ("field", "unwrapped"),
    [
        ('"3mm (1/8"")"', '3mm (1/8")'), ('""', "y"), ("plain", "plain"), ('"two\nlines"', "two\nlines"),
        ('"a""b""c"', 'a"b"c'), (None, "y"),
    ],
)  # fmt: skip
def test_wrapped_fields_are_unwrapped_before_defaults_are_filled_in(field: str | None, unwrapped: str) -> None:
    assert complete({"a": ["1"], "c": [field]}, is_wrapped=True)["c"] == [unwrapped]
    assert complete({"a": ["1"], "c": [field]}, is_wrapped=False)["c"] == ["y" if field is None else field]


def test_quotes_are_removed_only_if_all_quotes_of_the_file_are_well_formed(tmp_path: Path) -> None:
    wrapped = [make_occurrence(1, occurrenceRemarks='"3mm (1/8"")"'), make_occurrence(2, occurrenceRemarks="plain")]
    raw = [wrapped[0], make_occurrence(2, occurrenceRemarks='12" trap, "Big Creek')]
    media = [make_medium(1), make_medium(2)]
    options = SelectionOptions("acceptedTaxonKey", extra_columns=("occurrenceRemarks",))
    manifest = make_manifest(write_download(tmp_path / "a.zip", wrapped, media), tmp_path, options)
    assert manifest.values("occurrenceRemarks") == {"1": '3mm (1/8")', "2": "plain"}
    manifest = make_manifest(write_download(tmp_path / "b.zip", raw, media), tmp_path, options)
    assert manifest.values("occurrenceRemarks") == {"1": '"3mm (1/8"")"', "2": '12" trap, "Big Creek'}


def test_a_default_without_a_column_is_in_the_manifest(tmp_path: Path) -> None:
    extra = f'<field term="{DWC}basisOfRecord" default="HUMAN_OBSERVATION"/>'
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1)], extra)
    assert make_manifest(archive, tmp_path).values("basisOfRecord") == {"1": "HUMAN_OBSERVATION"}


def test_the_first_column_that_is_not_null_gives_the_value() -> None:
    rows = pa.table({"a": ["1", None, None], "b": ["2", "2", None]})
    assert coalesce_columns(rows, ("a", "missing", "b")).to_pylist() == ["1", "2", None]
    assert coalesce_columns(rows, ("missing",)).to_pylist() == [None] * 3


def test_spaces_of_all_kinds_are_trimmed() -> None:
    texts = pa.chunked_array([pa.array([f"{SPACES}a b{SPACES}", "\ta", None])])
    assert trim_texts(texts).to_pylist() == ["a b", "\ta", None]


def test_an_id_may_have_spaces_around_it(tmp_path: Path) -> None:
    archive = write_download(tmp_path / "a.zip", [make_occurrence(1)], [make_medium(1, gbifID="1 ")])
    assert [row["coreid"] for row in make_manifest(archive, tmp_path).rows] == ["1"]
