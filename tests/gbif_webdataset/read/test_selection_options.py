from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList


def test_the_subset_key_is_needed_for_a_subset_or_a_limit_only() -> None:
    assert not SelectionOptions("speciesKey").needs_category
    assert SelectionOptions("speciesKey", subset=SubsetList.of(("1",))).needs_category
    assert not SelectionOptions("speciesKey", subset=SubsetList.of(("Aus bus",))).needs_category
    assert SelectionOptions("speciesKey", num_images_per_category=5).needs_category
