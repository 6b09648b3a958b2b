import math
from dataclasses import replace

import pytest

from gbif_webdataset.storage.file_counts import FileCounts, JobSize, describe_files, estimate_files
from gbif_webdataset.storage.file_limits import FileAllowance

MILLION = JobSize(images=1_000_000, bytes=500e9, chunks=100, shard_bytes=100 << 20, pack_bytes=2_000_000_000)


def test_files_has_a_file_for_each_image_and_packed_one_for_two_gigabytes() -> None:
    common = 250 + 10 * 100 + 3 * 4769
    assert estimate_files(MILLION) == FileCounts(common + 1_000_000, common + 2 * 100 + 100 + 250)


def test_smaller_packs_are_more_files() -> None:
    more = replace(MILLION, pack_bytes=500_000_000)
    assert estimate_files(more).packed - estimate_files(MILLION).packed == 750
    assert estimate_files(more).files == estimate_files(MILLION).files


def test_without_images_a_job_has_at_most_twelve_files_for_each_chunk() -> None:
    counts = [estimate_files(JobSize(0, 0, chunks, 1, 1)).packed for chunks in (0, 1000)]
    assert counts[1] - counts[0] <= 13 * 1000  # the thirteenth is the pack
    assert estimate_files(JobSize(0, 0, 1000, 1, 1)).files - estimate_files(JobSize(0, 0, 0, 1, 1)).files <= 12 * 1000


def describe(store: str, allowance: FileAllowance, job: JobSize = MILLION) -> list[str]:
    return list(describe_files(job, store, allowance))


def test_both_stores_and_what_is_allowed_are_in_one_line() -> None:
    assert describe("files", FileAllowance(2_000_000, "the file system")) == [
        "files  about 1,015,557 with --store files, about 16,107 with --store packed; the file system allows 2,000,000 "
        "more"
    ]


def test_packed_is_recommended_if_files_would_not_fit() -> None:
    _, warning = describe("files", FileAllowance(400_000, "the quota of the user"))
    assert warning == (
        "WARNING: --store files: about 1,015,557 files do not fit, because the quota of the user allows only 400,000 "
        "more; use --store packed, which creates about 16,107"
    )
    assert len(describe("packed", FileAllowance(400_000, "the quota of the user"))) == 1


@pytest.mark.parametrize("store", ["files", "packed"])
def test_if_neither_fits_another_remedy_is_given(store: str) -> None:
    _, warning = describe(store, FileAllowance(1_000, "the file system"))
    assert "another --output" in warning


def test_what_is_not_known_is_stated_and_gives_no_warning() -> None:
    [line] = describe("files", FileAllowance(None, "", ("the file system", "the quota of the user")))
    assert line.endswith(
        "; how many files are allowed is not known, the file system and the quota of the user could not be read"
    )
    [line] = describe("files", FileAllowance(math.inf, "the quota of the user"))
    assert line.endswith("; no limit on files was found")
    [line] = describe("files", FileAllowance(math.inf, "x"), JobSize(10, None, 1, 100 << 20, 1_000_000))
    assert "; images count as 1 MB each, because their sizes are not known; " in line
