import hashlib
import json
import os
from pathlib import Path

from gbif_webdataset.storage.target_record import FileRecord, Record, digest_of, digest_of_file

MADE_FROM = {"format": 1, "parameters": {"seed": 42, "name": "M\u00fcll"}, "inputs": {"archive": "ab"}}


def record(output: Path, **contents: str) -> Record:
    """A record of files with these contents."""
    files = {}
    for name, content in contents.items():
        (output / name).write_text(content)
        files[name] = FileRecord.of(output / name)
    return Record("Task", MADE_FROM, files, {"images": [1, 2]}, 1.5)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(tmp_path, a="1", b="22")
    written.save(tmp_path / ".made" / "Task.json")
    assert Record.load(tmp_path / ".made" / "Task.json") == written
    assert [path.name for path in (tmp_path / ".made").iterdir()] == ["Task.json"]


def test_no_record_is_none(tmp_path: Path) -> None:
    assert Record.load(tmp_path / "Task.json") is None


def test_a_record_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "Task.json"
    for content in ("1", "2", "3"):
        record(tmp_path, a=content).save(path)
        loaded = Record.load(path)
        assert loaded is not None
        assert loaded.files["a"].sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_a_file_is_described_by_its_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert FileRecord.of(tmp_path / "a") == FileRecord(3, hashlib.sha256(b"123").hexdigest())


def test_a_target_is_of_what_it_was_made_from_while_its_files_are_whole(tmp_path: Path) -> None:
    made = record(tmp_path, a="123", b="4")
    assert made.is_of(json.loads(json.dumps(MADE_FROM)), tmp_path)
    assert not made.is_of(MADE_FROM | {"format": 2}, tmp_path)
    assert not made.is_of({**MADE_FROM, "parameters": {"seed": 43, "name": "M\u00fcll"}}, tmp_path)
    (tmp_path / "a").write_text("12")
    assert not made.is_of(MADE_FROM, tmp_path)
    (tmp_path / "a").write_text("123")
    (tmp_path / "b").unlink()
    assert not made.is_of(MADE_FROM, tmp_path)


def test_a_digest_is_of_the_files_contents_alone(tmp_path: Path) -> None:
    first = record(tmp_path, a="1", b="2")
    other = Record("Other", {}, dict(reversed(first.files.items())), {"x": 1}, 9)
    assert first.digest == other.digest
    assert first.digest != record(tmp_path, a="1", b="3").digest
    assert first.digest != record(tmp_path, a="1", c="2").digest
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})


def test_a_file_that_changed_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("abc")
    assert digest_of_file(path) == hashlib.sha256(b"abc").hexdigest()
    path.write_text("abd")
    os.utime(path, ns=(1, 1))
    assert digest_of_file(path) == hashlib.sha256(b"abd").hexdigest()
