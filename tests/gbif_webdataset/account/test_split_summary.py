from pathlib import Path

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.traits import Grouping
from tests.support.split_run import USUAL, SplitRun, observed_images, single_images


def test_the_summary_has_the_classes_furthest_off_and_what_test_shares(tmp_path: Path) -> None:
    splitting = SplitRun(tmp_path)
    splitting.run(observed_images(), USUAL, grouping=Grouping(("observer",)))
    head, *classes, leakage = describe_splits(splitting.splits, USUAL.val, USUAL.test).splitlines()
    assert head == "  splits   requested fractions of each class: val 0.1, test 0.2; classes that differ most:"
    assert [line.strip().partition(":")[0] for line in classes] == [
        row["label"] for row in splitting.rows("balance")[:5]
    ]
    first = splitting.rows("balance")[0]
    shares = ", ".join(f"{split} {int(first[split]) / int(first['images']):.2f}" for split in ("val", "test"))
    assert classes[0].strip() == f"{first['label']}: {int(first['images']):,} images, {shares}"
    assert "observer 0.000" in leakage


def test_an_empty_test_split_is_said_to_be_empty(tmp_path: Path) -> None:
    splitting = SplitRun(tmp_path)
    splitting.run(single_images("a", 3), Fractions(0, 0))
    assert describe_splits(splitting.splits, 0, 0).endswith(": test is empty")
