from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.funnel import build_funnel

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
