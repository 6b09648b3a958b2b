"""Licences: codes, names and obligations."""

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms.licences import display_name, find_strictest, list_obligations, parse_licences


def test_a_users_list_may_be_written_with_spaces_underscores_and_capitals() -> None:
    assert parse_licences(("CC0", " cc-by ", "CC BY NC", "cc_by_sa")) == ("cc0", "cc-by", "cc-by-nc", "cc-by-sa")
    assert parse_licences(("all rights reserved", "unknown")) == ("all-rights-reserved", "unknown")


@pytest.mark.parametrize("wrong", ["cc-by-4.0", "by", "", "gpl"])
def test_a_name_that_is_not_a_code_is_an_error_that_lists_the_codes(wrong: str) -> None:
    with pytest.raises(
        ParameterError,
        match=rf"^--ReadArchive-licenses {wrong}: not the code of a licence; choose from public-domain, cc0, .*, all-r",
    ):
        parse_licences(("cc0", wrong))


def test_the_strictest_licence_is_the_least_permissive() -> None:
    assert find_strictest(["cc-by", "cc-by-nc-nd", "cc-by-nc"]) == "cc-by-nc-nd"
    assert find_strictest(["unknown", "cc-by-nc-nd"]) == "unknown"
    assert find_strictest(["unknown", "all-rights-reserved"]) == "all-rights-reserved"
    assert find_strictest([]) == ""


def test_the_obligations_are_those_of_all_licences_together() -> None:
    assert list_obligations(["cc0", "public-domain"]) == ()
    assert list_obligations(["cc-by-nd", "cc-by-nc-sa"]) == (
        "attribution", "no commercial use", "no derivatives", "share alike"
    )  # fmt: skip
    assert list_obligations(["unknown", "cc0"]) == ("permission",)


def test_a_licence_is_displayed_as_people_write_it() -> None:
    assert display_name("cc-by-nc-sa") == "CC BY-NC-SA"
    assert display_name("all-rights-reserved") == "all rights reserved"
    assert display_name("") == ""
