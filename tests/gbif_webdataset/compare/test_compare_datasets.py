from gbif_webdataset.compare.compare_datasets import compare_datasets
from tests.support.output_folder import OutputFolder


def test_page_and_table_are_written_into_the_report_of_the_newer_dataset(
    old_and_new: tuple[OutputFolder, OutputFolder],
) -> None:
    old, new = (folder.write() for folder in old_and_new)
    summary = compare_datasets(old, new)
    assert "<svg" in new.comparison_page.read_text(encoding="utf-8")
    assert len(new.comparison_table.read_text(encoding="utf-8").splitlines()) == 10
    assert str(new.comparison_page) in summary
    assert not old.report.exists()
