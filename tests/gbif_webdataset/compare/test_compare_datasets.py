from pathlib import Path

from gbif_webdataset.compare.compare_datasets import compare_datasets
from tests.support.output_folder import OutputFolder


def test_page_and_table_are_written_into_the_report_of_the_newer_dataset(
    old_and_new: tuple[OutputFolder, OutputFolder], tmp_path: Path
) -> None:
    old, new = (folder.write() for folder in old_and_new)
    summary = compare_datasets(old, new, tmp_path / "scratch")
    assert "<svg" in (new / "report" / "comparison.html").read_text(encoding="utf-8")
    assert len((new / "report" / "comparison.csv").read_text(encoding="utf-8").splitlines()) == 10
    assert str(new / "report" / "comparison.html") in summary
    assert not (old / "report").exists()
