"""Packs: what they keep, what a kill leaves of them, and that nothing remains of a deleted image."""

import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webdataset

from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage.pack_files import DELETED
from gbif_webdataset.storage.pack_index import ADDED, REMOVED, PackedImage, format_line
from gbif_webdataset.storage.pack_store import MAX_MEMORY_BYTES, PackStore, restore_indexes
from tests.support.packs import SMALL, bytes_of, fill_packs, list_members, list_packs, read_files, read_packed

REPOSITORY = Path(__file__).parents[3]


def put(store: PackStore, images: Mapping[str, bytes]) -> None:
    for path, data in images.items():
        with store.new_file(path) as file:
            file.write(data)
            store.put(path, file, hashlib.sha256(data).hexdigest())


def test_images_are_in_packs_of_limited_size_with_one_index(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abcdefghijklmnopqrstuvwxyz")
    assert list_packs(tmp_path) == ["000.tar", "001.tar", "002.tar"]
    assert all((tmp_path / "chunk-00007" / name).stat().st_size <= SMALL for name in list_packs(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"chunk-00007", "chunk-00007.idx"}
    store = PackStore(tmp_path, 7)
    assert read_packed(tmp_path) == made
    assert (store.size("d/a.jpg"), store.size("d/0.jpg")) == (1_000, None)
    with pytest.raises(FileNotFoundError):
        store.read("d/0.jpg")


def test_an_image_larger_than_a_pack_has_its_own(tmp_path: Path) -> None:
    made = {"d/a.jpg": bytes_of("a"), "d/large.jpg": bytes_of("large", 3 * SMALL), "d/b.jpg": bytes_of("b")}
    with PackStore(tmp_path, 7, SMALL).writing() as store:
        put(store, made)
    assert list_packs(tmp_path) == ["000.tar", "001.tar", "002.tar"]
    assert read_packed(tmp_path) == made


def test_tar_and_webdataset_read_a_pack_after_each_time_it_grew(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abc") | fill_packs(tmp_path, "de")
    pack = tmp_path / "chunk-00007/000.tar"
    listed = subprocess.run(["tar", "tf", pack], capture_output=True, text=True, check=True, timeout=60)
    assert (listed.stdout.split(), listed.stderr) == (list(made), "")
    samples = list(webdataset.WebDataset([str(pack)], shardshuffle=False))
    assert {f"{sample['__key__']}.jpg": sample["jpg"] for sample in samples} == made


def test_long_and_foreign_names_are_kept(tmp_path: Path) -> None:
    made = {f"{'long' * 40}/é 1.jpg": b"one", "d/ü.jpg": b"two", "d/plain.jpg": b"three"}
    with PackStore(tmp_path, 7).writing() as store:
        put(store, made)
    assert read_packed(tmp_path) == made
    assert list_members(tmp_path / "chunk-00007/000.tar") == list(made)


def test_an_image_that_is_too_large_for_memory_is_stored_and_leaves_no_file(tmp_path: Path) -> None:
    large = {"d/a.jpg": bytes_of("a", MAX_MEMORY_BYTES + 1)}
    with PackStore(tmp_path, 7).writing() as store:
        put(store, large)
    assert read_packed(tmp_path) == large
    assert list_packs(tmp_path) == ["000.tar"]


def test_reading_in_the_order_of_the_packs(tmp_path: Path) -> None:
    fill_packs(tmp_path, "qwertyuiopasdfghjklzxcvbnm")
    paths = [f"d/{name}.jpg" for name in "abcxyz"]
    order = PackStore(tmp_path, 7).sort(paths)
    assert [paths[position][2] for position in order] == list("yazxcb")


def test_many_threads_read_at_the_same_time_while_another_process_writes(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abcdefghijklmnopqrstuvwxyz")
    store = PackStore(tmp_path, 7)
    with PackStore(tmp_path, 7, SMALL).writing() as writer, ThreadPoolExecutor(8) as pool:
        found = [(path, pool.submit(store.read, path)) for _ in range(50) for path in made]
        put(writer, {f"e/{number}.jpg": bytes_of(str(number)) for number in range(50)})
        assert all(made[path] == read.result(60) for path, read in found)


def test_two_processes_never_write_to_the_packs_of_one_chunk(tmp_path: Path) -> None:
    with (
        PackStore(tmp_path, 7).writing(),
        pytest.raises(BusyError, match=r"chunk-00007\.idx: another process"),
        PackStore(tmp_path, 7).writing(),
    ):
        pass
    with PackStore(tmp_path, 7).writing(), PackStore(tmp_path, 8).writing():
        pass


# What killed processes leave.


@pytest.mark.parametrize("tail", [b"x" * 10, b"\0" * 5_000, b"half a member" * 100])
def test_bytes_that_the_index_does_not_list_are_cut_off_before_more_are_written(tmp_path: Path, tail: bytes) -> None:
    made = fill_packs(tmp_path, "abc")
    with (tmp_path / "chunk-00007/000.tar").open("ab") as file:
        file.write(tail)
    (tmp_path / "chunk-00007/001.tar").write_bytes(tail)
    with (tmp_path / "chunk-00007.idx").open("ab") as file:
        file.write(format_line(PackedImage("d/z.jpg", 0, 99_999, 1, "0" * 64), ADDED)[:50])
    assert read_packed(tmp_path) == made
    made |= fill_packs(tmp_path, "de")
    assert list_packs(tmp_path) == ["000.tar"]
    assert read_packed(tmp_path) == made
    assert list_members(tmp_path / "chunk-00007/000.tar") == list(made)


def test_a_process_killed_while_it_writes_leaves_whole_images(tmp_path: Path) -> None:
    script = (
        "import itertools, sys; from pathlib import Path; from gbif_webdataset.storage.pack_store import PackStore\n"
        "from tests.support.packs import bytes_of\n"
        "with PackStore(Path(sys.argv[1]), 7, 200_000).writing() as store:\n"
        "    for number in itertools.count(int(sys.argv[2])): store.put_bytes(f'd/{number}.jpg', bytes_of(str(number)))"
    )
    known: dict[str, bytes] = {}
    for start in (0, 100_000, 200_000):
        with subprocess.Popen([sys.executable, "-c", script, tmp_path, str(start)], cwd=REPOSITORY) as process:
            index = tmp_path / "chunk-00007.idx"
            while process.poll() is None and (not index.exists() or index.read_bytes().count(b"\n") < len(known) + 100):
                pass
            process.send_signal(signal.SIGKILL)
        found = read_packed(tmp_path)
        assert known.items() <= found.items()
        assert all(data == bytes_of(path[2:-4]) for path, data in found.items())
        known = found
    with PackStore(tmp_path, 7).writing():
        pass
    names = [name for pack in list_packs(tmp_path) for name in list_members(tmp_path / "chunk-00007" / pack)]
    assert names == list(known)


def test_images_that_their_pack_lost_are_missing_and_others_are_added_to_a_new_pack(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abc")
    os.truncate(tmp_path / "chunk-00007/000.tar", 2_000)
    assert list(read_packed(tmp_path)) == ["d/a.jpg"]
    made |= fill_packs(tmp_path, "d")
    assert read_packed(tmp_path) == {path: made[path] for path in ("d/a.jpg", "d/d.jpg")}
    assert list_packs(tmp_path) == ["000.tar", "001.tar"]


# Copies, replaced and deleted images.


def test_images_that_change_places_are_copied_before_any_bytes_are_overwritten(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "ab")
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
    with PackStore(tmp_path, 7).writing() as store:
        assert store.stage_copy("d/a.jpg", "d/b.jpg", hashes["d/a.jpg"])
        assert store.stage_copy("d/b.jpg", "d/a.jpg", hashes["d/b.jpg"])
        assert not store.stage_copy("d/a.jpg", "d/c.jpg", hashes["d/b.jpg"])
        assert list(store.finish_copies()) == ["d/b.jpg", "d/a.jpg"]
        store.tidy()
    assert read_packed(tmp_path) == {"d/a.jpg": made["d/b.jpg"], "d/b.jpg": made["d/a.jpg"]}
    names = list_members(tmp_path / "chunk-00007" / list_packs(tmp_path)[0])
    assert sorted(set(names) - {DELETED}) == ["d/a.jpg", "d/b.jpg"]


def test_bytes_that_were_replaced_before_a_kill_can_still_be_copied(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "ab")
    with PackStore(tmp_path, 7).writing() as store:
        put(store, {"d/b.jpg": made["d/a.jpg"]})
    with PackStore(tmp_path, 7).writing() as store:
        assert store.stage_copy("d/b.jpg", "d/a.jpg", hashlib.sha256(made["d/b.jpg"]).hexdigest())
        assert list(store.finish_copies()) == ["d/a.jpg"]
    assert read_packed(tmp_path) == {"d/a.jpg": made["d/b.jpg"], "d/b.jpg": made["d/a.jpg"]}


def test_no_file_has_the_bytes_of_a_deleted_or_replaced_image(tmp_path: Path) -> None:
    made = fill_packs(tmp_path, "abcdefghijklmnopqrstuvwxyz")
    with PackStore(tmp_path, 7, SMALL).writing() as store:
        put(store, {"d/a.jpg": b"another"})
        store.delete(["d/b.jpg", "d/z.jpg", "d/missing.jpg"])
        store.tidy()
    left = read_files(tmp_path)
    for path in ("d/a.jpg", "d/b.jpg", "d/z.jpg"):
        assert all(made[path][at : at + 16] not in left for at in range(0, 1_000, 16))
    expected = {path: data for path, data in made.items() if path not in ("d/b.jpg", "d/z.jpg")} | {
        "d/a.jpg": b"another"
    }
    assert read_packed(tmp_path) == expected


def test_a_file_of_another_kind_can_be_stored(tmp_path: Path) -> None:
    with PackStore(tmp_path, 7).writing() as store:
        store.put("d/a.jpg", io.BytesIO(b"data"), hashlib.sha256(b"data").hexdigest())
    assert read_packed(tmp_path) == {"d/a.jpg": b"data"}


# Damaged and missing indexes.


@pytest.mark.parametrize("left", [0, 5])
def test_no_pack_is_deleted_because_lines_are_missing(tmp_path: Path, left: int) -> None:
    made, index = fill_packs(tmp_path, "abcdefghijklmnopqrstuvwxyz"), tmp_path / "chunk-00007.idx"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[:left]))
    made |= fill_packs(tmp_path, "0")
    assert read_packed(tmp_path) == made


def test_images_that_were_removed_stay_so_when_lines_are_restored(tmp_path: Path) -> None:
    made, index = fill_packs(tmp_path, "abc"), tmp_path / "chunk-00007.idx"
    removed = PackStore(tmp_path, 7).index.images["d/b.jpg"]
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b"".join([b"damaged\n", *lines[1:], format_line(removed, REMOVED)]))
    restore_indexes(tmp_path)
    assert read_packed(tmp_path) == {path: made[path] for path in ("d/a.jpg", "d/c.jpg")}


def test_a_new_index_and_its_folder_are_on_the_disk_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    images = tmp_path / "images"
    fill_packs(images, "a")
    assert {tmp_path, images, images / "chunk-00007", images / "chunk-00007.idx"} <= set(synced)
    synced.clear()
    fill_packs(images, "b")
    assert tmp_path not in synced and images not in synced
