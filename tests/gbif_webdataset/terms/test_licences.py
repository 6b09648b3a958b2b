"""Licences: codes of the texts that publishers write."""

import duckdb
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.licences import Licence, display_name, find_strictest, list_obligations, parse_licences

# Texts of publishers, most of them from real archives.
WRITTEN = {
    "": "unknown",
    " ": "unknown",
    "http://creativecommons.org/publicdomain/zero/1.0/": "cc0",
    "https://creativecommons.org/publicdomain/zero/1.0/legalcode": "cc0",
    "CC0": "cc0",
    "CC0_1_0": "cc0",
    "CC0 1.0": "cc0",
    "CC-0": "cc0",
    "https://creativecommons.org/publicdomain/mark/1.0/": "public-domain",
    "Public Domain": "public-domain",
    "publicDomain": "public-domain",
    "No known copyright restrictions apply. See Agosti, D., Egloff, W., 2009.": "public-domain",
    "http://creativecommons.org/licenses/by/4.0/": "cc-by",
    "https://creativecommons.org/licenses/by/3.0/us/legalcode": "cc-by",
    "creativecommons.org/licences/by/2.0": "cc-by",
    "CC_BY_4_0": "cc-by",
    "CC-BY": "cc-by",
    "CC BY 4.0": "cc-by",
    "CC-BY 4.0 (Attribution)": "cc-by",
    "Creative Commons Attribution 4.0 International": "cc-by",
    "http://creativecommons.org/licenses/by-sa/4.0/": "cc-by-sa",
    "CC BY-SA 3.0": "cc-by-sa",
    "Creative Commons Attribution-ShareAlike 4.0": "cc-by-sa",
    "http://creativecommons.org/licenses/by-nd/4.0/": "cc-by-nd",
    "Creative Commons Attribution No Derivatives": "cc-by-nd",
    "http://creativecommons.org/licenses/by-nc/4.0/": "cc-by-nc",
    "CC_BY_NC_4_0": "cc-by-nc",
    "CC BY-NC (Attribution-Non-Commercial)": "cc-by-nc",
    "cc-by-nc": "cc-by-nc",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/": "cc-by-nc-sa",
    "by-nc-sa/2.0": "cc-by-nc-sa",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa",
    "http://creativecommons.org/licenses/by-nc-nd/4.0/": "cc-by-nc-nd",
    "Creative Commons Attribution Noncommercial No Derivatives 4.0": "cc-by-nc-nd",
    "© all rights reserved": "all-rights-reserved",
    "© All rights reserved": "all-rights-reserved",
    "Copyright © 2014 President and Fellows of Harvard College": "all-rights-reserved",
    "(c) 2010 A. Person": "all-rights-reserved",
    "© atlasbeetle some rights reserved": "unknown",
    "By mbelitz no rights reserved": "unknown",
    "Creative Commons - Share Alike": "unknown",
    "Not for Profit": "unknown",
    "Not-for-profit use only.": "unknown",
    "http://kiki.huh.harvard.edu/databases/addenda.html#policy": "unknown",
    "http://vertnet.org/resources/norms.html": "unknown",
    "By permission of the museum": "unknown",
    "photographed by Nancy Sand": "unknown",
    "CCC": "unknown",
}


def find_codes(texts: list[str | None]) -> list[str]:
    with duckdb.connect() as connection:
        query = f"SELECT {licences.code_expression('licence')} FROM (SELECT unnest($1::VARCHAR[]) AS licence)"
        return [code for (code,) in connection.execute(query, [texts]).fetchall()]


def test_each_text_gives_its_code() -> None:
    assert dict(zip(WRITTEN, find_codes(list(WRITTEN)), strict=True)) == WRITTEN
    assert find_codes([None]) == ["unknown"]


def test_some_text_gives_each_code() -> None:
    assert set(WRITTEN.values()) == set(Licence)


def test_a_code_gives_itself_in_any_case_and_with_spaces_around_it() -> None:
    codes = [str(code) for code in Licence if code is not Licence.ALL_RIGHTS_RESERVED]
    assert find_codes(list(codes)) == codes
    assert find_codes([f"  {code.upper()} " for code in codes]) == codes


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
