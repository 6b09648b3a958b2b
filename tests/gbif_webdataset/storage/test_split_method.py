from pathlib import Path

from gbif_webdataset.storage.split_method import SplitMethod, load_method


def test_a_method_is_read_as_it_was_saved(tmp_path: Path) -> None:
    method = SplitMethod({"test_frac": 0.2, "category_key": "speciesKey"}, True, 3, 40)
    method.save(tmp_path)
    assert load_method(tmp_path) == method


def test_splits_of_an_older_version_have_no_method(tmp_path: Path) -> None:
    assert load_method(tmp_path) is None
    assert load_method(tmp_path / "missing") is None
