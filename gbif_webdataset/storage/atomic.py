"""Files and folders that are complete or absent: written under a temporary name, synced, renamed."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp-"
"""The prefix of every temporary file and folder."""
OLD = "-old"
"""The ending of a folder's temporary name while another one replaces it."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which is synced and renamed to `path` when the block ends.

    If the block fails, the temporary file is removed and an older `path` stays unchanged.
    """
    with temporary_file(path) as temporary:
        yield temporary
        place_file(temporary, path)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which is removed when the block ends, unless `place_file` has renamed it.

    The file is locked, so that `delete_unless_locked` keeps it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def place_file(temporary: Path, path: Path) -> None:
    """Sync a temporary file and rename it to `path`, with the permissions of a new file."""
    temporary.chmod(0o666 & ~_umask())
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which replaces `path` when the block ends.

    A process that is killed between the two renames leaves no `path`, never an incomplete one; see `restore_folder`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent, path.name) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            sync(file)
        old = temporary.with_name(temporary.name + OLD)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Bring back the folder that a process killed within `atomic_folder` had moved away, if there is no `path`."""
    if not path.exists():
        for old in path.parent.glob(f"{TEMPORARY}{path.name}-*{OLD}"):
            old.replace(path)


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder in `parent`, which is removed when the block ends.

    Folders of the same name that killed processes of this machine left are removed first. A process locks its folder,
    so that others do not remove it. Network file systems do not show locks of folders to other machines.
    """
    machine = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    prefix = f"{TEMPORARY}{name}-{machine[:60]}-"
    for left in parent.glob(f"{prefix}*"):
        if handle := _lock(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(left)
            os.close(handle)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        if handle := _lock(folder, fcntl.LOCK_EX):
            break  # no other process removed it before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def delete_unless_locked(path: Path) -> None:
    """Delete a temporary file or folder, unless the process that writes it is running."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    # Network file systems allow an exclusive lock only if the file is open for writing.
    elif handle := _lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB):
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _lock(path: Path, mode: int) -> int | None:
    """A file handle that keeps a file or folder locked; None if it is gone, another process's or another user's."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        handle = os.open(path, os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, mode)
            if path.exists():
                return handle
        os.close(handle)
    return None


def sync(path: Path) -> None:
    """Write a file's data, or a folder's entries, from the cache to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
