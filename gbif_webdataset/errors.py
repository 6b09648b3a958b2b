"""The errors a user can meet. Each carries one sentence: what is wrong, where, and what to do."""

import errno
import os
import re

import duckdb


class DatasetError(Exception):
    """Something that the user can mend; its text is what the user reads."""


class ArchiveError(DatasetError):
    """The archive can't be read, or holds nothing that this tool can use."""


class SelectionError(DatasetError):
    """A filter or a subset leaves nothing, or names what isn't there."""


class ParameterError(DatasetError):
    """A parameter's value is of the wrong kind, out of range or unreadable."""


class MissingPieceError(DatasetError):
    """A file or a row that an earlier stage promised is not there."""


class FetchError(DatasetError):
    """Too many images of a chunk failed for reasons that may pass."""


class BusyError(DatasetError):
    """Another process is at work on the same files."""


def sentence(error: BaseException) -> str | None:
    """What to tell the user of `error`; None for a defect of ours, which keeps its traceback."""
    if isinstance(error, DatasetError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory: run fewer workers, or lower the task's memory_limit"
    if isinstance(error, duckdb.Error):
        return _sentence_of_duckdb(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}{_remedy(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)}{_remedy(error)}"
    return None


def _sentence_of_duckdb(text: str) -> str | None:
    """DuckDB tells the system's errors in words of its own, its spilling to a full disk as a want of memory."""
    told = {os.strerror(code): code for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)}
    code = next((code for words, code in told.items() if words in text), None)
    if code is None and "max_temp_directory_size" in text:
        code = errno.ENOSPC
    if code is not None:
        file = re.search(r'file \\?"([^"\\]+)', text)
        return sentence(OSError(code, os.strerror(code), file.group(1) if file else None))
    if "memory" in text.lower() and "Parser Error: " in text:
        return f"memory_limit: {text.partition('Parser Error: ')[2].splitlines()[0]}; write it as 800MB or 4GB"
    return "out of memory: raise the task's memory_limit, or run fewer workers" if "Out of Memory" in text else None


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space where --output is and run the same command again: it goes on where it stopped"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose an --output that you may write to"
    return ""
