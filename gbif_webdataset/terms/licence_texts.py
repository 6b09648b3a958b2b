"""Licence texts, as publishers write them, and the codes of `terms.licences` for them.

The strictest reading wins. "All rights reserved" or "non-commercial" anywhere in a text overrules everything else.
A text gives a licence only if every word of it is understood: a word that is neither part of a licence nor known to be
harmless makes the text unknown, so that "not CC BY" or "CC BY for members" is never read as CC BY.

Sources: Creative Commons' own notation; GBIF's dictionaries license.tsv and license_uri.tsv (gbif/parsers on GitHub);
media records of GBIF downloads.
"""

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from gbif_webdataset.terms.licences import BY_CODE, Licence, find_strictest

MAX_CHARACTERS, MAX_CONTRACT = 1_000, 10_000
"""A text longer than MAX_CHARACTERS is a contract: its first MAX_CONTRACT characters are searched for reserved rights
and non-commercial use only."""
COUNTRY = r"(?:(?!by|nc|nd|sa)[a-z]{2}|igo|scotland)(?![a-z])"
PREFIX = r"(?:https?:/{0,4})?(?:www\.)?"
SUFFIX = rf"(?:/\d\.\d)?(?:/{COUNTRY})?(?:/(?:deed|legalcode)[\w.#-]*|/\d+x\d+\.png)?/?(?![\w/])"
RESERVED = re.compile(
    r"\ball[ -]rights[ -](?:are[ -])?reserved|\breserved rights\b|\bcopyrighted material|\bno use without permission"
    r"|tous (?:les )?droits (?:sont )?r[ée]serv[ée]s|alle rechte (?:sind )?vorbehalten|alle rechten voorbehouden"
    r"|todos los derechos (?:est[áa]n )?reservados|todos os direitos reservados|tutti i diritti (?:sono )?riservati"
    r"|alla r[äa]ttigheter f[öo]rbeh[åa]l|alle rettigheder forbeholdes"
    r"|alle rettigheter (?:er )?(?:reservert|forbeholdt)"
    r"|wszelkie prawa zastrze[żz]one|kaikki oikeudet pid[äa]tet[äa]|все права защищены|minden jog fenntartva"
    r"|版权所有|版權所有|保留所有权利|無断転載|all rights? res(?:erved)?\b"
)
ADDRESSES = (
    (re.compile(PREFIX + r"creativecommons\.org/(?:publicdomain/zero|licen[sc]es/zero)" + SUFFIX), " cc0 "),
    (re.compile(PREFIX + r"creativecommons\.org/share-your-work/public-domain/cc0/?(?![\w/])"), " cc0 "),
    (re.compile(PREFIX + r"i\.creativecommons\.org/p/zero" + SUFFIX), " cc0 "),
    (re.compile(PREFIX + r"opendatacommons\.org/licen[sc]es/pddl(?:/[\d.-]{1,9})?/?(?![\w/])"), " cc0 "),
    (
        re.compile(PREFIX + r"creativecommons\.org/(?:publicdomain/mark|licen[sc]es/publicdomain)" + SUFFIX),
        " public domain ",
    ),
    (
        re.compile(PREFIX + r"(?:i\.)?creativecommons\.org/(?:licen[sc]es|l)/(by(?:-(?:nc|nd|sa)){0,2})" + SUFFIX),
        r" cc \1 ",
    ),
    (re.compile(PREFIX + r"opendatacommons\.org/licen[sc]es/by(?:/[\d.-]{1,9})?/?(?![\w/])"), " cc by "),
)
"""Addresses of licences, each with the words that replace it."""
PARTS = {
    "public": r"\bpublic[ -]?domain(?: mark| dedication)?\b|\bdomaine public\b|\bdom[ií]nio p[úu]blico\b|\bgemeinfrei\b"
    r"|\bno known copyright(?: restrictions?)?(?: apply)?\b|\bpdm\b",
    "copyright": r"©|\(c\)|\bcopyright(?:ed)?\b",
    "some": r"\b(?:some|no) rights reserved\b",
    "nc": r"\bnon?[ -]?commercial(?:e?s?|ly)?\b|\bnot?(?: for)?(?: any)? commercial\b|\bnicht[ -]?kommerziell\w{0,9}"
    r"|\bn[oã]o?[ -]?comercial(?:es|mente)?\b|\bniet[ -]?commerci\w{0,9}|\bpas d.?utilisations? commerciales?\b"
    r"|\bikke[ -]?kommersiel\w{0,9}|\bicke[ -]?kommersiell\w{0,9}|\b(?:no|without) commercial use\b|\bnoncom\b"
    r"|\bcommercial use (?:is )?(?:not|prohibited|forbidden)\b(?: permitted| allowed)?|\bnon[ -]?profit\b",
    "nd": r"\bno[ -]?deriv\w{0,9}(?: works?)?|\bkeine[ -]bearbeitung\w{0,9}|\bsin[ -]?(?:obra[ -]?)?deriva\w{1,9}"
    r"|\bsem[ -]?deriva\w{1,9}|\bpas de modifications?\b|\bgeen[ -]?afgeleide\w{0,9}(?: werken)?",
    "sa": r"\bshare[ -]?alike\b|\bcompartir[ -]?igual\b|\bcompartilha[ -]?igual\b|\bgelijk[ -]?delen\b"
    r"|\bpartage (?:à|a|dans) l\w{1,3} m[êe]mes? conditions?\b|\bweitergabe unter gleichen bedingungen\b",
    "zero": r"\bcc[ -]?(?:0|zero)\b|\bcreative ?commons[ -](?:cc)?[ -]?(?:0|zero)\b|\bzero universal\b",
    "cc": r"\bcreative[ -]?commons?\b",
    "by": r"\battribution\b|\bnamensnennung\b|\breconocimiento\b|\batribuci[óo]n\b|\batribui[çc][ãa]o\b"
    r"|\bnaamsvermelding\b|\berk[äa]nnande\b|\bpaternit[ée]\b",
}
"""Words for each part of a licence, removed from a text in this order."""
PART_PATTERNS = {part: re.compile(words) for part, words in PARTS.items()}
GLUED = re.compile(
    r"(?P<cc>cc)?-?(?P<by>by)?-?(?P<nc>nc)?-?(?P<end>sa|nd)?-?(?P<nc2>nc)?"
    rf"(?:-?v?(?:er)?\.?\d(?:\.\d)?(?:-{COUNTRY})?)?"
)
"""A licence in one word, such as cc-by-nc4.0 or bync."""
HARMLESS_PHRASES = (
    re.compile(r"^ ?(?:©|\(c\)|copyright)[^,;]{1,200}, (?=(?:some|no) rights reserved\b)"),  # iNaturalist's attribution
    re.compile(r"^ ?(?:©|\(c\)|\[?copyright\]?) [^,;]{1,200} - (?=cc\b)"),
    re.compile(r"^ ?(?:partial )?images [^.;]{0,200}?\bare (?:released|licensed|available) under\b"),
    re.compile(
        r"\bplease (?:credit|cite|attribute) (?!.{0,400}\b(?:not|only|unless|except)\b).{1,400}$"
    ),  # BY's demand
    re.compile(r"(?<=no known copyright restrictions apply)\. see agosti, d\..*$"),  # Plazi's figures
)
VERSION = re.compile(
    rf"\b(?:version |ver\.? ?|v\.? ?)?\d(?:\.\d)?(?: ?[-/,] ?\d(?:\.\d)?)?(?: {COUNTRY})?"
    r"(?=$|[ ,;:)\]|]|\.(?!\d)|-(?:nc|nd|sa)\b)"
)
HARMLESS_WORDS = """
a an and available data deed for generic igo image images int internacional international intl is it
its legal legalcode licence licenced license licensed licenses licences link media metadata of only
or photo photograph photos picture pictures ported record records rights see specimen terms text the
this to under universal unported use used uses version via with work works
"""
HARMLESS = frozenset(HARMLESS_WORDS.split())
COUNTRIES_WORDS = """
argentina australia austria belgium brasil brazil canada chile china colombia croatia denmark
deutschland ecuador españa spain estonia finland france germany greece hungary india ireland israel
italia italy japan korea luxembourg malaysia malta mexico netherlands norway peru philippines poland
portugal romania serbia singapore slovenia schweiz sweden switzerland taiwan thailand uk us usa
vietnam england wales scotland new zealand south africa united states kingdom costa rica puerto hong
kong
"""
COUNTRIES = frozenset(COUNTRIES_WORDS.split())
GBIF_CODE = re.compile(r"(cc0?(?:_[a-z]{2}){0,3})_(\d)_(\d)")


