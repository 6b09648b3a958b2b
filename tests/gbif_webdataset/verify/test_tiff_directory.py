import io
import struct

import pytest
from PIL import Image

from gbif_webdataset.verify.tiff_directory import TiffDirectory
from tests.support import damage


def encode_tiff(big: bool = False, **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(file, "TIFF", big_tiff=big, **options)
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
def test_a_directory_states_compression_and_strips(big: bool) -> None:
    plain = TiffDirectory(encode_tiff(big))
    assert (plain.has_usual_compression, plain.is_whole, plain.tiles) == (True, True, 1)
    assert 0 < plain.metadata_bytes < 500
    assert TiffDirectory(encode_tiff(big, compression="tiff_lzw")).has_usual_compression
    assert TiffDirectory(encode_tiff(big, exif={270: "m" * 5_000})).metadata_bytes > 5_000


def test_a_cut_file_is_not_whole_and_a_cut_directory_is_an_error() -> None:
    data = damage.make_tiff(8, 8, 16, bytes(99))
    assert TiffDirectory(data).is_whole
    assert not TiffDirectory(data[:-1]).is_whole
    with pytest.raises(struct.error):
        TiffDirectory(data[:40])


def test_a_position_beyond_all_files_is_an_error() -> None:
    big = encode_tiff(big=True)
    with pytest.raises(struct.error):
        TiffDirectory(big[:8] + b"\xff" * 8 + big[16:])
