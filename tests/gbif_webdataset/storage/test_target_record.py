import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage.target_record import (
    Change,
    FileRecord,
    Fingerprint,
    TargetRecord,
    digest_of_file,
    find_changes,
    load_checked_record,
)

FINGERPRINT = Fingerprint(1, {"seed": 42, "name": "M\u00fcll"}, {"archive": "ab"})


def record(output: Path, **contents: str) -> TargetRecord:
    """A record of files with these contents."""
    files = {}
    for name, content in contents.items():
        (output / name).write_text(content)
        files[name] = FileRecord.of(output / name)
    return TargetRecord("Task", FINGERPRINT, files, {"images": [1, 2]}, 1.5)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(tmp_path, a="1", b="22")
    written.save(tmp_path / ".made" / "Task.json")
    assert TargetRecord.load(tmp_path / ".made" / "Task.json") == written
    assert [path.name for path in (tmp_path / ".made").iterdir()] == ["Task.json"]


def test_objects_are_recorded_with_their_address_and_belong_to_the_digest(tmp_path: Path) -> None:
    local = record(tmp_path, a="1")
    stored = replace(local, objects={"train/train-000000.tar": FileRecord(3, "ab")}, store="s3://bucket/moths")
    for number, written in enumerate((local, stored)):
        written.save(tmp_path / str(number) / "Task.json")
        assert TargetRecord.load(tmp_path / str(number) / "Task.json") == written
    assert "store" not in (tmp_path / "0" / "Task.json").read_text()
    assert len({local.digest, stored.digest, replace(stored, store="s3://bucket/birds").digest}) == 3


def test_no_record_is_none(tmp_path: Path) -> None:
    assert TargetRecord.load(tmp_path / "Task.json") is None


def test_a_record_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "Task.json"
    for content in ("1", "2", "3"):
        record(tmp_path, a=content).save(path)
        loaded = TargetRecord.load(path)
        assert loaded is not None
        assert loaded.files["a"].sha256 == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (b"", "is empty"),
        (bytes(300), "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b"{}", "is not a record that this version can read"),
        (b'{"files": [], "made_from": 3, "facts": "x"}', "is not a record that this version can read"),
    ],
)
def test_a_damaged_record_counts_as_absent_with_its_damage(tmp_path: Path, content: bytes, damage: str) -> None:
    path = tmp_path / "Task.json"
    path.write_bytes(content)
    assert TargetRecord.load(path) is None
    assert load_checked_record(path).damage == damage


def test_a_record_counts_as_absent_after_any_change_of_a_value(tmp_path: Path) -> None:
    path = tmp_path / "Task.json"
    record(tmp_path, a="1").save(path)
    whole = path.read_text()
    for old, new in (("42", "43"), ('"bytes": 1', '"bytes": 2'), ("1.5", "1.6"), ('"a"', '"b"'), ("seed", "seek")):
        path.write_text(whole.replace(old, new))
        assert load_checked_record(path).damage == "does not match its checksum"
    path.write_text(whole[: len(whole) // 2])
    assert load_checked_record(path).damage == "is not JSON"
    path.write_text(json.dumps(json.loads(whole)))  # the same values in another layout
    assert load_checked_record(path).record is not None


def test_a_record_in_the_place_of_another_or_of_a_newer_version_counts_as_absent(tmp_path: Path) -> None:
    record(tmp_path, a="1").save(tmp_path / "Task.json")
    (tmp_path / "Task.json").replace(tmp_path / "Other.json")
    assert load_checked_record(tmp_path / "Other.json").damage == "is the record of Task"
    values = json.loads((tmp_path / "Other.json").read_text())
    del values["checksum"]
    (tmp_path / "Task.json").write_text(json.dumps({**values, "signature": "x"}))
    assert load_checked_record(tmp_path / "Task.json").damage == "is not a record that this version can read"
    (tmp_path / "Folder.json").mkdir()
    assert load_checked_record(tmp_path / "Folder.json").damage == "is a folder"


def test_a_record_that_names_files_outside_the_dataset_counts_as_absent(tmp_path: Path) -> None:
    for name in ("../a", "/etc/passwd"):
        TargetRecord("Task", FINGERPRINT, {name: FileRecord(1, "ab")}).save(tmp_path / "Task.json")
        assert TargetRecord.load(tmp_path / "Task.json") is None


def test_a_record_without_a_checksum_is_read_and_a_number_that_it_lacks_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "Task.json"
    record(tmp_path, a="1").save(path)
    values = json.loads(path.read_text())
    del values["checksum"]
    path.write_text(json.dumps(values))
    checked = load_checked_record(path)
    assert not checked.has_checksum
    assert checked.record == record(tmp_path, a="1")
    with pytest.raises(MissingPieceError, match="lacks the number outcomes"):
        checked.record.results["outcomes"]


def test_a_file_is_described_by_its_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert FileRecord.of(tmp_path / "a") == FileRecord(3, hashlib.sha256(b"123").hexdigest())


def test_files_that_are_missing_or_cut_are_damaged(tmp_path: Path) -> None:
    made = record(tmp_path, a="123", b="4")
    assert list(made.damaged_files(tmp_path)) == []
    (tmp_path / "a").write_text("12")
    (tmp_path / "b").unlink()
    assert list(made.damaged_files(tmp_path)) == [("a", "has the wrong size"), ("b", "is missing")]


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        (FINGERPRINT, []),
        (Fingerprint(2, FINGERPRINT.parameters, FINGERPRINT.inputs), [Change("format", "", 1, 2)]),
        (Fingerprint(1, {"seed": 43, "name": "M\u00fcll"}, {"archive": "ab"}), [Change("parameter", "seed", 42, 43)]),
        (Fingerprint(1, FINGERPRINT.parameters, {"archive": "cd"}), [Change("input", "archive", "ab", "cd")]),
        (Fingerprint(1, FINGERPRINT.parameters, {}), [Change("input", "archive", "ab", None)]),
    ],
)
def test_each_difference_of_a_fingerprint_is_named(now: Fingerprint, changes: list[Change]) -> None:
    assert list(find_changes(FINGERPRINT, now, {})) == changes


def test_a_parameter_that_a_record_lacks_counts_as_its_default() -> None:
    later = Fingerprint(1, {**FINGERPRINT.parameters, "place_km": 1.0}, FINGERPRINT.inputs)
    assert list(find_changes(FINGERPRINT, later, {"place_km": 1.0})) == []
    assert list(find_changes(FINGERPRINT, later, {"place_km": 2.0})) == [Change("parameter", "place_km", 2.0, 1.0)]


def test_a_parameter_that_exists_no_longer_is_ignored() -> None:
    later = Fingerprint(1, {"seed": 42}, FINGERPRINT.inputs)
    assert list(find_changes(FINGERPRINT, later, {})) == []


def test_a_digest_is_of_the_files_contents_alone(tmp_path: Path) -> None:
    first = record(tmp_path, a="1", b="2")
    other = TargetRecord("Other", Fingerprint(2), dict(reversed(first.files.items())), {"x": 1}, 9)
    assert first.digest == other.digest
    assert first.digest != record(tmp_path, a="1", b="3").digest
    assert first.digest != record(tmp_path, a="1", c="2").digest


def test_a_file_that_changed_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("abc")
    assert digest_of_file(path) == hashlib.sha256(b"abc").hexdigest()
    path.write_text("abd")
    os.utime(path, ns=(1, 1))
    assert digest_of_file(path) == hashlib.sha256(b"abd").hexdigest()
