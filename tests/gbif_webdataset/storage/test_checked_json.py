from pathlib import Path

import pytest

from gbif_webdataset.storage.checked_json import DamagedJsonError, digest_of, read_checked_json, write_checked_json


def test_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = {"b": [1, 2.5, None], "a": {"M\u00fcll": {10: True, 9: False}}}
    write_checked_json(tmp_path / "a.json", values)
    read = {"b": [1, 2.5, None], "a": {"M\u00fcll": {"10": True, "9": False}}}
    assert read_checked_json(tmp_path / "a.json") == (read, True)


def test_a_file_without_a_checksum_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_checked_json(tmp_path / "a.json") == ({"a": 1}, False)


def test_every_byte_that_is_flipped_in_a_value_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_checked_json(path, {"bytes": 123, "name": "train"})
    whole = path.read_bytes()
    for at in [at for at, byte in enumerate(whole) if not chr(byte).isspace()]:
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                values, has_checksum = read_checked_json(path)
            except DamagedJsonError:
                continue
            assert not has_checksum and "checksum" not in values  # the flipped byte is in this name
            assert len(values) == 3


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checked_json(tmp_path / "a.json")


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})
