import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.verify.earlier_findings import FIELDS, EarlierFindings
from gbif_webdataset.verify.finding import Finding

BYTES = {"a": b"first", "b": b"second", "c": b"third"}
SHA256 = {name: hashlib.sha256(data).hexdigest() for name, data in BYTES.items()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, data in BYTES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def write_table(path: Path, *findings: Finding) -> Path:
    rows = [{name: getattr(finding, name) for name in FIELDS} for finding in findings]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def make_finding(name: str, error: str = "") -> Finding:
    return Finding(error, "", "JPEG", "RGB", 4, 3, 4, 3, False, "0" * 16, len(BYTES[name]), SHA256[name])


def test_images_with_the_same_bytes_have_the_earlier_finding(images: Path) -> None:
    table = write_table(images / "t.parquet", make_finding("a"), make_finding("b", "truncated"))
    found = EarlierFindings(table).find([(name, SHA256[name]) for name in "cba"], FileStore(images))
    assert found == [None, make_finding("b", "truncated"), make_finding("a")]


def test_missing_resized_and_changed_files_have_none(images: Path) -> None:
    table = write_table(
        images / "t.parquet",
        make_finding("a"),
        make_finding("b"),
        make_finding("c", "changed-file"),
        Finding("missing-file"),
    )
    (images / "a").unlink()
    (images / "b").write_bytes(b"longer than before")
    assert EarlierFindings(table).find([(name, SHA256[name]) for name in "abc"], FileStore(images)) == [
        None,
        None,
        None,
    ]


def test_without_a_table_there_are_none(images: Path) -> None:
    assert EarlierFindings(None).find([("a", SHA256["a"])], FileStore(images)) == [None]
