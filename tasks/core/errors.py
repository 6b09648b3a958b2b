"""The errors a user can meet. Each carries one sentence: what is wrong, where, and what to do."""

import errno
import os


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
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}{_remedy(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)}{_remedy(error)}"
    return None


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space and run the same command again: it goes on where it stopped"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose an --output that you may write to"
    return ""
