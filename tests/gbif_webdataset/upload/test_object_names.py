from pathlib import Path

from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.upload.object_names import name_other_files, name_shard_files
from gbif_webdataset.upload.published_version import PublishedObject, PublishedVersion


def files(**contents: str) -> dict[str, LocalFile]:
    """Files of a shard by their contents: `tar="a", idx="b"`, and others by their path."""
    paths = {"tar": "train/train-000000.tar", "idx": "train/train-000000.idx", "energon": "train/train-000000.tar.idx"}
    named = {paths.get(name, f"{name}.md"): text for name, text in contents.items()}
    return {path: LocalFile.of_content(Path(path), text.encode()) for path, text in named.items()}


def published(found: dict[str, LocalFile], names: dict[str, str], earlier: tuple[str, ...] = ()) -> PublishedVersion:
    objects = [PublishedObject(names[path], path, file.size, file.sha256) for path, file in found.items()]
    return PublishedVersion("id", "Moths", "1.0.0", objects, earlier=earlier)


def test_a_first_version_has_the_names_of_its_files() -> None:
    found = files(tar="a", idx="b", energon="c")
    assert name_shard_files(found, None) == {path: path for path in found}


def test_where_createwebdataset_writes_shards_all_published_ones_have_a_digest() -> None:
    found = files(tar="a", idx="b", energon="c")
    names = name_shard_files(found, None, has_shards=True)
    assert names.keys() == found.keys()
    assert not names.keys() & set(names.values())
    assert all(name.startswith("train/train-000000-") for name in names.values())
    assert name_shard_files(found, published(found, names), has_shards=True) == names


def test_a_shard_that_is_the_same_keeps_its_name() -> None:
    found = files(tar="a", idx="b", energon="c")
    names = {path: path.replace("000000", "000000-12345678") for path in found}
    assert name_shard_files(found, published(found, names)) == names


def test_a_shard_that_changed_gets_a_digest_in_its_name_and_in_those_of_its_indexes() -> None:
    old = files(tar="a", idx="b", energon="c")
    version = published(old, {path: path for path in old})
    new = name_shard_files(files(tar="A", idx="b", energon="c"), version)
    stem = new["train/train-000000.tar"].removesuffix(".tar")
    assert stem.startswith("train/train-000000-")
    assert new == {
        "train/train-000000.tar": f"{stem}.tar",
        "train/train-000000.idx": f"{stem}.idx",
        "train/train-000000.tar.idx": f"{stem}.tar.idx",
    }
    assert name_shard_files(files(tar="A", idx="b", energon="c"), version) == new
    assert name_shard_files(files(tar="B", idx="b", energon="c"), version) != new


def test_an_index_that_changed_alone_renames_its_shard() -> None:
    old = files(tar="a", idx="b", energon="c")
    new = name_shard_files(files(tar="a", idx="B", energon="c"), published(old, {path: path for path in old}))
    assert not set(new.values()) & set(old)


def test_the_name_of_an_earlier_version_is_not_used_again() -> None:
    new = name_shard_files(files(tar="b"), published({}, {}, earlier=("train/train-000000.tar",)))
    assert new["train/train-000000.tar"] != "train/train-000000.tar"


def test_a_shard_that_changed_gets_a_digest_also_after_a_prune() -> None:
    old = files(tar="b")
    version = published(old, {"train/train-000000.tar": "train/train-000000-12345678.tar"})
    assert name_shard_files(files(tar="c"), version)["train/train-000000.tar"] != "train/train-000000.tar"


def test_other_files_are_below_the_version_that_they_are_new_in() -> None:
    old = files(card="one", page="same")
    names = {"card.md": "versions/1.0.0/card.md", "page.md": "versions/1.0.0/page.md"}
    assert name_other_files(old, "1.0.0", None) == names
    changed = name_other_files(files(card="two", page="same", tar="x"), "1.1.0", published(old, names))
    assert changed == {"card.md": "versions/1.1.0/card.md", "page.md": "versions/1.0.0/page.md"}
