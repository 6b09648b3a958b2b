"""The licences of media: their codes, names, order and obligations."""

import re
from collections.abc import Iterable

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms.codes import Code


class Licence(Code):
    """A licence's code; `meaning` is its name as people write it. The order is from most to least permissive.

    Creative Commons licences are in the order of https://creativecommons.org/share-your-work/cclicenses/. Without a
    licence the law reserves all rights; UNKNOWN comes before ALL_RIGHTS_RESERVED because its publisher may allow more.
    """

    PUBLIC_DOMAIN = "public-domain", "public domain"
    CC0 = "cc0", "CC0"
    CC_BY = "cc-by", "CC BY"
    CC_BY_SA = "cc-by-sa", "CC BY-SA"
    CC_BY_NC = "cc-by-nc", "CC BY-NC"
    CC_BY_NC_SA = "cc-by-nc-sa", "CC BY-NC-SA"
    CC_BY_ND = "cc-by-nd", "CC BY-ND"
    CC_BY_NC_ND = "cc-by-nc-nd", "CC BY-NC-ND"
    UNKNOWN = "unknown", "unknown licences"
    ALL_RIGHTS_RESERVED = "all-rights-reserved", "all rights reserved"


BY_CODE = {str(licence): licence for licence in Licence}


def display_name(code: str) -> str:
    """The name of a licence as people write it; empty for an empty code."""
    return BY_CODE[code].meaning if code else ""


def strictness(code: str) -> int:
    """The place of a licence in the order from most to least permissive."""
    return list(BY_CODE).index(code)


def find_strictest(codes: Iterable[str]) -> str:
    """The code of the least permissive of these licences; empty if there is none."""
    return max(codes, key=strictness, default="")


def list_obligations(codes: Iterable[str]) -> tuple[str, ...]:
    """The obligations, in words, of somebody who uses images under all of these licences."""
    found = set(codes)
    parts = {part for code in found for part in code.split("-")}
    applies = {
        "permission": bool(found & {Licence.UNKNOWN, Licence.ALL_RIGHTS_RESERVED}),
        "attribution": "by" in parts,
        "no commercial use": "nc" in parts,
        "no derivatives": "nd" in parts,
        "share alike": "sa" in parts,
    }
    return tuple(obligation for obligation, is_required in applies.items() if is_required)


def parse_licences(names: tuple[str, ...]) -> tuple[Licence, ...]:
    """The licences of a user's list, which may be written with spaces, underscores and capitals.

    Raises:
        ParameterError: a name is not the code of a licence.
    """
    found = []
    for name in names:
        code = re.sub("[ _]+", "-", name.strip().lower())
        if code not in BY_CODE:
            raise ParameterError(
                f"--ReadArchive-licenses {name}: not the code of a licence; choose from {', '.join(Licence)}"
            )
        found.append(BY_CODE[code])
    return tuple(found)
