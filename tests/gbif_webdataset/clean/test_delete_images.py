import csv
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset import __version__
from gbif_webdataset.clean.delete_images import COLUMNS, DeletionFiles, delete_images, match_image_list
from gbif_webdataset.errors import DatasetError, ParameterError, SelectionError
from gbif_webdataset.storage.pack_store import PACK_BYTES
from tests.support.packs import pack_images, read_files

NOW, LATER = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"
IMAGES = ("d/a.jpg", "d/b.jpg", "d/c.jpg", "e/a.jpg", "e/a_1.jpg")
SCHEMA = pa.schema([(name, pa.string()) for name in ("image_path", "identifier", "sha256")])


class DeleteRun:
    """A folder with images, their table, and a list of images to delete."""

    def __init__(self, folder: Path) -> None:
        self.images, self.verified = folder / "images", folder / "verified.parquet"
        self.listing, self.deleted, self.would_delete = folder / "list", folder / "deleted.csv", folder / "would.csv"
        self.scratch, self.unmatched = folder / "scratch", folder / "unmatched.csv"
        for name in IMAGES:
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            (self.images / name).write_text(name)
        rows = [{"image_path": name, "identifier": f"http://a.org/{name}", "sha256": f"of {name}"} for name in IMAGES]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), self.verified)

    def delete(self, listing: str, now: str | None = NOW) -> dict[str, int]:
        self.listing.write_text(listing)
        return self.delete_listed(self.listing, now)

    def delete_listed(self, listing: Path, now: str | None = NOW) -> dict[str, int]:
        files = DeletionFiles(listing, self.verified, self.images, self.deleted, self.would_delete, self.unmatched)
        deletion = delete_images(files, now, self.scratch, PACK_BYTES)
        self.match = deletion.match
        assert deletion.unmatched == len(self.unmatched.read_text().splitlines()[1:] if self.unmatched.exists() else [])
        return deletion.reasons

    def left(self) -> list[str]:
        return sorted(path.relative_to(self.images).as_posix() for path in self.images.rglob("*.jpg"))

    def lines(self, path: Path | None = None) -> list[list[str]]:
        with (path or self.deleted).open(newline="") as file:
            header, *lines = csv.reader(file)
        assert tuple(header) == COLUMNS
        return lines


@pytest.fixture
def deletion(tmp_path: Path) -> DeleteRun:
    return DeleteRun(tmp_path)


def line(name: str, reason: str, now: str = NOW) -> list[str]:
    return [name, f"http://a.org/{name}", f"of {name}", reason, now, __version__]


def test_images_on_a_plain_list_are_deleted_and_recorded(deletion: DeleteRun) -> None:
    assert deletion.delete("e/a.jpg\n\n ./d/b.jpg \nimages/d/a.jpg\ne/a.jpg\n") == {"listed": 3}
    assert deletion.left() == ["d/c.jpg", "e/a_1.jpg"]
    assert deletion.lines() == [line("d/a.jpg", "listed"), line("d/b.jpg", "listed"), line("e/a.jpg", "listed")]


@pytest.mark.parametrize("column", ["error", "reason"])
def test_a_csv_states_the_reasons(deletion: DeleteRun, column: str) -> None:
    listing = f"identifier,image_path,{column}\nx,d/b.jpg,truncated\ny,d/a.jpg,\n"
    assert deletion.delete(listing) == {"listed": 1, "truncated": 1}
    assert deletion.lines() == [line("d/a.jpg", "listed"), line("d/b.jpg", "truncated")]
    assert deletion.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_a_list_with_windows_line_ends_and_a_byte_order_mark_is_read(deletion: DeleteRun) -> None:
    assert deletion.delete("\ufeffd/a.jpg\r\nd/b.jpg\r\n") == {"listed": 2}
    assert deletion.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]
    assert deletion.delete("\ufeffimage_path,reason\r\nd/c.jpg,blurred\r\n") == {"blurred": 1}


@pytest.mark.parametrize("listing", ["", "\n\n", "image_path,error,identifier\n"])
def test_an_empty_list_deletes_nothing_and_leaves_an_empty_table(deletion: DeleteRun, listing: str) -> None:
    assert deletion.delete(listing) == {}
    assert deletion.lines() == []
    assert deletion.left() == sorted(IMAGES)


@pytest.mark.parametrize(
    "entry",
    ["../d/a.jpg", "d/../../images/d/a.jpg", "images/../../secret.jpg", "/etc/passwd", "./../secret.jpg", "images//etc/passwd"],
)  # fmt: skip
def test_a_path_that_leads_out_of_images_is_refused(deletion: DeleteRun, entry: str) -> None:
    with pytest.raises(
        ParameterError, match=r"list, line 2: .* is outside images/; list paths below images/\. Nothing was deleted"
    ):
        deletion.delete(f"d/a.jpg\n{entry}\n")
    assert deletion.left() == sorted(IMAGES)
    assert not deletion.deleted.exists()


