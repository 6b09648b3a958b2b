"""The keys of samples."""

from pathlib import Path

import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.shards.sample_keys import select_with_keys
from gbif_webdataset.storage.tables import fetch_rows, open_database
from tests.support.shard_run import ShardRun, encoded, photo


@pytest.mark.parametrize(
    ("image_path", "key"),
    [
        ("ds/12.jpg", "ds/12"),
        ("data.set/MCZ.12.3_1.jpg", "data.set/MCZ_12_3_1"),
        ("ds/no-extension", "ds/no-extension"),
        ("a/b/c.d.jpg", "a/b/c_d"),
    ],
)
def test_a_key_is_the_path_without_extension_and_dots_of_the_name(tmp_path: Path, image_path: str, key: str) -> None:
    query = select_with_keys(f"(SELECT '{image_path}' AS image_path)")
    with open_database(tmp_path) as connection:
        rows = fetch_rows(connection, f"SELECT key FROM ({query})")
    assert rows == [(key,)]


def test_webdataset_reads_the_whole_key_of_a_name_with_dots(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    run.add("train", "data.set/MCZ.12.3_1.jpg", encoded(photo(40, 30, 1)))
    run.write()
    run.create()
    assert run.only_sample()["__key__"] == "data.set/MCZ_12_3_1"


def test_two_images_with_the_same_key_are_an_error(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    for name in ("ds/a.1.jpg", "ds/a_1.jpg"):
        run.add("train", name, encoded(photo(40, 30, 1)))
    run.write()
    with pytest.raises(SelectionError, match=r"ds/a\.1\.jpg and ds/a_1\.jpg"):
        run.create()
