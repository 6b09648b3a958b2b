"""The text encodings that an archive may name.

Python has codecs that need minutes for a few megabytes (punycode), run code of other kinds (base64, zlib) or give text
that cannot be stored (utf-7). So a name in an archive selects a codec of this list, and nothing else.
"""

import re

_LABELS = {
    "utf-8": "utf8 utf8sig unicode11utf8 unicode20utf8 xunicode20utf8 ascii usascii iso646us ansix341968",
    "utf-16": "utf16",
    "utf-16-le": "utf16le unicode csunicode iso10646ucs2 ucs2 unicodefeff",
    "utf-16-be": "utf16be unicodefffe",
    "iso8859-1": "iso88591 iso885911987 csisolatin1 latin1 l1 cp819 ibm819 isoir100",
    "iso8859-2": "iso88592 iso885921987 csisolatin2 latin2 l2 isoir101",
    "iso8859-3": "iso88593 iso885931988 csisolatin3 latin3 l3 isoir109",
    "iso8859-4": "iso88594 iso885941988 csisolatin4 latin4 l4 isoir110",
    "iso8859-5": "iso88595 iso885951988 csisolatincyrillic cyrillic isoir144",
    "iso8859-6": "iso88596 iso88596e iso88596i iso885961987 csiso88596e csiso88596i csisolatinarabic arabic asmo708 "
    "ecma114 isoir127",
    "iso8859-7": "iso88597 iso885971987 csisolatingreek greek greek8 ecma118 elot928 suneugreek isoir126",
    "iso8859-8": "iso88598 iso88598e iso88598i iso885981988 csiso88598e csiso88598i csisolatinhebrew hebrew visual "
    "logical isoir138",
    "iso8859-9": "iso88599 iso885991989 csisolatin5 latin5 l5 isoir148",
    "iso8859-10": "iso885910 csisolatin6 latin6 l6 isoir157",
    "iso8859-11": "iso885911",
    "iso8859-13": "iso885913",
    "iso8859-14": "iso885914",
    "iso8859-15": "iso885915 csisolatin9 latin9 l9",
    "iso8859-16": "iso885916",
    "tis-620": "tis620",
    "cp874": "windows874 dos874 cp874",
    "cp866": "cp866 ibm866 csibm866 866",
    **{f"cp{page}": f"windows{page} cp{page} xcp{page}" for page in range(1250, 1259)},
    "mac-roman": "macroman macintosh csmacintosh mac xmacroman",
    "mac-cyrillic": "maccyrillic xmaccyrillic xmacukrainian",
    "koi8-r": "koi8r cskoi8r koi koi8",
    "koi8-u": "koi8u koi8ru",
    "gb18030": "gb18030",
    "gbk": "gbk xgbk cp936 windows936",
    "gb2312": "gb2312 csgb2312 chinese csiso58gb231280 gb231280 isoir58",
    "big5": "big5 cnbig5 csbig5 xxbig5",
    "big5hkscs": "big5hkscs",
    "cp950": "cp950 windows950",
    "euc-jp": "eucjp xeucjp cseucpkdfmtjapanese",
    "shift-jis": "shiftjis csshiftjis mskanji sjis xsjis",
    "cp932": "ms932 windows31j cp932 windows932",
    "euc-kr": "euckr cseuckr csksc56011987 isoir149 korean ksc5601 ksc56011987 ksc56011989",
    "cp949": "cp949 windows949",
}
"""Python's codecs, each with the labels that name it (https://encoding.spec.whatwg.org/#names-and-labels).

Of the labels only letters and digits are compared, so that ISO8859_1 and iso-8859-1 are equal. A label names the codec
that Python has for it, which decodes less than a browser: iso-8859-1 is not windows-1252. ASCII is a part of UTF-8.
"""
CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
ENCODINGS = "UTF-8, UTF-16, ISO-8859-x, windows-125x, MacRoman, KOI8, GB18030, Big5, Shift_JIS, EUC-JP and EUC-KR"
"""The encodings for people."""
MAX_LABEL_CHARACTERS = 40


def find_codec(label: str) -> str | None:
    """Python's name of the codec for an encoding; None if this tool does not read the encoding."""
    if len(label) > MAX_LABEL_CHARACTERS or not label.isascii():
        return None
    return CODECS.get(re.sub(r"[^a-z0-9]", "", label.lower()))


def get_codec(encoding: str) -> str:
    """Python's name of the codec for an encoding that this tool reads."""
    codec = find_codec(encoding)
    if codec is None:
        raise LookupError(encoding)
    return codec
