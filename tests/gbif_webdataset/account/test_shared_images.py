from pathlib import Path

import pytest

from gbif_webdataset.account.shared_images import SharedImages, read_shared_images


def test_rows_have_the_share_of_the_images_with_a_value(tmp_path: Path) -> None:
    path = tmp_path / "leakage.csv"
    path.write_text(
        "split,shares,images,known,shared,share,group_by,images_with_group_by\n"
        "test,observer,80,40,30,0.7500,observer,95\n"
        "test,place+date,80,0,,,,\n"
    )
    observer, place = read_shared_images(path)
    assert observer == SharedImages("test", "observer", 80, 40, 30, "observer", 95)
    assert (observer.share, observer.name) == (0.75, "observer")
    assert (place.share, place.with_value, place.name) == (None, 0, "place and date")


@pytest.mark.parametrize(("values", "share"), [("80,20,0.2500", 0.25), ("80,,", None)])
def test_tables_of_older_versions_are_read(tmp_path: Path, values: str, share: float | None) -> None:
    path = tmp_path / "leakage.csv"
    path.write_text(f"split,shares,images,shared,share\ntest,observer,{values}\n")
    [row] = read_shared_images(path)
    assert (row.with_value, row.share) == (None, share)
