from pathlib import Path

import pyarrow.parquet as pq

from gbif_webdataset.fetch.ledger import make_outcome_table
from gbif_webdataset.storage.ledger_marks import has_image, mark_in_ledger
from tests.support.outcomes import make_outcome


def test_images_are_marked_in_their_ledgers_and_others_stay_as_they_are(tmp_path: Path) -> None:
    ledgers = [tmp_path / name for name in ("chunk-00000.parquet", "chunk-00001.parquet")]
    for number, ledger in enumerate(ledgers):
        rows = [make_outcome(f"d/{number}{letter}.jpg") for letter in "abc"]
        pq.write_table(make_outcome_table(rows), ledger)
    before = [pq.read_table(ledger) for ledger in ledgers]
    changed = {"d/1b.jpg": "changed-file", "d/9.jpg": "missing-file"}
    assert [has_image(ledger, changed) for ledger in ledgers] == [False, True]
    mark_in_ledger(ledgers[1], changed)
    after = [pq.read_table(ledger) for ledger in ledgers]
    assert after[0].equals(before[0])
    marked = after[1].to_pylist()
    assert [(row["status"], row["error"]) for row in marked] == [
        ("fetched", ""),
        ("failed", "changed-file"),
        ("fetched", ""),
    ]
    assert [{**row, "status": "", "error": ""} for row in marked] == [
        {**row, "status": "", "error": ""} for row in before[1].to_pylist()
    ]
    assert after[1].schema.names == before[1].schema.names
