import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.clean.delete_images import COLUMNS, delete
from gbif_webdataset.errors import DatasetError, ParameterError, SelectionError

NOW, LATER = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"
IMAGES = ("d/a.jpg", "d/b.jpg", "d/c.jpg", "e/a.jpg", "e/a_1.jpg")
SCHEMA = pa.schema([(name, pa.string()) for name in ("image_path", "identifier", "sha256")])


class Room:
    """A folder with images, their table, and a list of those to delete."""

    def __init__(self, folder: Path) -> None:
        self.images, self.verified = folder / "images", folder / "verified.parquet"
        self.listing, self.deleted, self.would_delete = folder / "list", folder / "deleted.csv", folder / "would.csv"
        self.scratch = folder / "scratch"
        for name in IMAGES:
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            (self.images / name).write_text(name)
        rows = [{"image_path": name, "identifier": f"http://a.org/{name}", "sha256": f"of {name}"} for name in IMAGES]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), self.verified)

    def delete(self, listing: str, now: str | None = NOW) -> dict[str, int]:
        self.listing.write_text(listing)
        target = self.deleted if now else self.would_delete
        return delete(self.listing, self.verified, self.images, self.deleted, target, now, self.scratch)

    def left(self) -> list[str]:
        return sorted(path.relative_to(self.images).as_posix() for path in self.images.rglob("*.jpg"))

    def lines(self, path: Path | None = None) -> list[list[str]]:
        with (path or self.deleted).open(newline="") as file:
            header, *lines = csv.reader(file)
        assert tuple(header) == COLUMNS
        return lines


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def line(name: str, reason: str, now: str = NOW) -> list[str]:
    return [name, f"http://a.org/{name}", f"of {name}", reason, now]


def test_images_on_a_plain_list_are_deleted_and_written_down(room: Room) -> None:
    assert room.delete("e/a.jpg\n\n ./d/b.jpg \nimages/d/a.jpg\ne/a.jpg\n") == {"listed": 3}
    assert room.left() == ["d/c.jpg", "e/a_1.jpg"]
    assert room.lines() == [line("d/a.jpg", "listed"), line("d/b.jpg", "listed"), line("e/a.jpg", "listed")]


@pytest.mark.parametrize("column", ["error", "reason"])
def test_a_csv_says_why(room: Room, column: str) -> None:
    listing = f"identifier,image_path,{column}\nx,d/b.jpg,truncated\ny,d/a.jpg,\n"
    assert room.delete(listing) == {"listed": 1, "truncated": 1}
    assert room.lines() == [line("d/a.jpg", "listed"), line("d/b.jpg", "truncated")]
    assert room.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_a_list_with_windows_line_ends_and_a_byte_order_mark_is_read(room: Room) -> None:
    assert room.delete("\ufeffd/a.jpg\r\nd/b.jpg\r\n") == {"listed": 2}
    assert room.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]
    assert room.delete("\ufeffimage_path,reason\r\nd/c.jpg,blurred\r\n") == {"blurred": 1}


@pytest.mark.parametrize("listing", ["", "\n\n", "image_path,error,identifier\n"])
def test_an_empty_list_deletes_nothing_and_leaves_an_empty_table(room: Room, listing: str) -> None:
    assert room.delete(listing) == {}
    assert room.lines() == []
    assert room.left() == sorted(IMAGES)


