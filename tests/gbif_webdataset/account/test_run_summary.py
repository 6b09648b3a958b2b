from pathlib import Path

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.before_training import Finding, Topic
from gbif_webdataset.account.dataset_numbers import ClassSamples, DatasetNumbers
from gbif_webdataset.account.run_summary import summarize_run

LINES = [
    AccountLine("read", "no-url", 3),
    AccountLine("read", "duplicate-medium", 1),
    AccountLine("read", "over-cap", 6),
    AccountLine("fetch", "not-found", 15),
    AccountLine("fetch", "timeout", 1),
    AccountLine("verify", "truncated", 5),
    AccountLine("verify", "unsupported-format", 2),
    AccountLine("clean", "thumbnail", 10),
    AccountLine("split", "no-label", 4),
    AccountLine("split", "under-min-instances", 2),
    AccountLine("shards", "no-label", 3),
    AccountLine("sample", "train", 1_000, kept=True),
    AccountLine("sample", "val", 0, kept=True),
]
FINDINGS = [
    Finding(Topic.EMPTY_SPLITS, "3 classes have no test image"),
    Finding(
        Topic.RANKS, "12 % of the samples are labelled above species rank", "--SplitDataset-category-key speciesKey"
    ),
    Finding(Topic.LICENCE, "the most restrictive licence of an image is: CC BY"),
    Finding(Topic.FAILURES, "1 image was not downloaded"),
]


def summarize(numbers: DatasetNumbers, findings: list[Finding]) -> list[str]:
    lines = ('wds.WebDataset("data/shards/train/train-000000.tar")', 'load_dataset("data/shards", split="train")')
    return summarize_run(numbers, findings, Path("data/report/index.html"), lines).splitlines()


def test_the_summary_has_samples_images_left_out_findings_and_lines_that_load_them() -> None:
    numbers = DatasetNumbers(1_052, LINES, classes=[ClassSamples("moth", {"train": 1_000})], temporary_failures=1)
    assert summarize(numbers, FINDINGS) == [
        "1,000 samples of 1 class, from 1,052 media         open data/report/index.html",
        "  splits     train 1,000, val 0",
        "  left out   4 not usable, 6 not selected, 16 not downloaded (1 may succeed later), 5 broken, 2 not decodable, "
        "10 filtered, 7 without label, 2 of classes below min_instances",
        "  check      3 classes have no test image; 12 % of the samples are labelled above species rank: "
        "--SplitDataset-category-key speciesKey",
        "             the most restrictive licence of an image is: CC BY",
        '  train      wds.WebDataset("data/shards/train/train-000000.tar")',
        '             load_dataset("data/shards", split="train")',
    ]


def test_a_dataset_with_all_images_and_nothing_to_check_says_so() -> None:
    lines = summarize(DatasetNumbers(1_000, LINES[-2:], classes=[ClassSamples("moth", {"train": 1_000})]), [])
    assert lines[2:5] == [
        "  left out   none",
        '  train      wds.WebDataset("data/shards/train/train-000000.tar")',
        '             load_dataset("data/shards", split="train")',
    ]


def test_an_undownloaded_image_is_not_downloaded_whatever_its_code() -> None:
    lines = [AccountLine("fetch", "not-an-image", 2), AccountLine("verify", "not-an-image", 1)]
    assert summarize(DatasetNumbers(3, lines), [])[2] == "  left out   2 not downloaded, 1 broken"
