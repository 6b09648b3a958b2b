import io
import lzma
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import containers

FILES = {"meta.xml": b"<archive/>", "a/b.txt": b"x" * 3_000_000, "empty.txt": b""}


def zipped(path: Path, packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def in_folder(path: Path) -> Path:
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def test_files_of_every_container_have_the_same_names_sizes_and_bytes(tmp_path: Path) -> None:
    archives = [in_folder(tmp_path / "folder"), *(zipped(tmp_path / f"{n}.zip", n) for n in PACKINGS)]
    archives += [tarred(tmp_path / f"a.{mode[2:] or 'tar'}", mode) for mode in ("w:", "w:gz", "w:bz2", "w:xz")]
    for archive in archives:
        with containers.opened(archive, 100_000) as files:
            assert sorted(files.names()) == sorted(FILES)
            for name, data in FILES.items():
                assert files.size(name) == len(data)
                with files.open(name) as file:
                    assert file.read(10) + file.read() == data
                with files.open(name) as file:
                    assert io.TextIOWrapper(file, newline="").read() == data.decode()


def test_a_zip_whose_sizes_and_places_stand_in_zip64_fields_as_those_beyond_4_gib_do_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = containers.identity(zipped(tmp_path / "plain.zip"))
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        data = zipped(tmp_path / "a.zip").read_bytes()
    sizes = [data[at.start() + 20 : at.start() + 28] for at in re.finditer(b"PK\x01\x02", data)]
    assert sizes[:2] == [b"\xff" * 8] * 2  # which says that they stand elsewhere
    assert b"PK\x06\x06" in data
    with containers.opened(tmp_path / "a.zip", 100_000) as files:
        assert {name: files.size(name) for name in files.names()} == {name: len(data) for name, data in FILES.items()}
        for name, content in FILES.items():
            with files.open(name) as file:
                assert file.read() == content
    assert containers.identity(tmp_path / "a.zip") == plain


@pytest.mark.parametrize("packing", PACKINGS)
def test_damage_anywhere_in_a_zip_is_one_sentence(tmp_path: Path, packing: int) -> None:
    good = zipped(tmp_path / "a.zip", packing).read_bytes()
    wrong = 0
    for at in range(0, len(good), max(1, len(good) // 60)):
        data = bytearray(good)
        data[at] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(data)
        try:
            with containers.opened(tmp_path / "b.zip", 10_000) as files:
                for name in files.names():
                    with files.open(name) as file:
                        file.read()
        except ArchiveError as error:
            wrong += 1
            assert str(error).startswith(str(tmp_path / "b.zip"))
    assert wrong > 20


def test_a_tar_that_ends_early_is_one_sentence(tmp_path: Path) -> None:
    for mode in ("w:", "w:gz", "w:xz"):
        data = tarred(tmp_path / "a.tar", mode).read_bytes()
        (tmp_path / "b.tar").write_bytes(data[: len(data) // 2])
        with (
            pytest.raises(ArchiveError, match=r"b\.tar: (damaged|neither)"),
            containers.opened(tmp_path / "b.tar", 1e6) as files,
            files.open("a/b.txt") as file,
        ):
            file.read()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK", b"\x1f\x8b", lzma.compress(b"x"), b"\0" * 2048])
def test_what_is_no_archive_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"/a: "), containers.opened(tmp_path / "a", 200) as files:
        assert files.names() == []
        raise ArchiveError(f"{tmp_path}/a: empty")
    with (
        pytest.raises(ArchiveError, match=r"no such archive; give the path of a GBIF download with --dwca"),
        containers.opened(tmp_path / "b", 200),
    ):
        pass


def test_an_error_of_the_one_who_reads_comes_out_as_it_is(tmp_path: Path) -> None:
    for archive in (zipped(tmp_path / "a.zip"), tarred(tmp_path / "a.tar.gz"), in_folder(tmp_path / "folder")):
        for error in (ValueError("mine"), RuntimeError("mine"), OSError("mine"), EOFError("mine")):
            with pytest.raises(type(error), match="mine"), containers.opened(archive, 100_000):
                raise error


def test_the_identity_is_of_what_is_in_it(tmp_path: Path) -> None:
    zips = [containers.identity(zipped(tmp_path / f"{n}.zip", n)) for n in PACKINGS]
    assert len(set(zips)) == 1
    first = containers.identity(tarred(tmp_path / "a.tar", "w:"))
    assert containers.identity(tarred(tmp_path / "b.tar", "w:")) == first
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[600] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    assert containers.identity(tmp_path / "a.tar") != first
    folder = containers.identity(in_folder(tmp_path / "folder"))
    (tmp_path / "folder" / "empty.txt").write_bytes(b"x")
    assert containers.identity(tmp_path / "folder") != folder
