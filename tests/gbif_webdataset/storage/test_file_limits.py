import math
from pathlib import Path

import pytest

from gbif_webdataset.storage import file_limits
from gbif_webdataset.storage.file_limits import FileAllowance, find_file_allowance, parse_project, parse_quota

HEADER = "     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace\n"
USER = "Disk quotas for usr ada (uid 1000):\n"
DEFAULT = "uid 1000 is using default block quota setting\nuid 1000 is using default file quota setting\n"


@pytest.mark.parametrize(
    ("printed", "files"),
    [
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  921718  0  1048576  -\n", 126_858),
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  921718  0  1048576  -\n{DEFAULT}", 126_858),
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  10  500  0  -\n", 490),
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  10  500  900  -\n", 490),
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  901*  500  900  6d23h59m50s\n", 0),
        (f"{USER}{HEADER}/a/long/name of/scratch\n                100*  50  1000  none  10  0  900  -\n", 890),
        (f"{USER}{HEADER}     /scratch  100  0  1000  -  10  0  0  -\n", math.inf),
        (
            "Disk quotas for prj 100010 (pid 100010):\n"
            "     Filesystem    used   bquota  blimit  bgrace   files   iquota  ilimit  igrace\n"
            "          /home     7       0k     50       -     511        0 1000000       -\n".replace("0k", "0"),
            999_489,
        ),
    ],
)
def test_a_quota_allows_the_files_up_to_its_lower_limit(printed: str, files: float) -> None:
    assert parse_quota(printed) == files


@pytest.mark.parametrize(
    "printed",
    [
        "",
        f"{USER}{HEADER}",
        f"{USER}{HEADER}     /fred [1041408]  5242880 6291456       -     [0]       0       0       -\n",
        f"{USER}{HEADER}     /scratch  100  0  1000  -  10  0  0  -\n{DEFAULT}",
        f"{USER}{HEADER}     /home  99.99G  0k  100G  -  921718  0  1048576  -\n",
        f"{USER}{HEADER}     ./  1840  0  1000000000  -  23  0  0\n",
        f"{USER}{HEADER}     /scratch  100  0  1000  -  10  0  900  -\nSome errors happened when getting quota info.\n",
        f"{USER}Filesystem used quota files limit\n     /scratch  100  0  1000  -  10  0  900  -\n",
    ],
)
def test_a_quota_that_is_not_understood_as_a_whole_is_unknown(printed: str) -> None:
    assert parse_quota(printed) is None


def test_the_number_of_a_project_is_read_and_other_texts_are_unknown() -> None:
    assert parse_project("110255 P /projects/csc000\n") == 110_255
    assert parse_project("    0 - /scratch/a b\n") == 0
    assert parse_project("lfs: cannot open\n") is None
    assert parse_project("") is None


def test_the_file_system_of_a_folder_that_does_not_exist_yet_is_asked(tmp_path: Path) -> None:
    allowance = find_file_allowance(tmp_path / "dataset" / "images")
    assert allowance.unread in ((), ("the file system",))
    assert allowance.files is None or allowance.files > 0


def write_lfs(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A command `lfs`, and a file system that reports 5,000 free files."""
    (folder / "lfs").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "lfs").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(file_limits, "read_free_files", lambda path: 5_000)


def test_the_smallest_limit_counts_and_limits_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""case "$1 $2" in
"quota -u") printf '{USER}{HEADER}  /s  1  0  9  -  100  0  900  -\\n' ;;
"quota -g") echo 'a new form' ;;
"project -d") echo "77 P $3" ;;
"quota -p") [ "$3" = 77 ] && printf '{USER.replace("usr", "prj").replace("uid", "pid")}{HEADER}  /s  1  0  9  -  100  0  400  -\\n' ;;
esac""".replace("\n     Filesystem", "\\n     Filesystem").replace("grace\n", "grace\\n")
    write_lfs(tmp_path, monkeypatch, script)
    expected = FileAllowance(300, "the quota of the project", ("the quota of the group",))
    assert find_file_allowance(tmp_path) == expected


def test_a_folder_outside_lustre_has_no_quota_of_lustre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo \"lfs quota: '/home' not on a mounted Lustre filesystem\" >&2; exit 1"
    write_lfs(tmp_path, monkeypatch, script)
    assert find_file_allowance(tmp_path) == FileAllowance(5_000, "the file system")


def test_quotas_of_a_command_that_fails_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lfs(tmp_path, monkeypatch, "echo 'Permission denied' >&2; exit 1")
    unread = tuple(f"the quota of the {owner}" for owner in ("user", "group", "project"))
    assert find_file_allowance(tmp_path) == FileAllowance(5_000, "the file system", unread)
