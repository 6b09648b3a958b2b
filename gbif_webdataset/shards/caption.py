"""Captions: a template with columns in braces, and the values of a row."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from gbif_webdataset.errors import ParameterError, option_text

OPTION = "--CreateWebDataset-caption-template"
SEPARATORS = " ,;:/|-\u2013\u2014"
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("“", "”"), ("«", "»"))
_CLOSING = re.compile(r'[)\]}”»"]*')  # at the start of a text: it belongs to the column before


@dataclass(frozen=True)
class CaptionTemplate:
    """A template such as `a photo of {species}, {vernacularName}`.

    `parts` are the columns, each with the text between it and the column before. `end` is the text after the last one.
    """

    parts: tuple[tuple[str, str], ...]
    end: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in their order, each once."""
        return tuple(dict.fromkeys(column for _, column in self.parts))

    def compose(self, values: Sequence[str | None]) -> str:
        """The caption for the values of the `parts`; empty if no value is given.

        An empty column is left out with the text before it. If the first columns are empty, the caption starts with
        the text before the next one if it has words of its own, or else with the start of the template.
        """
        pieces: list[str] = []
        for (text, _), value in zip(self.parts, values, strict=True):
            if words := " ".join((value or "").split()):
                has_start = pieces or re.search(r"\w", text)
                pieces += [text if has_start else self.parts[0][0], words]
            elif pieces:
                pieces += _CLOSING.findall(text)[:1]
        return _close_gaps("".join((*pieces, self.end))) if pieces else ""


def parse_template(template: str) -> CaptionTemplate:
    """The template that a text describes; `{{` and `}}` are braces.

    Raises:
        ParameterError: braces do not match, something other than a name is in them, or the template has no column.
    """
    option = option_text(OPTION, template)
    remedy = "write the name of a column in braces, such as 'a photo of {species}'"
    parts: list[tuple[str, str]] = []
    text = ""
    try:
        for literal, column, format_spec, conversion in string.Formatter().parse(template):
            text += literal
            if column is None:
                continue
            if format_spec or conversion or not column.strip():
                raise ParameterError(f"{option}: braces with something other than the name of a column; {remedy}")
            parts.append((text, column.strip()))
            text = ""
    except ValueError:
        raise ParameterError(f"{option}: its braces do not match; {remedy}") from None
    if not parts:
        raise ParameterError(f"{option}: it names no column; {remedy}")
    return CaptionTemplate(tuple(parts), text)


def _close_gaps(caption: str) -> str:
    """A caption without brackets and quotes that lost their partner, double spaces, and separators at its ends."""
    for opening, closing in BRACKETS:
        unmatched = _find_unmatched(caption, opening, closing)
        caption = "".join(character for position, character in enumerate(caption) if position not in unmatched)
    if caption.count('"') % 2:
        before, _, after = caption.rpartition('"')
        caption = before + after
    return " ".join(caption.split()).strip(SEPARATORS)


def _find_unmatched(text: str, opening: str, closing: str) -> set[int]:
    """The positions of brackets that have no partner."""
    unmatched: set[int] = set()
    open_positions: list[int] = []
    for position, character in enumerate(text):
        if character == opening:
            open_positions.append(position)
        elif character == closing and open_positions:
            open_positions.pop()
        elif character == closing:
            unmatched.add(position)
    return unmatched.union(open_positions)
