import pytest

from gbif_webdataset.terms.shard_names import find_shard


@pytest.mark.parametrize(
    ("path", "shard"),
    [
        ("train/train-000003.tar", "train/train-000003"),
        ("train/train-000003-1a2b3c4d.tar.idx", ""),
        ("holdout/holdout-000000.idx", "holdout/holdout-000000"),
        ("val/val-1.tar.idx", "val/val-1"),
        ("train/train-000000.tar\n", ""),
        ("train/val-000000.tar", ""),
        ("train/train-000000.txt", ""),
        ("README.md", ""),
    ],
)
def test_shards_and_indexes_are_told_from_other_files(path: str, shard: str) -> None:
    assert find_shard(path) == shard
