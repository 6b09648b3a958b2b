import io
import tarfile

import pytest

from gbif_webdataset.read.tar_stream import HeaderTooLargeError, TarMember, TarStream, UnknownFormatError

LONG = "folder/" * 40 + "file.txt"


def make_tar(names: list[str], format: int, **options: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format, pax_headers=options or None) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name.encode())
            archive.addfile(info, io.BytesIO(name.encode()))
    return packed.getvalue()


def make_header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_have_the_names_sizes_and_bytes_that_python_wrote(format: int) -> None:
    names = ["a.txt", "ü.txt", "d/" * 60 + "b"] + ([LONG] if format != tarfile.USTAR_FORMAT else [])
    tar = TarStream(io.BytesIO(make_tar(names, format)))
    for name in names:
        member = tar.next_member()
        assert member == TarMember(name, len(name.encode()), is_file=True)
        assert tar.read(2) + tar.read() == name.encode()
        assert tar.read() == b""
    assert tar.next_member() is None


def test_members_that_are_not_read_are_skipped_and_global_headers_name_no_file() -> None:
    tar = TarStream(io.BytesIO(make_tar(["a", LONG, "c"], tarfile.PAX_FORMAT, comment="x", path="y")))
    assert [member.name for member in iter(tar.next_member, None)] == ["a", LONG, "c"]


def test_links_folders_and_sparse_files_are_no_files() -> None:
    block = bytearray(make_header(tarfile.GNUTYPE_SPARSE, 3))
    data = make_header(tarfile.SYMTYPE, 0) + make_header(tarfile.DIRTYPE, 0) + bytes(block) + b"abc".ljust(512, b"\0")
    tar = TarStream(io.BytesIO(data + make_header(tarfile.REGTYPE, 0, "last")))
    assert [(member.name, member.is_file) for member in iter(tar.next_member, None)] == [
        ("x", False), ("x", False), ("x", False), ("last", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
)
def test_a_header_of_three_gigabytes_is_refused_before_it_is_read(kind: bytes) -> None:
    with pytest.raises(HeaderTooLargeError):
        TarStream(io.BytesIO(make_header(kind, 3 << 30))).next_member()
    with pytest.raises(HeaderTooLargeError):
        TarStream(io.BytesIO((make_header(kind, 0)) * 1000)).next_member()


@pytest.mark.parametrize(
    "records",
    [b"0 a=b\n", b"x", b"1 ", b"99999999999 a=b\n", b"-5 a=b\n", b"1" * 60_000, b"9 size=x\n", b"10 size=-1\n"],
)
def test_damaged_records_of_an_extended_header_are_an_error(records: bytes) -> None:
    data = make_header(tarfile.XHDTYPE, len(records)) + records.ljust(-(-len(records) // 512) * 512, b"\0")
    with pytest.raises((ValueError, EOFError, tarfile.TarError)):
        TarStream(io.BytesIO(data + make_header(tarfile.REGTYPE, 0))).next_member()


def test_what_is_not_a_tar_and_a_tar_that_ends_early_are_errors() -> None:
    with pytest.raises(UnknownFormatError):
        TarStream(io.BytesIO(b"hello")).next_member()
    tar = TarStream(io.BytesIO(make_tar(["a" * 90], tarfile.GNU_FORMAT)[:550]))
    assert tar.next_member() == TarMember("a" * 90, 90, is_file=True)
    assert len(tar.read(80)) == 38
    with pytest.raises(EOFError):
        tar.next_member()