@dataclass(frozen=True)
class Statement:
    """The meaning of a text.

    Attributes:
        code: UNKNOWN if the text is not understood.
        is_non_commercial: whether it forbids commercial use, which counts even if it is not understood.
        is_notice: whether it is no more than a copyright notice.
    """

    code: Licence
    is_non_commercial: bool = False
    is_notice: bool = False


def classify_licence(texts: Iterable[str | None]) -> Licence:
    """The strictest licence that a medium's terms state; UNKNOWN if none states one.

    A mere copyright notice reserves all rights only where no term states a licence.
    """
    statements = [_read_statement(text) for text in texts if text and text.strip()]
    codes = {statement.code for statement in statements if not statement.is_notice} - {Licence.UNKNOWN}
    if not codes:
        has_notice = any(statement.is_notice for statement in statements)
        return Licence.ALL_RIGHTS_RESERVED if has_notice else Licence.UNKNOWN
    code = BY_CODE[find_strictest(codes)]
    if code is not Licence.ALL_RIGHTS_RESERVED and any(statement.is_non_commercial for statement in statements):
        return _compose(nc=True, nd="-nd" in code, sa="-sa" in code)
    return code


@lru_cache(maxsize=65_536)
def _read_statement(text: str) -> Statement:
    words = _normalize(text[:MAX_CHARACTERS])
    if len(text) > MAX_CHARACTERS or len(words) >= 2 * MAX_CHARACTERS:
        return _read_contract(words + text[MAX_CHARACTERS:MAX_CONTRACT].lower())
    if RESERVED.search(words):
        return Statement(Licence.ALL_RIGHTS_RESERVED)
    for phrase in HARMLESS_PHRASES:
        words = phrase.sub(" ", words)
    for address, replacement in ADDRESSES:
        words = address.sub(replacement, words)
    found: set[str] = set()
    for part, pattern in PART_PATTERNS.items():
        words, count = pattern.subn(" ", words)
        if count:
            found.add(part)
    words, versions = VERSION.subn(" ", words)
    if versions:
        found.add("version")
    for word in re.split(r"[\s,;:|/+&()\[\]{}\"']+", words):
        found |= _read_word(word.strip(".-"), found)
    return _conclude(found)


