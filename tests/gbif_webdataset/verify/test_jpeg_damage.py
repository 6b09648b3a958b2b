from collections import Counter

import pytest

from gbif_webdataset.verify import jpeg_damage
from tests.support import damage
from tests.support.archives import find_case
from tests.support.verify_run import Checker

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in VerifyChunk
CUTS = list(damage.cut_file(b""))
DAMAGE_KINDS = list(damage.damage_jpeg(bytes(4 * damage.BLOCK) + damage.SCAN + bytes(4 * damage.BLOCK), b"", 0))
UNDETECTED = {"4 kB of another photo": 1}  # of 26 files: the bits after the foreign block are valid codes by chance


def test_undamaged_jpegs_have_no_defect_and_no_warning(check: Checker) -> None:
    for number, photo in enumerate(damage.draw_photos()):
        for kind, data in damage.encode_jpegs(number).items():
            finding = check(data, strict=True)
            assert (finding.error, finding.warning, finding.flat) == ("", "", False), kind
            assert (finding.format, finding.width, finding.height) == ("JPEG", *photo.size)


def test_trailing_bytes_fill_bytes_and_thumbnails_are_no_defect(check: Checker) -> None:
    data = damage.encode_jpegs(0)["4:2:0"]
    tables = data.index(b"\xff\xdb")
    for whole in (data + b"trailing", data + bytes(damage.BLOCK), data[:tables] + b"\xff\xff" + data[tables:]):
        assert check(whole, strict=True).error == ""
    assert check(damage.add_thumbnail(data, data[: damage.BLOCK] + damage.END), strict=True).error == ""


def test_irregularities_are_warnings_and_with_strict_errors(check: Checker) -> None:
    seen = Counter[str]()
    for kind, data in damage.encode_jpegs(0).items():
        for irregularity, (file, code) in damage.add_irregularities(data).items():
            lenient, strict = check(file), check(file, strict=True)
            assert (lenient.valid, lenient.error, lenient.warning) == (True, "", code), (kind, irregularity)
            assert (strict.valid, strict.error, strict.warning) == (False, code, ""), (kind, irregularity)
            assert lenient.perceptual_hash == check(data).perceptual_hash
            seen[code] += 1
    assert seen.keys() == {"stray-bytes", "padding", "jfif-revision"}


def test_two_irregularities_are_accepted_and_damage_beside_one_is_found(check: Checker) -> None:
    data = damage.encode_jpegs(0)["4:2:0"]
    old = damage.add_irregularities(data)["revision 9"][0]
    both = damage.add_irregularities(old)["zeros before the end"][0]
    assert (check(both).error, check(both).warning) == ("", "jfif-revision")
    assert check(damage.overwrite(old, len(old) // 2, bytes(damage.BLOCK))).error == "corrupt-data"
    assert check(old[: len(old) // 2]).error == "truncated"


def test_warnings_without_data_loss_are_no_defect_and_damage_beside_one_is_found(check: Checker) -> None:
    for kind, data in damage.encode_jpegs(0).items():
        plain = check(data)
        for irregularity, file in damage.add_decoder_warnings(data).items():
            finding, strict = check(file), check(file, strict=True)
            assert (finding.error, bool(finding.warning)) == ("", True), (kind, irregularity)
            assert (strict.error, strict.warning) == (finding.warning, ""), (kind, irregularity)
            assert finding.perceptual_hash == plain.perceptual_hash, (kind, irregularity)
            middle = (file.index(damage.SCAN) + len(file)) // 2
            damaged = damage.overwrite(file, middle, bytes(damage.BLOCK))
            assert check(damaged).error == "corrupt-data", (kind, irregularity)
            assert check(file[:middle]).error == "truncated", (kind, irregularity)


@pytest.mark.parametrize("name", ["sos-0-64-0.jpg", "icc-dup.jpg", "adobe-transform-5.jpg"])
def test_files_of_common_phones_and_programs_are_valid_with_a_warning(check: Checker, name: str) -> None:
    finding = check(find_case(f"images/{name}").read_bytes())
    assert (finding.error, finding.warning, finding.valid) == ("", "decoder-warning", True)


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_jpeg_is_truncated(check: Checker, cut: str) -> None:
    for kind, data, _ in damage.pair_jpegs():
        assert check(damage.cut_file(data)[cut]).error == "truncated", kind


@pytest.mark.parametrize("kind", DAMAGE_KINDS)
def test_damaged_data_in_a_jpeg_are_corrupt(check: Checker, kind: str) -> None:
    codes = Counter(
        check(damage.damage_jpeg(data, other, seed)[kind]).error
        for seed, (_, data, other) in enumerate(damage.pair_jpegs())
    )
    undetected = UNDETECTED.get(kind, 0)
    assert codes == Counter({"corrupt-data": codes.total() - undetected, "": undetected})


def test_a_jpeg_with_a_zeroed_end_and_without_its_last_marker_is_truncated(check: Checker) -> None:
    for kind, data, _ in damage.pair_jpegs():
        assert check(data[: -damage.BLOCK] + bytes(damage.BLOCK)).error == "truncated", kind


def test_a_size_that_differs_between_two_decoders_is_corrupt_data() -> None:
    data = damage.encode_jpegs(0)["4:2:0"]
    assert jpeg_damage.check_jpeg(data, *damage.draw_photos()[0].size).error == ""
    assert jpeg_damage.check_jpeg(data, 10, 10).error == "corrupt-data"
