"""Licence texts: the codes of texts as publishers write them."""

import time

import pytest

from gbif_webdataset.terms.licence_texts import classify_licence
from gbif_webdataset.terms.licences import Licence

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
"""Texts of publishers, most of them from real archives."""
GBIF = {
    "cc-zero": "cc0",
    "CC0 1.0 (Public-domain)": "cc0",
    "This work is licensed under a Creative Commons CCZero 1.0 License http://creativecommons.org/publicdomain/zero/1.0/legalcode": "cc0",
    "http://creativecommons.org/share-your-work/public-domain/cc0/": "cc0",
    "http://creativecommons.org/publicdomain/zero/1.0": "cc0",
    "http://www.opendatacommons.org/licenses/pddl/1.0": "cc0",
    "http://www.opendatacommons.org/licenses/by/1.0": "cc-by",
    "http://opendatacommons.org/licenses/odbl/1.0": "unknown",
    "public domain": "public-domain",
    "Images provided by this server are released under the Creative Commons cc-by-sa 3.0 (generic) licence [http://creativecommons.org/licenses/by-sa/3.0/de/]. Please credit images to Herbarium Erlangense, Friedrich-Alexander University of Erlangen-Nürnberg.": "cc-by-sa",
    "Partial images provided by this server are released under the Creative Commons cc-by-sa 3.0 (generic) licence": "cc-by-sa",
    "Creative Commons Attribution-Non Commercial (CC BY-NC) 3.0": "cc-by-nc",
    "http://creativecommons.org/licences/by-nc-sa/3.0/legalcode": "cc-by-nc-sa",
    "http://creativecommons.org/licenses/by/4.0/legalcode#languages": "cc-by",
    "https://creativecommons.org/licenses/by/4.0/deed.en": "cc-by",
    "CC-BY 4.0": "cc-by",
    "Creative Commons Attribution (CC-BY) 4.0 License": "cc-by",
    "Creative Commons - Atribuição 4.0 Internacional http://creativecommons.org/licenses/by/4.0/deed.pt_BR": "cc-by",
    "Creative Commons (CC-by)": "cc-by",
    "Creative Commons Attribution": "cc-by",
    "CreativeCommons \ufffd Attribution (by)": "cc-by",
    "Attribution 4.0 International (CC BY 4.0)": "cc-by",
    "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/legalcode#languages)": "cc-by",
    "CC-BY-SA (Attribution for share alike)": "cc-by-sa",
    "CreativeCommons \ufffd Attribution Share-Alike (by-sa) 4.0": "cc-by-sa",
    "Images provided are released under the Creative Commons CC BY-SA 4.0 licence [http://creativecommons.org/licenses/by-sa/4.0/]. Please credit images to BRM following our citation guideline: Bartsch, I. (ed.) 2006+: AWI-Herbarium Marine Macroalgae. Image Id. - Published at Alfred-Wegener-Institut, Helmholtz-Zentrum fuer Polar- und Meeresforschung.": "cc-by-sa",
    "Images of the Herbarium Hamburgense (HBG) specimens are released under the Creative Commons CC-BY-SA 4.0 License [https://creativecommons.org/licenses/by-sa/4.0/].": "cc-by-sa",
    "CreativeCommons - Attribution Share-Alike": "cc-by-sa",
    "https://i.creativecommons.org/l/by-nc/4.0/80x15.png": "cc-by-nc",
    "CC-BY-NC 4.0": "cc-by-nc",
    "Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0 License": "cc-by-nc",
    "BY-NC": "cc-by-nc",
    "Creative Commons Attribution-Noncommercial": "cc-by-nc",
    "CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/legalcode)": "cc-by-nc",
    "CreativeCommons \ufffd Attribution Non-Commercial (by-nc)": "cc-by-nc",
    "[Copyright] Field Museum of Natural History - CC BY-NC": "cc-by-nc",
    "CC BY-NC-SA, no commercial use": "cc-by-nc-sa",
    "CC BY-SA-NC, no commercial use": "cc-by-nc-sa",
    "Creative Commons Attribution-Noncommercial-Share Alike": "cc-by-nc-sa",
    "CreativeCommons \ufffd Attribution Non-Commercial Share-Alike": "cc-by-nc-sa",
    "This work is licensed under a Creative Commons Attribution-NonCommercial-ShareAlike 4.0 License (https://creativecommons.org/licenses/by-nc-sa/4.0/).": "cc-by-nc-sa",
    "CreativeCommons - Attribution No Derivatives": "cc-by-nd",
    "CreativeCommons \ufffd Attribution Non-Commercial No Derivatives": "cc-by-nc-nd",
    "CreativeCommons - Attribution Non-Commercial No Derivatives": "cc-by-nc-nd",
    "BY-NC-SA 2.0": "cc-by-nc-sa",
    "CC BY-NC-ND 2.5": "cc-by-nc-nd",
    "CC BY-ND 4.0": "cc-by-nd",
}
"""GBIF's dictionaries license.tsv and license_uri.tsv (gbif/parsers), besides plain addresses."""
FORMS = {
    "CC-BY-NC4.0": "cc-by-nc",
    "CC BY\u2013NC\u2013SA 3.0 IGO": "cc-by-nc-sa",
    "CC BYNC 3.0": "cc-by-nc",
    "CC BY, non\u2011commercial use only": "cc-by-nc",
    "Data: CC0; Images: CC BY-NC": "cc-by-nc",
    "Metadata CC0, image (c) Museum, all rights reserved": "all-rights-reserved",
    "CC BY-NCSA 4.0": "cc-by-nc-sa",
    "CreativeCommons - Attribution Non-Commercial": "cc-by-nc",
    "https://i.creativecommons.org/l/by-nc/4.0/88x31.png": "cc-by-nc",
    "i.creativecommons.org/l/by-nc": "cc-by-nc",
    "Ph. Four": "unknown",
    "https://museum.example.edu/collections/access-policy": "unknown",
    "All Rights Reserved": "all-rights-reserved",
    "Available under Creative Commons BY-SA-NC 3.0 license": "cc-by-nc-sa",
    "UNSPECIFIED": "unknown",
    "UNSUPPORTED": "unknown",
    "http://creativecommons.org/licenses/by-nc-nd/3.0/legalcode": "cc-by-nc-nd",
    "https://creativecommons.org/licenses/by-sa/3.0/de/": "cc-by-sa",
    "not CC BY": "unknown",
    "CC BY for members": "unknown",
    "cc by-sa": "cc-by-sa",
    "CC BY-ND": "cc-by-nd",
    "(c) Jane Doe, some rights reserved (CC BY-NC)": "cc-by-nc",
    "© Jane Doe, some rights reserved (CC BY)": "cc-by",
    "no rights reserved": "unknown",
    "some rights reserved": "unknown",
    "Free for non-commercial use": "unknown",
    "not in the public domain": "unknown",
    "No known copyright restrictions": "public-domain",
    "Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)": "cc-by-nc-sa",
    "Attribution 4.0 International": "cc-by",
    "Creative Commons Attribution-ShareAlike 3.0 Unported": "cc-by-sa",
    "CC BY 3.0 AU": "cc-by",
    "Creative Commons Attribution 3.0 Australia": "cc-by",
    "<a href='http://creativecommons.org/licenses/by-nc/4.0/'>CC BY-NC</a>": "cc-by-nc",
    "CC%20BY-NC": "cc-by-nc",
    "creativecommons.org/licenses/by/4.0/deed.de": "cc-by",
    "by": "cc-by",
    "By John": "unknown",
    "CC": "unknown",
    "Creative Commons": "unknown",
    "NC": "unknown",
    "Tous droits réservés": "all-rights-reserved",
    "alle Rechte vorbehalten": "all-rights-reserved",
    "CC BY-NC-ND 2.5 CH": "cc-by-nc-nd",
    "CC BY-NC / CC BY": "cc-by-nc",
    "CC-BY-4.0": "cc-by",
    "cc-by-nc-4.0": "cc-by-nc",
    "CC BY NC SA": "cc-by-nc-sa",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "cc0",
    "CC BY 4.0 except where noted": "unknown",
    "CC BY unless otherwise stated": "unknown",
    "Do not use CC BY": "unknown",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa",
    "CCBYNC": "cc-by-nc",
    "CCBY": "cc-by",
    "ccby4.0": "cc-by",
    "CC0 except images": "unknown",
    "Licence: CC BY-NC 4.0 International": "cc-by-nc",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/us/deed.en_US": "cc-by-nc-sa",
    "No commercial use, CC BY": "cc-by-nc",
    "CC BY (not for commercial use)": "cc-by-nc",
    "Creative Commons Namensnennung - nicht kommerziell 3.0 Deutschland": "cc-by-nc",
}
"""Further texts, among them those of a public archive whose licences were read as too permissive."""
ADVERSARIAL = {
    "(c) Jane Doe": "all-rights-reserved",
    "\u0421\u0421 BY 4.0": "unknown",
    "\uff23\uff23 \uff22\uff39 \uff14.\uff10": "cc-by",
    "CC BY\u200b-NC": "cc-by-nc",
    "CC BY \u2013 NC": "cc-by-nc",
    "CC­BY": "cc-by",
    "CC BY, but not for images": "unknown",
    "CC0 for data, images © Museum": "unknown",
    "CC0 or CC BY-NC-ND": "cc-by-nc-nd",
    "Creative Commons Reconocimiento-NoComercial 4.0": "cc-by-nc",
    "Creative Commons Atribuição-NãoComercial 4.0 Internacional": "cc-by-nc",
    "Creative Commons Naamsvermelding-NietCommercieel": "cc-by-nc",
    "CC BY 4.0 Int.": "cc-by",
    "licensed under CC-BY-SA-4.0": "cc-by-sa",
    "https://creativecommons.org/licenses/by-xx/4.0/": "unknown",
    "https://evil.org/creativecommons.org/licenses/by/4.0/": "unknown",
    "https://creativecommons.org/licenses/by/4.0/evil": "unknown",
    "CC BY and permission of the museum": "unknown",
    "Please credit the museum. CC BY": "unknown",
    "CC BY. Please credit the museum": "cc-by",
    "CC BY. Please credit the museum; not for websites": "unknown",
    "cc-by-3.0-us": "cc-by",
    "CC BY 4.0 NC": "cc-by-nc",
    "CC BY 4.0-NC": "cc-by-nc",
    "cc-by-4.0-sa": "cc-by-sa",
    "CC BY 4.0 US": "cc-by",
    "https://creativecommons.org/licenses/by-nc-sa/2.5/scotland/": "cc-by-nc-sa",
    "http://creativecommons.org/licenses/by/4.0/nc": "unknown",
    "Copyright CC BY": "cc-by",
    "© Museum (CC BY-NC)": "unknown",
    "Non-commercial": "unknown",
    "CC BY-NC 4.0; commercial use requires permission": "unknown",
    "http://creativecommons.org/licenses/by-nc-sa/4.0": "cc-by-nc-sa",
    "CC-BY-NC-SA": "cc-by-nc-sa",
    "ccby-nc": "cc-by-nc",
    "CC BY-NC-SA 3.0 IGO": "cc-by-nc-sa",
    "Attribution-NonCommercial (CC BY-NC)": "cc-by-nc",
    "creative commons zero": "cc0",
    "http://www.creativecommons.org/publicdomain/zero/1.0": "cc0",
    "CC BY-NC-ND 4.0 DEED": "cc-by-nc-nd",
    "all rights not reserved": "unknown",
    "public domain mark": "public-domain",
    "CC PDM": "public-domain",
    "CC0 / CC BY": "cc-by",
    "CC BY-NC and CC BY-SA": "cc-by-nc-sa",
    "http://creativecommons.org/licenses/by-nd-nc/1.0": "cc-by-nc-nd",
    "CC BY-NC, © Museum": "unknown",
    "not licensed under CC BY-NC": "unknown",
    "no CC BY": "unknown",
    "non CC0": "unknown",
    "cc-by-sa-nc": "cc-by-nc-sa",
    "© 2012 Museum, CC BY 4.0": "unknown",
}
"""Negations, several licences, other languages, characters that look like others, and addresses that are not Creative
Commons'."""
SLOW = [
    "a" * 1_000, "please credit " * 70, "(c) " * 250, "© a, " * 200, "no " * 330, "commercial " * 90, "http:" * 200,
    "creativecommons.org/licenses/by/" * 30, "<a " * 333, "<" * 1_000, "<a href=" * 110, "&amp;" * 200, "%25" * 333,
    "\ufdfa" * 1_000, "cc-" * 333, "cc-by-nc" * 125, "1.0 " * 250, "1.0/" * 250, "images are " * 90, "images " * 140,
    "no known copyright restrictions apply. see agosti, d." * 18, "x" * 1_000_000, "all rights " * 100_000,
    "no commercial" * 80_000, "\u200b" * 1_000, "version " * 125, "partage à l" * 90, "\u0301" * 1_000, "(c)" + "a" * 900,
    "<a href='" + "x" * 900, "non" * 333, "pas de " * 140, "sin-obra-" * 110, "\ufdfa" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("table", [WRITTEN, GBIF, FORMS, ADVERSARIAL], ids=["written", "gbif", "forms", "adversarial"])
def test_each_text_gives_its_code(table: dict[str, str]) -> None:
    assert {text: str(classify_licence([text])) for text in table} == table


@pytest.mark.parametrize("kind", ["by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd"])
@pytest.mark.parametrize("version", ["1.0", "2.0", "2.5", "3.0", "4.0"])
def test_each_address_and_name_of_creative_commons_gives_its_licence(kind: str, version: str) -> None:
    address, name = f"creativecommons.org/licenses/{kind}/{version}", f"CC {kind.upper()}"
    addresses = [
        f"{start}{address}{end}" for start in ("http://", "https://www.", "") for end in ("", "/", "/legalcode")
    ]
    names = [f"{name} {version}", f"{name}-{version}", name.lower(), f"{name} {version} International"]
    codes = [f"CC_{kind.upper().replace('-', '_')}_{version.replace('.', '_')}"]
    assert {classify_licence([text]) for text in addresses + names + codes} == {f"cc-{kind}"}


def test_some_text_gives_each_code() -> None:
    assert set(WRITTEN.values()) == set(Licence)


def test_a_code_gives_itself_in_any_case_and_with_spaces_around_it() -> None:
    for code in Licence:
        assert classify_licence([f"  {code.upper()} "]) == classify_licence([code]) == code


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([], "unknown"),
        ([None, "", " "], "unknown"),
        (["x", None], "unknown"),
        (["http://creativecommons.org/licenses/by/4.0/", "Ph. Four"], "cc-by"),
        (["CC0", "CC BY-NC"], "cc-by-nc"),
        (["CC BY-NC", "CC0"], "cc-by-nc"),
        (["CC BY", "© 2012 President and Fellows"], "cc-by"),
        (["© 2012 President and Fellows", "Ph. Four"], "all-rights-reserved"),
        (["CC BY", "All rights reserved"], "all-rights-reserved"),
        (["CC BY-SA", "Not for commercial use by anyone"], "cc-by-nc-sa"),
    ],
)
def test_of_several_terms_the_strictest_licence_counts(texts: list[str | None], code: str) -> None:
    assert classify_licence(texts) == code


@pytest.mark.parametrize("text", SLOW, ids=lambda text: ascii(text[:12]))
def test_each_text_takes_less_than_10_ms(text: str) -> None:
    seconds = []
    for letter in "abcdef":  # other texts, because results are cached
        start = time.perf_counter()
        classify_licence([letter + text])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01
