"""How many more files may be created in a folder: by its file system, and by the quotas of Lustre."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.storage.free_space import find_existing_folder

LFS = "lfs"
"""Lustre's command."""
LFS_SECONDS = 20
NO_LUSTRE = "not on a mounted Lustre filesystem"
_VALUES = r"\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+\S+"  # used, soft limit, hard limit, grace; * marks a limit that is exceeded
_QUOTA = re.compile(
    r"\s*Disk quotas for (?:usr|grp|prj) \S+ \([ugp]id \d+\):\s*\n"
    r"\s*Filesystem +(?:kbytes|used) +b?quota +b?limit +b?grace +files +i?quota +i?limit +i?grace *\n"
    rf"\s*\S.*?{_VALUES}{_VALUES}[ ]*\n?"
    r"((?:[ugp]id \d+ is using default (?:block|file) quota setting\s*)*)"
)
"""The output of `lfs quota`. A long name of the file system has a line of its own."""
_PROJECT = re.compile(r"\s*(\d+) [P-] \S.*\s*")
"""The output of `lfs project -d`: a project's number, 0 for none."""


@dataclass(frozen=True)
class FileAllowance:
    """How many more files may be created: the smallest number that a limit allows, and the name of this limit.

    `files` is infinite if there is no limit, and None if no limit could be read. `unread` are the names of limits that
    could not be read, so that even fewer files may be allowed.
    """

    files: float | None
    limit: str
    unread: tuple[str, ...] = ()


def find_file_allowance(folder: Path) -> FileAllowance:
    """The number of files that may still be created in `folder`, which need not exist."""
    existing = find_existing_folder(folder)
    limits = {"the file system": read_free_files(existing), **dict(_read_quotas(existing))}
    read = {name: files for name, files in limits.items() if files is not None}
    unread = tuple(name for name in limits if name not in read)
    if not read:
        return FileAllowance(None, "", unread)
    limit = min(read, key=lambda name: read[name])
    return FileAllowance(read[limit], limit, unread)


def read_free_files(folder: Path) -> int | None:
    """The number of files that the file system of `folder` can still create; None if it does not report one."""
    status = os.statvfs(folder)
    return status.f_favail if status.f_files else None


def parse_quota(printed: str) -> float | None:
    """The files that a quota still allows, from the output of `lfs quota`; infinite without a limit on files.

    None if the output is not understood as a whole, for example if numbers are in brackets because a server does not
    answer, or if a default applies that is not printed.
    """
    found = _QUOTA.fullmatch(printed)
    if found is None:
        return None
    used, *limits = map(int, found.group(4, 5, 6))
    limit = min(filter(None, limits), default=None)
    if limit is None:
        return None if "default file quota" in found[7] else math.inf
    return max(0, limit - used)


def parse_project(printed: str) -> int | None:
    """The number of a folder's project, 0 for none, from the output of `lfs project -d`; None if not understood."""
    found = _PROJECT.fullmatch(printed)
    return int(found[1]) if found else None


def _read_quotas(folder: Path) -> Iterator[tuple[str, float | None]]:
    """The name of each quota of Lustre that applies to `folder`, and the files that it allows; None if not known."""
    if shutil.which(LFS) is None:
        return
    user = _run_lfs("quota", "-u", str(os.getuid()), str(folder))
    if user is not None and NO_LUSTRE in user:
        return
    yield "the quota of the user", parse_quota(user or "")
    group = _run_lfs("quota", "-g", str(folder.stat().st_gid), str(folder))
    yield "the quota of the group", parse_quota(group or "")
    project = parse_project(_run_lfs("project", "-d", str(folder)) or "")
    if project != 0:
        printed = "" if project is None else _run_lfs("quota", "-p", str(project), str(folder))
        yield "the quota of the project", parse_quota(printed or "")


def _run_lfs(*arguments: str) -> str | None:
    """What Lustre's command prints; None if it fails or does not end."""
    try:
        ended = subprocess.run(  # noqa: S603
            [LFS, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LFS_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if ended.returncode:
        return NO_LUSTRE if NO_LUSTRE in ended.stderr else None
    return ended.stdout
