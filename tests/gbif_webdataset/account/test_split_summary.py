from pathlib import Path

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.traits import Grouping
from tests.support.split_run import USUAL, SplitRun, observed_images, single_images


def test_the_summary_has_the_classes_furthest_off_and_what_test_shares(tmp_path: Path) -> None:
    splitting = SplitRun(tmp_path)
    splitting.run(observed_images(), USUAL, grouping=Grouping(("observer",)))
    lines = describe_splits(splitting.splits, USUAL.val, USUAL.test).splitlines()
    head, classes, leakage, findings = lines[0], lines[1:6], lines[6], lines[7:]
    assert head == "  splits     requested of each class: val 0.1, test 0.2; classes that differ most:"
    assert [line.strip().partition(":")[0] for line in classes] == [
        row["label"] for row in splitting.rows("balance")[:5]
    ]
    first = splitting.rows("balance")[0]
    shares = ", ".join(f"{split} {int(first[split]) / int(first['images']):.2f}" for split in ("val", "test"))
    assert classes[0].strip() == f"{first['label']}: {int(first['images']):,} images, {shares}"
    shared = {row["shares"]: row for row in splitting.rows("leakage") if row["split"] == "test"}
    known = f"{shared['observer']['known']} of {shared['observer']['images']} known"
    assert f"observer 0.0 % ({known})" in leakage
    assert (
        " share a place and date with train, so results on them look better than they are: --SplitDataset-group-by observer,place+date (validation would then have "
        in findings[0]
    )
    assert "come from the same sampling event as training images is unknown for " in findings[-1]


def test_classes_have_their_name_with_the_label_beside_it(tmp_path: Path) -> None:
    (tmp_path / "leakage.csv").write_text("split,shares,images,known,shared,share\n")
    header = "label,name,images,train,val,test,val_off,test_off\n"
    (tmp_path / "balance.csv").write_text(f"{header}6E4,Arctia caja,1,1,0,0,-0.1,-0.2\n0012,,10,8,1,1,0.0,-1.0\n")
    _, named, unnamed, leakage = describe_splits(tmp_path, 0.1, 0.2).splitlines()
    assert named.strip() == "Arctia caja (6E4): 1 image, val 0.00, test 0.00"
    assert unnamed.strip() == "0012: 10 images, val 0.10, test 0.10"
    assert leakage.endswith(": test is empty")


def test_an_empty_test_split_is_said_to_be_empty(tmp_path: Path) -> None:
    splitting = SplitRun(tmp_path)
    splitting.run(single_images("a", 3), Fractions(0, 0))
    assert describe_splits(splitting.splits, 0, 0).endswith(": test is empty")
