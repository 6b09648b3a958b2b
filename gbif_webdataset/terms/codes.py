"""The base of all closed lists of codes: a code is a short stable text with a meaning."""

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """A code, as tables hold it, with its `meaning`, as people read it."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member
