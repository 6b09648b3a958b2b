"""The names of a version's objects. An object that a published version lists is never overwritten.

A shard keeps its own path as its name while no version had another content for it, unless CreateWebDataset writes its
shards to the same place. Otherwise it has a digest in its name, as have its indexes, which loaders look for beside it.
All other files are below versions/<version>/. On the Hub, where a commit changes all files at once, every name is the
path.
"""

import hashlib
from collections.abc import Mapping

from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.published_version import PublishedVersion

VERSIONS = "versions"
DIGEST_DIGITS = 8


def name_shard_files(
    files: Mapping[str, RecordedFile], published: PublishedVersion | None, has_shards: bool = False
) -> dict[str, str]:
    """The name of each shard and index at a target with this version, by path.

    With `has_shards` there are unpublished shards, such as CreateWebDataset writes, whose names are the paths: no
    published one gets them.
    """
    old = published.by_path if published else {}
    taken = {*published.names, *published.earlier} if published else set()
    by_shard: dict[str, list[str]] = {}
    for path in files:
        if shard := find_shard(path):
            by_shard.setdefault(shard, []).append(path)
    names: dict[str, str] = {}
    for shard, paths in by_shard.items():
        if all(path in old and old[path].sha256 == files[path].sha256 for path in paths):
            names |= {path: old[path].name for path in paths}
            continue
        stem = shard
        # A path of the old version may also be the name of an object that was pruned.
        if has_shards or not (taken | old.keys()).isdisjoint(paths):
            contents = " ".join(files[path].sha256 for path in sorted(paths))
            stem += f"-{hashlib.sha256(contents.encode()).hexdigest()[:DIGEST_DIGITS]}"
        names |= {path: stem + path.removeprefix(shard) for path in paths}
    return names


def name_other_files(
    files: Mapping[str, RecordedFile], version: str, published: PublishedVersion | None
) -> dict[str, str]:
    """The name of each file that belongs to no shard, by path."""
    old = published.by_path if published else {}
    return {
        path: old[path].name if path in old and old[path].sha256 == file.sha256 else f"{VERSIONS}/{version}/{path}"
        for path, file in files.items()
        if not find_shard(path)
    }
