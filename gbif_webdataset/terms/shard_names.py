"""The names of shards and their indexes."""

import re

from gbif_webdataset.terms.splits import SPLITS

_SHARD_FILE = re.compile(rf"(({'|'.join(SPLITS)})/\2-\d+)\.(tar|idx|tar\.idx)")


def find_shard(path: str) -> str:
    """The path of a shard or one of its indexes without the ending, such as `train/train-000003`; empty for others.

    The name of a published shard may have a digest; it is not found.
    """
    found = _SHARD_FILE.fullmatch(path)
    return found[1] if found else ""
