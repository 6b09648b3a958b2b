from pathlib import Path

import pytest

from gbif_webdataset.storage.pack_index import (
    ADDED,
    REMOVED,
    TAIL_BYTES,
    PackedImage,
    PackIndex,
    find_damaged_line,
    find_last_image,
    format_line,
    parse_line,
)

SHA256 = "ab" * 32
WHOLE = {0: 10**9, 1: 10**9}


def image(name: str, pack: int = 0, offset: int = 512) -> PackedImage:
    return PackedImage(f"d/{name}.jpg", pack, offset, 1000, SHA256)


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def test_a_line_has_path_pack_offset_size_sha256_action_and_a_checksum() -> None:
    line = format_line(image("a", 7), ADDED)
    assert line.startswith(b"d/a.jpg\t007\t512\t1000\t" + SHA256.encode() + b"\tadded\t")
    assert parse_line(line) == (image("a", 7), ADDED)


def test_a_line_with_any_changed_byte_is_damaged() -> None:
    line = format_line(image("a"), ADDED)
    for at in range(len(line)):
        changed = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
        assert parse_line(changed) is None
    assert parse_line(line[:-1]) is None


def test_the_last_image_of_a_path_counts_and_the_others_are_replaced(tmp_path: Path) -> None:
    first, second, other = image("a"), image("a", 1), image("b", 0, 5_000)
    lines = [format_line(one, ADDED) for one in (first, other, second)]
    index = PackIndex.load(write(tmp_path / "idx", *lines), WHOLE)
    assert index.images == {"d/a.jpg": second, "d/b.jpg": other}
    assert index.find_all("d/a.jpg") == [second, first]
    assert set(index.list_all()) == {first, second, other}


def test_a_removed_image_is_not_listed_and_one_that_came_back_is(tmp_path: Path) -> None:
    first, again = image("a"), image("a", 1)
    lines = [format_line(first, ADDED), format_line(first, REMOVED)]
    assert PackIndex.load(write(tmp_path / "idx", *lines), WHOLE).find_all("d/a.jpg") == []
    lines.append(format_line(again, ADDED))
    assert PackIndex.load(write(tmp_path / "idx", *lines), WHOLE).find_all("d/a.jpg") == [again]


@pytest.mark.parametrize(("cut", "damaged"), [(True, None), (False, 2)])
def test_an_incomplete_last_line_is_no_damage_but_a_changed_line_is(
    tmp_path: Path, cut: bool, damaged: int | None
) -> None:
    broken = format_line(image("b"), ADDED)[:40] + (b"" if cut else b"\n")
    index = PackIndex.load(write(tmp_path / "idx", format_line(image("a"), ADDED), broken), WHOLE)
    assert list(index.images) == ["d/a.jpg"]
    assert find_damaged_line(tmp_path / "idx") == damaged


def test_images_beyond_the_end_of_their_pack_are_not_listed(tmp_path: Path) -> None:
    lines = [
        format_line(image("a"), ADDED),
        format_line(image("b", 0, 2_048), ADDED),
        format_line(image("c", 1), ADDED),
    ]
    index = PackIndex.load(write(tmp_path / "idx", *lines), {0: 3_000})
    assert list(index.images) == ["d/a.jpg"]


def test_the_last_image_is_found_behind_many_removals(tmp_path: Path) -> None:
    last = image("z", 1)
    removals = [format_line(image(str(number)), REMOVED) for number in range(1_000)]
    path = write(tmp_path / "idx", format_line(image("a"), ADDED), format_line(last, ADDED), *removals)
    assert path.stat().st_size > TAIL_BYTES
    assert find_last_image(path) == last
    assert find_last_image(write(tmp_path / "none", *removals)) is None
    assert find_last_image(write(tmp_path / "empty")) is None
