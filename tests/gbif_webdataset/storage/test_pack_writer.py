"""Removing images from packs: nothing of them remains, and a kill loses no other image."""

import errno
import os
import random
from pathlib import Path

import pytest

from gbif_webdataset.storage.pack_store import PackStore
from tests.support.packs import SMALL, bytes_of, fill_packs, list_members, list_packs, read_files, read_packed


def test_the_bytes_are_overwritten_on_the_disk_before_the_index_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, synced = fill_packs(tmp_path, "ab"), os.fsync

    def check(handle: int) -> None:
        target = str(Path(f"/proc/self/fd/{handle}").readlink())
        if target.endswith(".tar"):
            assert made["d/a.jpg"][:16] not in Path(target).read_bytes()
            assert b"removed" not in (tmp_path / "chunk-00007.idx").read_bytes()
            seen.append(target)
        synced(handle)

    seen: list[str] = []
    with PackStore(tmp_path, 7).writing() as store:
        monkeypatch.setattr(os, "fsync", check)
        store.delete(["d/a.jpg"])
        monkeypatch.undo()
    assert len(seen) == 1


def test_no_pack_has_an_image_whose_line_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fill_packs(tmp_path, "a")

    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with PackStore(tmp_path, 7, SMALL).writing() as store:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(os, "pwrite", fail)
            store.put_bytes("d/b.jpg", bytes_of("b"))
        assert bytes_of("b")[:40] not in read_files(tmp_path)
        store.put_bytes("d/c.jpg", bytes_of("c"))
    assert read_packed(tmp_path) == made | {"d/c.jpg": bytes_of("c")}
    assert list_members(tmp_path / "chunk-00007/000.tar") == ["d/a.jpg", "d/c.jpg"]


def test_a_pack_is_written_again_once_a_quarter_of_it_is_deleted(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abcdefghijkl")
    for number, name in enumerate("abc", 1):
        with PackStore(tmp_path, 7, SMALL).writing() as store:
            store.delete([f"d/{name}.jpg"])
            store.tidy()
        del made[f"d/{name}.jpg"]
        assert read_packed(tmp_path) == made
        assert list_packs(tmp_path) == (["000.tar"] if number < 3 else ["001.tar"])
    assert list_members(tmp_path / "chunk-00007/001.tar") == list(made)


def test_a_kill_while_a_pack_is_written_again_loses_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fill_packs(tmp_path, "abcdefghijkl")
    names = ("sync", "delete_pack")
    for name in names:
        with (
            monkeypatch.context() as patch,
            pytest.raises(KeyboardInterrupt),
            PackStore(tmp_path, 7, SMALL).writing() as store,
        ):
            store.delete(["d/a.jpg", "d/b.jpg", "d/c.jpg"])
            patch.setattr(store.writer, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            store.tidy()
    kept = {path: data for path, data in made.items() if path[2] not in "abc"}
    assert read_packed(tmp_path) == kept
    with PackStore(tmp_path, 7, SMALL).writing() as store:
        store.tidy()
    assert read_packed(tmp_path) == kept
    assert bytes_of("a")[:16] not in read_files(tmp_path)


def test_a_pack_without_images_is_deleted_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abc")
    with PackStore(tmp_path, 7).writing() as store:
        store.delete(made)
        store.tidy()
    assert list_packs(tmp_path) == []
    made = fill_packs(tmp_path, "d")
    assert list_packs(tmp_path) == ["001.tar"]
    assert read_packed(tmp_path) == made


def test_images_that_are_stored_elsewhere_are_discarded(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abcdefghijkl")
    for gone in (["d/a.jpg"], ["d/b.jpg", "d/c.jpg", "d/d.jpg", "d/e.jpg"]):
        with PackStore(tmp_path, 7, SMALL).writing() as store:
            store.writer.discard(gone)
        made = {path: data for path, data in made.items() if path not in gone}
        assert read_packed(tmp_path) == made
        assert all(bytes_of(path[2])[:16] not in read_files(tmp_path) for path in gone)


@pytest.mark.parametrize("damage", ["a line", "the last line", "the index is gone"])
def test_images_whose_lines_are_damaged_are_found_in_the_packs(tmp_path: Path, damage: str) -> None:
    made, index = fill_packs(tmp_path, "abcdefghijklmnopqrstuvwxyz"), tmp_path / "chunk-00007.idx"
    with PackStore(tmp_path, 7, SMALL).writing() as store:
        store.delete(["d/c.jpg"])
    del made["d/c.jpg"]
    lines = index.read_bytes().splitlines(keepends=True)
    if damage == "the index is gone":
        index.unlink()
    else:
        at = 5 if damage == "a line" else 25
        lines[at] = lines[at].replace(b"d/", b"e/")
        index.write_bytes(b"".join(lines[:26] if at == 25 else lines))
    made |= fill_packs(tmp_path, "0")
    assert read_packed(tmp_path) == made
    assert not PackStore(tmp_path, 7).is_index_damaged()


@pytest.mark.parametrize("seed", range(20))
def test_images_are_as_they_were_stored_after_any_series_of_changes(tmp_path: Path, seed: int) -> None:
    rng, images = random.Random(seed), dict[str, bytes]()
    limit = rng.choice([5_000, SMALL, 300_000])
    for _ in range(6):
        with PackStore(tmp_path, 7, limit).writing() as store:
            for _ in range(rng.randint(0, 8)):
                path, data = f"d/{rng.randint(0, 15)}.jpg", rng.randbytes(rng.choice([1, 500, 3_000, 30_000]))
                store.put_bytes(path, data)
                images[path] = data
            gone = rng.sample(sorted(images), min(len(images), rng.randint(0, 3)))
            rng.choice([store.delete, store.writer.discard])(gone)
            images = {path: data for path, data in images.items() if path not in gone}
            if rng.random() < 0.8:
                store.tidy()
        assert read_packed(tmp_path) == images
