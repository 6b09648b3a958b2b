import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from gbif_webdataset.fetch.ledger import make_outcome_table
from gbif_webdataset.shards.changed_images import changed_images_error, find_changed_images, mark_in_ledgers
from tests.support.outcomes import make_outcome
from tests.support.shard_run import COLUMNS, ShardRun, encoded, photo


def test_all_changed_and_missing_images_of_the_splits_are_found(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    run.columns = [*COLUMNS, "sha256"]
    for number in range(8):
        data = encoded(photo(20, 20, number))
        sha256 = hashlib.sha256(data).hexdigest() if number < 7 else ""
        run.add(("train", "val")[number % 2], f"d/{number}.jpg", data, sha256=sha256)
    run.write()
    images = tmp_path / "images/d"
    for number in (1, 7):
        path = images / f"{number}.jpg"
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    (images / "3.jpg").write_bytes(b"shorter")
    (images / "4.jpg").unlink()
    changed = find_changed_images(tmp_path / "splits", tmp_path / "images")
    # image 7 has no recorded hash and its old size
    assert changed == {"d/1.jpg": "changed-file", "d/3.jpg": "changed-file", "d/4.jpg": "missing-file"}
    assert "2 changed and 1 missing images" in str(changed_images_error(tmp_path, changed))


def test_images_are_marked_in_their_ledgers_and_others_stay_as_they_are(tmp_path: Path) -> None:
    ledgers = [tmp_path / name for name in ("chunk-00000.parquet", "chunk-00001.parquet")]
    for number, ledger in enumerate(ledgers):
        rows = [make_outcome(f"d/{number}{letter}.jpg") for letter in "abc"]
        pq.write_table(make_outcome_table(rows), ledger)
    before = [pq.read_table(ledger) for ledger in ledgers]
    assert mark_in_ledgers(ledgers, {"d/1b.jpg": "changed-file", "d/9.jpg": "missing-file"}) == [ledgers[1]]
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