@pytest.mark.parametrize(
    "entry",
    ["../d/a.jpg", "d/../../images/d/a.jpg", "images/../../secret.jpg", "/etc/passwd", "./../secret.jpg", "images//etc/passwd"],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_images_is_refused(room: Room, entry: str) -> None:
    with pytest.raises(ParameterError, match=r"line 2: .* leads out of images/.* Nothing was deleted"):
        room.delete(f"d/a.jpg\n{entry}\n")
    assert room.left() == sorted(IMAGES)
    assert not room.deleted.exists()


def test_the_absolute_path_of_an_image_is_refused_too(room: Room) -> None:
    with pytest.raises(ParameterError, match="leads out of images/; list paths below it"):
        room.delete(f"{room.images / 'd/a.jpg'}\n")
    assert room.left() == sorted(IMAGES)


def test_a_folder_that_links_elsewhere_is_refused_and_nothing_is_deleted(room: Room, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (room.images / "e").rename(elsewhere)
    (room.images / "e").symlink_to(elsewhere)
    with pytest.raises(ParameterError, match=r"e/a\.jpg: a link leads out of .*images; nothing was deleted"):
        room.delete("d/a.jpg\ne/a.jpg\n")
    assert (room.images / "d/a.jpg").exists()
    assert (elsewhere / "a.jpg").exists()
    assert not room.deleted.exists()


def test_an_image_that_is_a_link_goes_without_what_it_links_to(room: Room, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (room.images / "d/a.jpg").unlink()
    (room.images / "d/a.jpg").symlink_to(tmp_path / "precious")
    room.delete("d/a.jpg\n")
    assert not (room.images / "d/a.jpg").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"


def test_images_in_a_linked_images_folder_are_deleted(room: Room, tmp_path: Path) -> None:
    room.images.rename(tmp_path / "big-disk")
    room.images.symlink_to(tmp_path / "big-disk")
    assert room.delete("d/a.jpg\n") == {"listed": 1}
    assert not (tmp_path / "big-disk/d/a.jpg").exists()


@pytest.mark.parametrize("entry", ["d/z.jpg", "d", "images/", "d/a.jpg\x00", "D/A.jpg"])
def test_an_unknown_path_is_refused_and_nothing_is_deleted(room: Room, entry: str) -> None:
    (room.images / "d/z.jpg").write_text("not of this dataset")
    before = room.left()
    with pytest.raises(SelectionError, match=r"1 of its paths are no images of this dataset, .*; nothing was deleted"):
        room.delete(f"d/a.jpg\n{entry}\n")
    assert room.left() == before
    assert not room.deleted.exists()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00d/a.jpg\n", b'["' + b'd/a.jpg", "' * 40_000 + b'"]'], ids=["not text", "one long line"]
)
def test_a_list_that_is_none_is_refused_in_one_sentence(room: Room, content: bytes) -> None:
    room.listing.write_bytes(content)
    with pytest.raises(DatasetError, match="image_list"):
        delete(room.listing, room.verified, room.images, room.deleted, room.deleted, NOW, room.scratch)
    assert room.left() == sorted(IMAGES)


def test_a_list_that_is_not_there_is_an_error(room: Room) -> None:
    with pytest.raises(ParameterError, match=r"image_list .*nowhere can't be read"):
        delete(Path("nowhere"), room.verified, room.images, room.deleted, room.deleted, NOW, room.scratch)


def test_a_dry_run_says_what_it_would_delete_and_deletes_nothing(room: Room) -> None:
    room.delete("d/a.jpg\n")
    assert room.delete("d/b.jpg\n", now=None) == {"listed": 1}
    assert room.lines(room.would_delete) == [line("d/a.jpg", "listed"), line("d/b.jpg", "listed", "")]
    assert room.lines() == [line("d/a.jpg", "listed")]
    assert room.left() == ["d/b.jpg", "d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_older_lines_stay_unless_their_images_came_back(room: Room) -> None:
    room.delete("d/a.jpg\nd/b.jpg\n")
    (room.images / "d/a.jpg").write_text("fetched again")
    assert room.delete("e/a.jpg\n", LATER) == {"listed": 1}
    assert room.lines() == [line("d/b.jpg", "listed"), line("e/a.jpg", "listed", LATER)]
    assert room.left() == ["d/a.jpg", "d/c.jpg", "e/a_1.jpg"]


def test_an_image_that_came_back_can_be_deleted_again(room: Room) -> None:
    room.delete("d/a.jpg\n")
    (room.images / "d/a.jpg").write_text("fetched again")
    assert room.delete("d/a.jpg\n", LATER) == {"listed": 1}
    assert room.lines() == [line("d/a.jpg", "listed", LATER)]
    assert "d/a.jpg" not in room.left()


def test_what_is_deleted_already_is_not_deleted_again(room: Room) -> None:
    room.delete("image_path,error\nd/a.jpg,truncated\n")
    assert room.delete("image_path,error\nd/a.jpg,missing-file\nd/b.jpg,truncated\n", LATER) == {"truncated": 1}
    assert room.lines() == [line("d/a.jpg", "truncated"), line("d/b.jpg", "truncated", LATER)]


def test_a_run_that_was_killed_before_it_deleted_is_made_good(room: Room) -> None:
    room.delete("d/a.jpg\nd/b.jpg\n")
    (room.images / "d/b.jpg").write_text("the run was killed before this one")
    assert room.delete("d/a.jpg\nd/b.jpg\n", LATER) == {"listed": 1}
    assert [path for path, *_ in room.lines()] == ["d/a.jpg", "d/b.jpg"]
    assert room.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_an_image_that_has_gone_by_itself_is_written_down(room: Room) -> None:
    (room.images / "d/a.jpg").unlink()
    assert room.delete("image_path,error\nd/a.jpg,missing-file\n") == {"missing-file": 1}
    assert room.lines() == [line("d/a.jpg", "missing-file")]


def test_the_folders_name_means_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path / "a=b" / "reason=x [1]")
    room.delete("d/a.jpg\n")
    assert room.delete("d/b.jpg\n", LATER) == {"listed": 1}
    assert [path for path, *_ in room.lines()] == ["d/a.jpg", "d/b.jpg"]
