"""Licences of media, as their publishers write them, and the few codes that they come to."""

import re
from collections.abc import Iterable

from gbif_webdataset.errors import ParameterError

UNKNOWN, RESERVED = "unknown", "all-rights-reserved"
CODES = ("cc0", "public-domain", "cc-by", "cc-by-sa", "cc-by-nd", "cc-by-nc", "cc-by-nc-sa", "cc-by-nc-nd")
# From the most to the least permissive, as https://creativecommons.org/share-your-work/cclicenses/ lists its licences.
# Where none is told the law reserves all rights, though the publisher may not; where they are reserved, that is said.
ORDER = (
    *("public-domain", "cc0", "cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nc-sa", "cc-by-nd", "cc-by-nc-nd"),
    *(UNKNOWN, RESERVED),
)

# Addresses with and without https, version, country and /legalcode; GBIF's enumeration CC_BY_NC_4_0; free text.
CODE = """CASE
    WHEN coalesce(trim({0}), '') = '' THEN 'unknown'
    WHEN regexp_matches({0}, '(?i)publicdomain/zero|\\bcc[ _-]?0\\b|\\bcc0[_ -]') THEN 'cc0'
    WHEN regexp_matches({0}, '(?i)publicdomain/mark|public[ _-]?domain|no known copyright') THEN 'public-domain'
    WHEN regexp_matches({0}, '(?i)creativecommons\\.org/licen[sc]es/by|\\bcc[ _-]+by|^ *by\\b[^ ]*$')
        OR regexp_matches({0}, '(?i)creative commons.*attribution')
        THEN 'cc-by'
            || CASE WHEN regexp_matches({0}, '(?i)[ /_-]nc\\b|[ /_-]nc[ _-]|non[ -]?commercial') THEN '-nc' ELSE '' END
            || CASE WHEN regexp_matches({0}, '(?i)[ /_-]nd\\b|[ /_-]nd[ _-]|no[ -]?deriv') THEN '-nd'
                    WHEN regexp_matches({0}, '(?i)[ /_-]sa\\b|[ /_-]sa[ _-]|share[ -]?alike') THEN '-sa' ELSE '' END
    WHEN regexp_matches({0}, '(?i)(some|no) rights reserved') THEN 'unknown'
    WHEN regexp_matches({0}, '(?i)all rights reserved|©|copyright|\\(c\\)') THEN 'all-rights-reserved'
    ELSE 'unknown' END"""


def code_of(column: str) -> str:
    """The SQL expression for the code of a licence in an SQL column."""
    return CODE.format(column)


def name_of(code: str) -> str:
    """A code as people write it."""
    return {"public-domain": "public domain", RESERVED: "all rights reserved", UNKNOWN: "unknown licences"}.get(
        code, code.upper().replace("CC-BY", "CC BY")
    )


def most_restrictive(codes: Iterable[str]) -> str:
    """The code of the licence among these that allows least; empty where there is none."""
    return max(codes, key=ORDER.index, default="")


def conditions(codes: Iterable[str]) -> tuple[str, ...]:
    """What someone has to keep to who uses everything that is under these licences, in words."""
    found = set(codes)
    parts = {part for code in found for part in code.split("-")}
    told = {
        "permission": bool(found & {UNKNOWN, RESERVED}),
        "attribution": "by" in parts,
        "no commercial use": "nc" in parts,
        "no derivatives": "nd" in parts,
        "share alike": "sa" in parts,
    }
    return tuple(words for words, holds in told.items() if holds)


def accepted(names: tuple[str, ...]) -> tuple[str, ...]:
    """The codes that a user's list means. Raises ParameterError for one that is none."""
    codes = tuple(re.sub("[ _]+", "-", name.strip().lower()) for name in names)
    for name, code in zip(names, codes, strict=True):
        if code not in (*CODES, UNKNOWN, RESERVED):
            raise ParameterError(f"licenses: {name!r} is none of {', '.join((*CODES, RESERVED, UNKNOWN))}")
    return codes
