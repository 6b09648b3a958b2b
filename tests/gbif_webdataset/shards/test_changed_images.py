import hashlib
from pathlib import Path

from gbif_webdataset.shards.changed_images import changed_images_error, find_changed_images
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