def test_an_absolute_path_is_refused(deletion: DeleteRun) -> None:
    with pytest.raises(ParameterError, match="is outside images/; list paths below images/"):
        deletion.delete(f"{deletion.images / 'd/a.jpg'}\n")
    assert deletion.left() == sorted(IMAGES)


def test_a_folder_that_is_a_link_is_refused_and_nothing_is_deleted(deletion: DeleteRun, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (deletion.images / "e").rename(elsewhere)
    (deletion.images / "e").symlink_to(elsewhere)
    with pytest.raises(
        ParameterError, match=r"e/a\.jpg: its folder is a link to a place outside .*images; .*\. Nothing was deleted"
    ):
        deletion.delete("d/a.jpg\ne/a.jpg\n")
    assert (deletion.images / "d/a.jpg").exists()
    assert (elsewhere / "a.jpg").exists()
    assert not deletion.deleted.exists()


def test_a_link_is_deleted_and_the_file_it_points_to_is_kept(deletion: DeleteRun, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (deletion.images / "d/a.jpg").unlink()
    (deletion.images / "d/a.jpg").symlink_to(tmp_path / "precious")
    deletion.delete("d/a.jpg\n")
    assert not (deletion.images / "d/a.jpg").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"


def test_images_in_a_linked_images_folder_are_deleted(deletion: DeleteRun, tmp_path: Path) -> None:
    deletion.images.rename(tmp_path / "big-disk")
    deletion.images.symlink_to(tmp_path / "big-disk")
    assert deletion.delete("d/a.jpg\n") == {"listed": 1}
    assert not (tmp_path / "big-disk/d/a.jpg").exists()


@pytest.mark.parametrize("entry", ["d/z.jpg", "d", "images/", "d/a.jpg\x00", "D/A.jpg"])
def test_a_path_that_is_no_image_of_the_dataset_is_reported_and_not_deleted(deletion: DeleteRun, entry: str) -> None:
    (deletion.images / "d/z.jpg").write_text("not of this dataset")
    assert deletion.delete(f"d/a.jpg\n{entry}\n") == {"listed": 1}
    assert deletion.left() == sorted({*IMAGES, "d/z.jpg"} - {"d/a.jpg"})
    assert deletion.match == f"--DeleteImages-image-list {deletion.listing}: 1 of 2 images occurs in the archive"
    header, unmatched = deletion.unmatched.read_text().splitlines()
    assert (header, unmatched.strip('"')) == ("image_path", "." if entry == "images/" else entry)
    assert deletion.delete("d/a.jpg\nd/b.jpg\n") == {"listed": 1}
    assert not deletion.unmatched.exists()


def test_a_list_of_which_less_than_half_are_images_is_a_warning(deletion: DeleteRun) -> None:
    deletion.delete("d/a.jpg\nx\ny\n")
    assert deletion.match.startswith("WARNING: --DeleteImages-image-list")
    assert "1 of 3 images occurs in the archive; write image_path as in the manifest" in deletion.match


def test_a_list_without_an_image_of_the_dataset_is_refused_and_nothing_is_deleted(deletion: DeleteRun) -> None:
    with pytest.raises(SelectionError, match="none of its 2 images occurs in the archive; write image_path as in"):
        deletion.delete("a.jpg\nb.jpg\n")
    assert deletion.left() == sorted(IMAGES)
    assert not deletion.deleted.exists()


def test_the_images_on_a_list_that_the_manifest_has_are_counted(tmp_path: Path) -> None:
    connection, path = duckdb.connect(), tmp_path / "list.txt"
    connection.execute("CREATE TABLE manifest AS SELECT unnest(['d/1.jpg', 'd/2.jpg']) AS image_path")
    path.write_text("images/d/1.jpg\nd/1.jpg\nd/3.jpg\n")
    sentence = match_image_list(connection, path, "manifest")
    assert sentence == f"--DeleteImages-image-list {path}: 1 of 2 images occurs in the archive"
    path.write_text("d/3.jpg\n")
    with pytest.raises(SelectionError, match="none of its 1 images occurs in the archive"):
        match_image_list(connection, path, "manifest")
    path.write_text("\n")
    assert "0 of 0" in match_image_list(connection, path, "manifest")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00d/a.jpg\n", b'["' + b'd/a.jpg", "' * 40_000 + b'"]'], ids=["not text", "one long line"]
)
def test_a_file_that_is_not_a_list_is_refused_in_one_sentence(deletion: DeleteRun, content: bytes) -> None:
    deletion.listing.write_bytes(content)
    with pytest.raises(DatasetError, match="--DeleteImages-image-list"):
        deletion.delete_listed(deletion.listing)
    assert deletion.left() == sorted(IMAGES)


def test_a_list_that_does_not_exist_is_an_error(deletion: DeleteRun) -> None:
    with pytest.raises(ParameterError, match=r"--DeleteImages-image-list nowhere: not readable .*No such file"):
        deletion.delete_listed(Path("nowhere"))


def test_a_dry_run_lists_what_it_would_delete_and_deletes_nothing(deletion: DeleteRun) -> None:
    deletion.delete("d/a.jpg\n")
    assert deletion.delete("d/b.jpg\n", now=None) == {"listed": 1}
    assert deletion.lines(deletion.would_delete) == [line("d/a.jpg", "listed"), line("d/b.jpg", "listed", "")]
    assert deletion.lines() == [line("d/a.jpg", "listed")]
    assert deletion.left() == ["d/b.jpg", "d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_older_lines_are_kept_unless_their_images_exist_again(deletion: DeleteRun) -> None:
    deletion.delete("d/a.jpg\nd/b.jpg\n")
    (deletion.images / "d/a.jpg").write_text("fetched again")
    assert deletion.delete("e/a.jpg\n", LATER) == {"listed": 1}
    assert deletion.lines() == [line("d/b.jpg", "listed"), line("e/a.jpg", "listed", LATER)]
    assert deletion.left() == ["d/a.jpg", "d/c.jpg", "e/a_1.jpg"]


def test_an_image_that_was_fetched_again_can_be_deleted_again(deletion: DeleteRun) -> None:
    deletion.delete("d/a.jpg\n")
    (deletion.images / "d/a.jpg").write_text("fetched again")
    assert deletion.delete("d/a.jpg\n", LATER) == {"listed": 1}
    assert deletion.lines() == [line("d/a.jpg", "listed", LATER)]
    assert "d/a.jpg" not in deletion.left()


def test_a_deleted_image_is_not_deleted_again(deletion: DeleteRun) -> None:
    deletion.delete("image_path,error\nd/a.jpg,truncated\n")
    assert deletion.delete("image_path,error\nd/a.jpg,missing-file\nd/b.jpg,truncated\n", LATER) == {"truncated": 1}
    assert deletion.lines() == [line("d/a.jpg", "truncated"), line("d/b.jpg", "truncated", LATER)]


def test_a_run_that_was_killed_before_it_deleted_is_completed(deletion: DeleteRun) -> None:
    deletion.delete("d/a.jpg\nd/b.jpg\n")
    (deletion.images / "d/b.jpg").write_text("the run was killed before this one")
    assert deletion.delete("d/a.jpg\nd/b.jpg\n", LATER) == {"listed": 1}
    assert [path for path, *_ in deletion.lines()] == ["d/a.jpg", "d/b.jpg"]
    assert deletion.left() == ["d/c.jpg", "e/a.jpg", "e/a_1.jpg"]


def test_a_missing_image_is_recorded(deletion: DeleteRun) -> None:
    (deletion.images / "d/a.jpg").unlink()
    assert deletion.delete("image_path,error\nd/a.jpg,missing-file\n") == {"missing-file": 1}
    assert deletion.lines() == [line("d/a.jpg", "missing-file")]


def test_special_characters_in_the_folder_name_are_allowed(tmp_path: Path) -> None:
    deletion = DeleteRun(tmp_path / "a=b" / "reason=x [1]")
    deletion.delete("d/a.jpg\n")
    assert deletion.delete("d/b.jpg\n", LATER) == {"listed": 1}
    assert [path for path, *_ in deletion.lines()] == ["d/a.jpg", "d/b.jpg"]


@pytest.mark.parametrize("damage", ["a line", "no index"])
def test_an_image_is_deleted_although_its_line_in_the_index_is_damaged(deletion: DeleteRun, damage: str) -> None:
    pack_images(deletion.images, 0, {"d/b.jpg": b"the bytes of b" * 9, "d/c.jpg": b"the bytes of c" * 9})
    index = deletion.images / "chunk-00000.idx"
    if damage == "a line":
        index.write_bytes(b"x" + index.read_bytes())
    else:
        index.unlink()
    deletion.delete("d/b.jpg")
    assert [row[0] for row in deletion.lines()] == ["d/b.jpg"]
    left = read_files(deletion.images)
    assert b"the bytes of b" not in left and b"the bytes of c" in left
