from pathlib import Path

import duckdb
import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.storage.chunks import list_packed_chunks
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_places import Place, create_places, find_places
from gbif_webdataset.storage.pack_store import PackStore, restore_indexes
from tests.support.packs import pack_images


def test_images_are_found_in_all_chunks_the_latest_first(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"aaa", "d/b.jpg": b"b"})
    pack_images(tmp_path, 12, {"e/c.jpg": b"cc", "d/b.jpg": b"bb"})
    pack_images(tmp_path, 0, {"d/a.jpg": b"a"})
    assert list_packed_chunks(tmp_path) == [0, 12]
    found = find_places(tmp_path, ["d/a.jpg", "e/c.jpg", "d/missing.jpg"])
    assert found == {"d/a.jpg": [Place(0, 0, 2560, 1), Place(0, 0, 512, 3)], "e/c.jpg": [Place(12, 0, 512, 2)]}
    assert {place.chunk for place in find_places(tmp_path, None)["d/b.jpg"]} == {0, 12}


def test_removed_images_are_not_found(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"a", "d/b.jpg": b"b"})
    with PackStore(tmp_path, 0).writing() as store:
        store.delete(["d/a.jpg"])
    assert list(find_places(tmp_path, None)) == ["d/b.jpg"]


def test_an_incomplete_line_of_a_killed_run_is_left_out(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"a"})
    with (tmp_path / "chunk-00000.idx").open("ab") as file:
        file.write(b"half a line")
    assert list(find_places(tmp_path, None)) == ["d/a.jpg"]


@pytest.mark.parametrize("line", [b"d/x.jpg\tno\tnumber\t1\tab\tadded\t00\n", b"\xff\xfe\n", b"\t\t\n", b"\r", b"\r\n"])
def test_a_line_that_cannot_be_read_is_an_error(tmp_path: Path, line: bytes) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"a"})
    index = tmp_path / "chunk-00000.idx"
    index.write_bytes(line + index.read_bytes())
    with pytest.raises(DamagedFileError, match=r"chunk-00000\.idx, line 1: differs from what was written"):
        find_places(tmp_path, None)


def test_a_changed_digit_never_gives_other_bytes(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"a" * 600, "d/b.jpg": b"b" * 600})
    index = tmp_path / "chunk-00000.idx"
    index.write_bytes(index.read_bytes().replace(b"\t512\t", b"\t513\t"))
    with pytest.raises(DamagedFileError, match=r"chunk-00000\.idx, line 1: "):
        ImageReader(tmp_path).find_places(["d/a.jpg"])
    restore_indexes(tmp_path)
    assert find_places(tmp_path, ["d/a.jpg"]) == {"d/a.jpg": [Place(0, 0, 512, 600)]}


def test_an_index_that_is_missing_beside_packs_is_an_error(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {"d/a.jpg": b"a"})
    (tmp_path / "chunk-00000.idx").unlink()
    with pytest.raises(DamagedFileError, match=r"chunk-00000\.idx: differs from what was written"):
        ImageReader(tmp_path).find_places(["d/a.jpg"])
    restore_indexes(tmp_path)
    assert find_places(tmp_path, None) == {"d/a.jpg": [Place(0, 0, 512, 1)]}


def test_without_packs_nothing_is_found(tmp_path: Path) -> None:
    assert find_places(tmp_path, ["d/a.jpg"]) == {}
    with duckdb.connect() as connection:
        create_places(connection, tmp_path)
        assert connection.execute("SELECT image_path, place FROM packed").fetchall() == []


def test_quotes_and_tabs_of_a_hostile_path_do_not_change_other_lines(tmp_path: Path) -> None:
    pack_images(tmp_path, 0, {'d/"a.jpg': b"a", "d/'b.jpg": b"b"})
    assert sorted(find_places(tmp_path, None)) == ['d/"a.jpg', "d/'b.jpg"]
    [(place,)] = [tuple(places) for path, places in find_places(tmp_path, ["d/'b.jpg"]).items()]
    assert Place.parse("/".join(map(str, place))) == place
