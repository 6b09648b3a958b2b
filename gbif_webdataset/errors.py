"""Errors that the user can fix. Each carries one sentence: where, what is wrong, and what to do."""

import difflib
import errno
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Self

import duckdb

MAX_SENTENCE_CHARACTERS = 2_000
ACTING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Categories of Unicode whose characters act on a terminal, hide text or cannot be written."""


class DatasetError(Exception):
    """Something that the user can fix. The text is the sentence that the user reads."""

    def __str__(self) -> str:
        """Return the sentence, whatever texts of an archive or a host it quotes, in one line that is not too long."""
        return shorten_text(escape_text(super().__str__()))

    @classmethod
    def at(cls, place: str, problem: str, remedy: str) -> Self:
        """Return an error of the form that all errors have; `place` is an option with its value, or a file and line."""
        return cls(f"{place}: {problem}; {remedy}")


class ArchiveError(DatasetError):
    """The archive cannot be read, or contains nothing that this tool can use."""


class SelectionError(DatasetError):
    """A filter or a subset leaves nothing, or names something that does not exist."""


class ParameterError(DatasetError):
    """The value of a parameter has the wrong type, is out of range or cannot be read."""


class MissingPieceError(DatasetError):
    """A file or a row that an earlier stage has to provide is missing."""


class DamagedFileError(MissingPieceError):
    """A file of the dataset is damaged."""

    @classmethod
    def of_table(cls, path: object) -> Self:
        """Return the error for a table whose bytes cannot be read."""
        return cls(
            f"{path}: the table is damaged and cannot be read; run `make audit ARGS=--AuditDataset-repair` and then "
            "the same command again, or restore the file from a backup"
        )

    @classmethod
    def of_list(cls, path: object) -> Self:
        """Return the error for a ledger, or the list of deleted images, whose bytes have changed."""
        return cls(
            f"{path}: differs from what was written; run `make audit ARGS=--AuditDataset-repair` and then the same "
            "command again, or restore the file from a backup"
        )


class ChangedImageError(MissingPieceError):
    """An image is missing, or differs from what was downloaded and verified."""


class FetchError(DatasetError):
    """Too many images had temporary failures, or no host can be reached."""


class RepeatedError(DatasetError):
    """A failure whose sentence another task of the same run has printed."""


class BusyError(DatasetError):
    """Another process is working on the same files."""


def escape_text(text: str, keep: str = "") -> str:
    r"""Return a text in which characters that act on the terminal are escapes, such as `\x1b`, except those to `keep`.

    Every message that quotes an archive, a file name or a web server goes through this function.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in ACTING
        else character.encode("unicode-escape", "surrogatepass").decode()
        for character in text
    )


def shorten_text(text: str, max_characters: int = MAX_SENTENCE_CHARACTERS) -> str:
    """Return a text of at most so many characters; a longer one without its middle."""
    if len(text) <= max_characters:
        return text
    half = max_characters // 2
    return f"{text[: half - 3]} ... {text[-(half - 2) :]}"


def option_text(option: str, value: object) -> str:
    """Return an option with its value as users type it: `--ReadArchive-where "year >= '2015'"`."""
    text = str(value)
    if re.fullmatch(r"[\w@%+=:,./~-]+", text):
        return f"{option} {text}"
    quote = '"' if "'" in text or '"' not in text else "'"
    return f"{option} {quote}{text}{quote}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question with the names that resemble `word`, or an empty text."""
    by_plain_name = {_plain(name): name for name in names}
    near = difflib.get_close_matches(_plain(word), by_plain_name, 3, 0.8)
    likeness = [difflib.SequenceMatcher(None, name, _plain(word)).ratio() for name in near]
    near = [name for name, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - 0.1]
    return f"did you mean {' or '.join(by_plain_name[name] for name in near)}?" if near else ""


def explain(error: BaseException) -> str | None:
    """Return the sentence for an error or its cause; None if the error is a defect, which keeps its traceback."""
    sentence = _explain_itself(error)
    if sentence is None and error.__cause__ is not None:
        return explain(error.__cause__)
    return None if sentence is None else shorten_text(escape_text(sentence))


def _explain_itself(error: BaseException) -> str | None:
    if isinstance(error, DatasetError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory: the machine has too little; use a smaller --workers, or lower --ReadArchive-memory-limit"
    if isinstance(error, duckdb.Error):
        return _explain_duckdb(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename2 or error.filename}: {error.strerror}{_remedy(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)}{_remedy(error)}"
    return None


def _explain_duckdb(text: str) -> str | None:
    """Find the system's error in DuckDB's text; DuckDB reports a full disk as a lack of memory."""
    codes = {os.strerror(code): code for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)}
    code = next((code for message, code in codes.items() if message in text), None)
    if code is None and "max_temp_directory_size" in text:
        code = errno.ENOSPC
    if code is not None:
        file = re.search(r'file \\?"([^"\\]+)', text)
        return explain(OSError(code, os.strerror(code), file.group(1) if file else None))
    if damaged := re.search(r"""['" ](/[^'"\n]+\.(?:parquet|csv))\b""", text):
        return str(DamagedFileError.of_table(damaged[1]))
    if "memory" in text.lower() and "Parser Error: " in text:
        problem = text.partition("Parser Error: ")[2].splitlines()[0]
        return f"--VerifyImages-memory-limit: {problem}; write it as 800MB or 4GB"
    if "Out of Memory" in text:
        return (
            "out of memory: a database reached its limit; if ReadArchive or VerifyImages failed, raise its "
            "memory_limit, such as --ReadArchive-memory-limit 4GB; otherwise report this as a bug"
        )
    return None


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space where --output is and run the same command again: it continues where it stopped"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose an --output that you may write to"
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return "; a file and a folder have changed places: move it away and run the same command again"
    if error.errno == errno.EIO:
        return "; the disk or the connection to it has a fault: see the system's log, or move the files to another disk"
    if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):  # of flock
        return (
            "; the file system has no file locks: choose an --output on another one, or ask for it to be mounted with "
            "locks (Lustre: -o flock)"
        )
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
