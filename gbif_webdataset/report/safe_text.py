"""Texts of the archive, made safe to show: shortened, without control characters, on one line.

The template engine escapes them; they are never HTML.
"""

import json
import unicodedata

from markupsafe import Markup

MAX_CHARACTERS = 120
MAX_TEXT_CHARACTERS = 2000
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: controls, text direction, line separators


def shorten(value: object, max_characters: int = MAX_CHARACTERS) -> str:
    """A value as one line of at most `max_characters`, without characters that affect the text around it."""
    text = str(value)[: 4 * max_characters]
    visible = "".join(" " if unicodedata.category(letter) in INVISIBLE else letter for letter in text)
    line = " ".join(visible.split())
    return line if len(line) <= max_characters else line[: max_characters - 1].rstrip() + "…"


def shorten_lines(value: str, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
    """A text of several lines with at most `max_characters` in all; empty lines are left out."""
    lines = [shorten(line, max_characters) for line in value[:max_characters].splitlines()]
    return "\n".join(line for line in lines if line)


def to_script_json(value: object) -> Markup:
    """JSON for a script element; no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))  # noqa: S704
