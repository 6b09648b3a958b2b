from gbif_webdataset.read.selection_options import SelectionOptions


def test_the_subset_key_is_needed_for_a_subset_or_a_limit_only() -> None:
    assert not SelectionOptions("speciesKey").needs_category
    assert SelectionOptions("speciesKey", subset=()).needs_category
    assert SelectionOptions("speciesKey", num_images_per_category=5).needs_category
