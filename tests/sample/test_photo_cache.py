"""The cache of drawn photos: the bytes that drawing gives, complete or absent, and never those of an older drawing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest

from sample.photo_cache import load_photos
from sample.photos import encode
from sample.plan import Photo, make_plan

ROOT = Path(__file__).parents[2]


def _few() -> list[Photo]:
    """The smallest photo of three species: three tasks for the processes that draw."""
    by_species: dict[str, Photo] = {}
    for photo in sorted(make_plan().photos, key=lambda photo: photo.size, reverse=True):
        by_species[photo.species] = photo
    return list(by_species.values())[:3]


def _zips(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.zip"))


def test_photos_are_drawn_once_and_the_same_as_by_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = _few()
    drawn = load_photos(photos, tmp_path)
    assert drawn == {photo.path: encode(photo) for photo in photos}
    assert "Drawing the 3 photos of the sample (once) ...\n" in capsys.readouterr().err
    assert load_photos(photos, tmp_path) == drawn
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["cut", "empty", "changed byte"])
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str) -> None:
    photos = _few()
    drawn = load_photos(photos, tmp_path)
    (path,) = _zips(tmp_path)
    whole = path.read_bytes()
    damaged = {"cut": whole[:-100], "empty": b"", "changed byte": whole[:5000] + b"\0\xff" + whole[5002:]}
    path.write_bytes(damaged[damage])
    assert load_photos(photos, tmp_path) == drawn
    with ZipFile(path) as archive:
        assert archive.testzip() is None


def test_a_killed_drawing_leaves_no_cache_and_no_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sample.photo_cache import load_photos; "
        "from sample.plan import make_plan; load_photos(make_plan().photos, Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None and process.stderr.readline().startswith("Drawing")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _zips(tmp_path) == []
    deadline = time.monotonic() + 20
    while _is_group_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_group_alive(process.pid)


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_change_of_the_drawing_draws_new_photos_and_removes_the_old(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sample", tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    cache.mkdir()

    def digests() -> dict[str, str]:
        """SHA-256 of a photo as it is loaded from the cache, and as it is drawn now."""
        code = """
import hashlib, json, pathlib, sys
from sample.photo_cache import load_photos
from sample.photos import encode
from sample.plan import make_plan
photo = min(make_plan().photos, key=lambda photo: photo.size)
files = {"loaded": load_photos([photo], pathlib.Path(sys.argv[1]))[photo.path], "drawn": encode(photo)}
print(json.dumps({name: hashlib.sha256(file).hexdigest() for name, file in files.items()}))
"""
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(cache)], cwd=tmp_path, env=environment, capture_output=True, check=True
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    before = digests()
    assert before["loaded"] == before["drawn"]
    old = _zips(cache)
    module = tmp_path / "sample" / "photos.py"
    text = module.read_text()
    assert "quality=85" in text
    module.write_text(text.replace("quality=85", "quality=80"))
    after = digests()
    assert after["loaded"] == after["drawn"] != before["drawn"]
    assert len(old) == len(_zips(cache)) == 1 and old != _zips(cache)