def _read_contract(text: str) -> Statement:
    code = Licence.ALL_RIGHTS_RESERVED if RESERVED.search(text) else Licence.UNKNOWN
    return Statement(code, is_non_commercial=PART_PATTERNS["nc"].search(text) is not None)


def _read_word(word: str, found: set[str]) -> set[str]:
    """The parts of a licence that a word adds to those found; "unread" if the word is not understood."""
    if not word or word in HARMLESS or (word in COUNTRIES and found & {"version", "cc"}):
        return set()
    glued = GLUED.fullmatch(word)
    if glued is None or not any(glued.groups()):
        return {"unread"}
    parts = {glued[name] for name in ("cc", "by", "nc", "end", "nc2")} - {None}
    return {str(part) for part in parts}


def _conclude(found: set[str]) -> Statement:
    is_non_commercial = "nc" in found
    conditions = found & {"nc", "nd", "sa"}
    is_licence = "by" in found and bool(
        conditions or found & {"cc", "version"} or not found & {"unread", "copyright", "some"}
    )
    is_licence |= "cc" in found and bool(found & {"nc", "nd"})
    is_free = bool(found & {"zero", "public"})
    if "unread" in found or not (is_licence or is_free):
        is_notice = "copyright" in found and not (is_licence or is_free or "some" in found)
        code = Licence.ALL_RIGHTS_RESERVED if is_notice else Licence.UNKNOWN
        return Statement(code, is_non_commercial, is_notice)
    if is_licence or conditions:
        return Statement(_compose("nc" in found, "nd" in found, "sa" in found), is_non_commercial)
    return Statement(Licence.CC0 if "zero" in found else Licence.PUBLIC_DOMAIN)


def _compose(nc: bool, nd: bool, sa: bool) -> Licence:
    return BY_CODE["cc-by" + ("-nc" if nc else "") + ("-nd" if nd else "-sa" if sa else "")]


def _normalize(text: str) -> str:
    """Lower case, without HTML markup, escapes, invisible characters and typographic dashes."""
    text = unicodedata.normalize("NFKC", unquote(html.unescape(text)))[: 2 * MAX_CHARACTERS].lower()
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    if code := GBIF_CODE.fullmatch(text.strip()):
        text = f"{code[1]} {code[2]}.{code[3]}"
    text = re.sub(r"<a [^<>]*?href=[\"']?([^\"' <>]*)[^<>]*>|<[^<>]*>", r" \1 ", text)
    text = re.sub(r"[\u00ac\u2010-\u2015\u2212\ufe58\ufe63\uff0d\ufffd_]", "-", text)
    return re.sub(r"\s+", " ", text)
