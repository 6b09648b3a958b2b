import duckdb
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms import licences

# As publishers write them in real archives, and the likes of them.
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


def codes(texts: list[str | None]) -> list[str]:
    with duckdb.connect() as connection:
        query = f"SELECT {licences.code_of('licence')} FROM (SELECT unnest($1::VARCHAR[]) AS licence)"
        return [code for (code,) in connection.execute(query, [texts]).fetchall()]


def test_each_wording_comes_to_its_code() -> None:
    assert dict(zip(WRITTEN, codes(list(WRITTEN)), strict=True)) == WRITTEN
    assert codes([None]) == ["unknown"]


def test_every_code_there_is_stands_for_some_wording() -> None:
    assert set(WRITTEN.values()) == {*licences.CODES, licences.UNKNOWN, licences.RESERVED}


def test_a_code_is_its_own_wording_and_case_and_space_do_not_matter() -> None:
    written = list(licences.CODES)
    assert codes(list(written)) == written
    assert codes([f"  {name.upper()} " for name in written]) == written


def test_the_order_from_permissive_to_restrictive_has_each_code_once() -> None:
    assert sorted(licences.ORDER) == sorted([*licences.CODES, licences.UNKNOWN, licences.RESERVED])
    assert licences.most_restrictive(["cc-by", "cc-by-nc-nd", "cc-by-nc"]) == "cc-by-nc-nd"
    assert licences.most_restrictive(["unknown", "cc-by-nc-nd"]) == "unknown"
    assert licences.most_restrictive(["unknown", "all-rights-reserved"]) == "all-rights-reserved"
    assert licences.most_restrictive([]) == ""


def test_conditions_are_those_of_all_licences_together() -> None:
    assert licences.conditions(["cc0", "public-domain"]) == ()
    assert licences.conditions(["cc-by-nd", "cc-by-nc-sa"]) == (
        "attribution", "no commercial use", "no derivatives", "share alike"
    )  # fmt: skip
    assert licences.conditions(["unknown", "cc0"]) == ("permission",)


def test_a_list_of_licences_may_be_written_loosely_and_holds_codes_only() -> None:
    assert licences.accepted(("CC0", " cc-by ", "CC BY NC", "cc_by_sa")) == ("cc0", "cc-by", "cc-by-nc", "cc-by-sa")
    assert licences.accepted(("all rights reserved", "unknown")) == ("all-rights-reserved", "unknown")
    for wrong in ("cc-by-4.0", "by", "", "gpl"):
        with pytest.raises(ParameterError, match=rf"^licenses: '{wrong}' is none of cc0, public-domain, .*unknown$"):
            licences.accepted(("cc0", wrong))
