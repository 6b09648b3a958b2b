from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.fetch.ledger import (
    COLUMNS,
    OUTCOME_COLUMNS,
    make_outcome_table,
    pack_outcome,
    read_manifest_urls,
    write_ledger,
)
from gbif_webdataset.terms.outcomes import FetchFailure, Status
from tests.support.outcomes import make_outcome

MANIFEST = pa.schema([(name, pa.string()) for name in ("identifier", "speciesKey", "image_path")])
ROWS = [
    {"identifier": "http://a.org/a", "speciesKey": "0012", "image_path": "d/a.jpg"},
    {"identifier": "http://a.org/b", "speciesKey": "NA", "image_path": "d/b.jpg"},
]


def test_the_ledger_has_the_rows_of_the_manifest_and_their_outcomes(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS, MANIFEST), tmp_path / "manifest.parquet")
    small = {"requested_url": "http://a.org/a/small", "final_url": "http://a.org/a/small"}
    outcomes = [
        make_outcome("d/b.jpg", "http://a.org/b", status=Status.FAILED, error=FetchFailure.GONE, bytes=None),
        make_outcome("d/a.jpg", "http://a.org/a", **small),
    ]
    packed = {outcome.image_path: pack_outcome(outcome) for outcome in outcomes}
    write_ledger(tmp_path / "manifest.parquet", tmp_path / "ledger.parquet", packed)
    table = pq.read_table(tmp_path / "ledger.parquet")
    assert table.schema.equals(pa.schema([*MANIFEST, *COLUMNS]))
    assert table.select(MANIFEST.names).to_pylist() == ROWS
    assert table["status"].to_pylist() == ["fetched", "failed"]
    assert table["error"].to_pylist() == ["", "gone"]
    assert table["requested_url"].to_pylist() == ["http://a.org/a/small", "http://a.org/b"]


def test_the_requested_url_of_older_outcomes_is_the_identifier() -> None:
    assert make_outcome("d/a.jpg", "http://a.org/a").requested_url == "http://a.org/a"


def test_a_table_of_outcomes_has_all_their_values() -> None:
    outcomes = [make_outcome(), make_outcome("d/b.jpg", status="failed", error="timeout", bytes=None, sha256=None)]
    table = make_outcome_table(outcomes)
    assert table.schema.equals(OUTCOME_COLUMNS)
    assert table["bytes"].to_pylist() == [3, None]
    assert table["error"].to_pylist() == ["", "timeout"]


def test_the_urls_of_a_manifest_are_read_in_its_order(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS, MANIFEST), tmp_path / "manifest.parquet")
    urls = list(read_manifest_urls(tmp_path / "manifest.parquet"))
    assert urls == [("d/a.jpg", "http://a.org/a"), ("d/b.jpg", "http://a.org/b")]
