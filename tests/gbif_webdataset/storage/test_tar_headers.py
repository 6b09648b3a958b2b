import tarfile

from hypothesis import given
from hypothesis import strategies as st

from gbif_webdataset.storage import tar_headers

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=260)


def make_header_with_tarfile(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, tar_headers.MODE, tar_headers.MTIME
    return member.tobuf(tarfile.DEFAULT_FORMAT, tarfile.ENCODING, "surrogateescape")


@given(NAMES | st.text("abc/._-09", min_size=90, max_size=110), st.integers(0, 8**12))
def test_a_header_has_the_bytes_of_tarfile(name: str, size: int) -> None:
    assert tar_headers.make_header(name, size) == make_header_with_tarfile(name, size)


@given(st.integers(0, 10_000))
def test_data_and_padding_are_whole_blocks(size: int) -> None:
    padding = tar_headers.count_padding(size)
    assert (size + padding) % tarfile.BLOCKSIZE == 0
    assert 0 <= padding < tarfile.BLOCKSIZE
