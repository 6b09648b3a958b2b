import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.storage.atomic import OLD, TEMPORARY, atomic_file, atomic_folder, file_sha256, restore_folder

REPOSITORY = Path(__file__).parents[3]


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    with atomic_file(path) as temporary:
        temporary.write_text("1")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.startswith(TEMPORARY)
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_and_folders_have_the_rights_that_the_user_gives_new_ones(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "a") as file:
            file.write_text("1")
        with atomic_folder(tmp_path / "b") as folder:
            (folder / "c").write_text("1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o750


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "shards"
    for content in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / content / "deep").mkdir(parents=True)
            (temporary / content / "deep" / "a.tar").write_text(content)
    assert [each.relative_to(path).as_posix() for each in path.rglob("*.tar")] == ["new/deep/a.tar"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_whose_writer_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "shards"
    path.mkdir()
    (path / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        (temporary / "half").write_text("1")
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == [path]
    assert [each.name for each in path.iterdir()] == ["old"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from gbif_webdataset.storage.atomic import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPOSITORY)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert all(each.name.startswith(TEMPORARY) for each in tmp_path.iterdir() if each != path)


def test_the_folder_of_a_killed_writer_goes_with_the_next_one_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from gbif_webdataset.storage.atomic import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "manifest"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPOSITORY)
    [left] = tmp_path.iterdir()
    with atomic_folder(path) as first:
        assert not left.exists()
        with atomic_folder(path) as second:
            assert first.exists()
            assert second != first


def test_a_hash_is_of_all_bytes(tmp_path: Path) -> None:
    data = os.urandom(1_000_001)
    (tmp_path / "a").write_bytes(data)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_folder_that_a_killed_writer_moved_away_is_brought_back(tmp_path: Path) -> None:
    old = tmp_path / f"{TEMPORARY}splits-1{OLD}"
    old.mkdir()
    (old / "train.csv").write_text("1")
    restore_folder(tmp_path / "splits")
    assert (tmp_path / "splits" / "train.csv").read_text() == "1"

    old.mkdir()
    restore_folder(tmp_path / "splits")
    assert (tmp_path / "splits" / "train.csv").read_text() == "1"
