from pathlib import Path

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.funnel import build_funnel, summarize
from gbif_webdataset.storage.paths import DatasetPaths

LINES = [
    AccountLine("read", "no-url", 3),
    AccountLine("read", "orphaned", 1),
    AccountLine("clean", "thumbnail", 2),
    AccountLine("sample", "train", 1_000, kept=True),
    AccountLine("sample", "val", 0, kept=True),
]


def test_each_stage_begins_with_the_images_that_the_stage_before_kept() -> None:
    stages = build_funnel(1_006, LINES)
    assert [(stage.stage, stage.before, stage.after) for stage in stages] == [
        ("read", 1_006, 1_002), ("fetch", 1_002, 1_002), ("verify", 1_002, 1_002), ("delete", 1_002, 1_002),
        ("clean", 1_002, 1_000), ("split", 1_000, 1_000), ("shards", 1_000, 1_000),
    ]  # fmt: skip
    assert stages[0].reasons == (LINES[0], LINES[1])


def test_the_summary_has_the_samples_by_split_and_the_dropped_images_by_stage() -> None:
    lines = summarize(DatasetPaths.under(Path("data")), 1_006, LINES, classes=7, shards=2).splitlines()
    assert lines == [
        "1,000 samples of 7 classes in 2 shards, from 1,006 media",
        "  samples  train 1,000, val 0",
        "  dropped  read 4, clean 2",
        "  shards   data/shards",
        "  report   data/report/index.html",
        "  every image of the archive is accounted for in data/accounting.csv",
    ]


def test_the_summary_says_that_no_image_was_dropped() -> None:
    assert "  dropped  none" in summarize(DatasetPaths.under(Path("data")), 1_000, LINES[3:], 7, 2)
