import io
import lzma
import re
import zipfile
from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import containers
from tests.support.archives import write_folder, write_tar, write_zip

FILES: dict[str, bytes] = {"meta.xml": b"<archive/>", "a/b.txt": b"x" * 3_000_000, "empty.txt": b""}


COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def test_files_have_the_same_names_sizes_and_bytes_in_every_container(tmp_path: Path) -> None:
    archives = [
        write_folder(tmp_path / "folder", FILES),
        *(write_zip(tmp_path / f"{n}.zip", FILES, n) for n in COMPRESSIONS),
    ]
    archives += [
        write_tar(tmp_path / f"a.{mode[2:] or 'tar'}", FILES, mode) for mode in ("w:", "w:gz", "w:bz2", "w:xz")
    ]
    for archive in archives:
        with containers.open_container(archive, 100_000) as files:
            assert sorted(files.list_files()) == sorted(FILES)
            for name, data in FILES.items():
                assert files.count_bytes(name) == len(data)
                with files.open(name) as file:
                    assert file.read(10) + file.read() == data
                with files.open(name) as file:
                    assert io.TextIOWrapper(file, newline="").read() == data.decode()


def test_a_zip_with_zip64_fields_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = containers.compute_identity(write_zip(tmp_path / "plain.zip", FILES))
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        data = write_zip(tmp_path / "a.zip", FILES).read_bytes()
    sizes = [data[at.start() + 20 : at.start() + 28] for at in re.finditer(b"PK\x01\x02", data)]
    assert sizes[:2] == [b"\xff" * 8] * 2  # the sizes are in the zip64 fields
    assert b"PK\x06\x06" in data
    with containers.open_container(tmp_path / "a.zip", 100_000) as files:
        assert {name: files.count_bytes(name) for name in files.list_files()} == {
            name: len(data) for name, data in FILES.items()
        }
        for name, content in FILES.items():
            with files.open(name) as file:
                assert file.read() == content
    assert containers.compute_identity(tmp_path / "a.zip") == plain


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damage_anywhere_in_a_zip_is_one_sentence(tmp_path: Path, compression: int) -> None:
    good = write_zip(tmp_path / "a.zip", FILES, compression).read_bytes()
    wrong = 0
    for at in range(0, len(good), max(1, len(good) // 60)):
        data = bytearray(good)
        data[at] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(data)
        try:
            with containers.open_container(tmp_path / "b.zip", 10_000) as files:
                for name in files.list_files():
                    with files.open(name) as file:
                        file.read()
        except ArchiveError as error:
            wrong += 1
            assert str(error).startswith(str(tmp_path / "b.zip"))
    assert wrong > 20


def test_a_tar_that_ends_early_is_one_sentence(tmp_path: Path) -> None:
    for mode in ("w:", "w:gz", "w:xz"):
        data = write_tar(tmp_path / "a.tar", FILES, mode).read_bytes()
        (tmp_path / "b.tar").write_bytes(data[: len(data) // 2])
        with (
            pytest.raises(ArchiveError, match=r"b\.tar: (the archive is damaged|not a zip)"),
            containers.open_container(tmp_path / "b.tar", 1e6) as files,
            files.open("a/b.txt") as file,
        ):
            file.read()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK", b"\x1f\x8b", lzma.compress(b"x"), b"\0" * 2048])
def test_a_file_that_is_not_an_archive_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"/a: "), containers.open_container(tmp_path / "a", 200) as files:
        assert files.list_files() == []
        raise ArchiveError(f"{tmp_path}/a: empty")
    with (
        pytest.raises(ArchiveError, match=r"^--dwca .*b: the archive does not exist; give the path of a GBIF download"),
        containers.open_container(tmp_path / "b", 200),
    ):
        pass


def test_an_error_in_the_callers_block_is_raised_unchanged(tmp_path: Path) -> None:
    for archive in (
        write_zip(tmp_path / "a.zip", FILES),
        write_tar(tmp_path / "a.tar.gz", FILES),
        write_folder(tmp_path / "folder", FILES),
    ):
        for error in (ValueError("mine"), RuntimeError("mine"), OSError("mine"), EOFError("mine")):
            with pytest.raises(type(error), match="mine"), containers.open_container(archive, 100_000):
                raise error


def test_the_identity_changes_with_the_content_and_not_with_the_compression(tmp_path: Path) -> None:
    zips = [containers.compute_identity(write_zip(tmp_path / f"{n}.zip", FILES, n)) for n in COMPRESSIONS]
    assert len(set(zips)) == 1
    first = containers.compute_identity(write_tar(tmp_path / "a.tar", FILES, "w:"))
    assert containers.compute_identity(write_tar(tmp_path / "b.tar", FILES, "w:")) == first
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[600] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    assert containers.compute_identity(tmp_path / "a.tar") != first
    folder = containers.compute_identity(write_folder(tmp_path / "folder", FILES))
    (tmp_path / "folder" / "empty.txt").write_bytes(b"x")
    assert containers.compute_identity(tmp_path / "folder") != folder


def test_the_joint_identity_depends_on_all_archives_and_not_on_their_order(tmp_path: Path) -> None:
    one, two, three = (write_zip(tmp_path / f"{name}.zip", {"a": name}) for name in ("one", "two", "three"))
    joint = containers.compute_joint_identity([one, two])
    assert containers.compute_joint_identity([two, one]) == joint
    assert containers.compute_joint_identity([one]) == containers.compute_identity(one)
    assert len({joint, *(containers.compute_joint_identity(paths) for paths in ([one], [one, three]))}) == 3
