import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.storage.list_match import describe_match


def test_the_sentence_has_both_counts() -> None:
    sentence = describe_match("--A-list a.txt", "keys", 900, 1000, "check it")
    assert sentence == "--A-list a.txt: 900 of 1,000 keys occur in the archive"


def test_fewer_than_half_is_a_warning_with_a_remedy() -> None:
    sentence = describe_match("--A-list a.txt", "keys", 1, 1000, "check it")
    assert sentence == "WARNING: --A-list a.txt: 1 of 1,000 keys occurs in the archive; check it"
    assert not describe_match("--A-list a.txt", "keys", 1, 2, "check it").startswith("WARNING")


def test_a_list_of_which_nothing_occurs_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"^--A-list a\.txt: none of its 3 keys occurs in the archive; check it$"):
        describe_match("--A-list a.txt", "keys", 0, 3, "check it")
