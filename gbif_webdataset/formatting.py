"""Sizes, durations, counts and names for people."""

import re
from collections.abc import Sequence


def format_size(count: int) -> str:
    """A number of bytes in decimal units: `999 bytes`, `1.5 MB`."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def format_duration(seconds: float) -> str:
    """A measured duration: `3.2 s`, `4 min 05 s`, `26 h 10 min`."""
    if seconds < 60:
        return f"{seconds:,.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def format_estimate(seconds: float) -> str:
    """An estimated duration in its largest unit: `45 s`, `2.5 min`, `30.0 h`, `4.1 days`."""
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:,.0f} s" if seconds >= 1 or not seconds else "1 s"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 host`, `1,200 hosts`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


# Words after a species name that belong to its author, and words that are no epithet.
_OTHER_WORDS = (
    "auct|cf|aff|von|van|der|den|dem|del|della|des|dos|ter|ten|and|apud|nec|non|sensu|spec|spp|ssp|sp|in|ex|et"
)
_EPITHET = rf"(?!(?:{_OTHER_WORDS})\b)[a-zëï-]{{3,}}(?![.'\u2019])"
_MARK = r"(?: (?:subsp|ssp|var|f)\.)?"
_SPECIES = re.compile(rf"[A-Z][a-zë-]+(?: \([A-Z][a-z]+\))?(?: \u00d7)? {_EPITHET}(?:{_MARK} {_EPITHET}){{0,2}}")


def split_scientific_name(name: str) -> tuple[str, str]:
    """(the part in italics, all after it): `Noctua pronuba` and ` (Linnaeus, 1758)`.

    A name of one word is not in italics, because it may be of a rank above genus.
    """
    found = _SPECIES.match(name)
    end = found.end() if found else 0
    return name[:end], name[end:]


def join_words(words: Sequence[str]) -> str:
    """Words with commas between them, and `and` before the last."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
