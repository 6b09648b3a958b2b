import json

import pytest

from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.upload.published_version import ForeignListError, PublishedObject, PublishedVersion

VERSION = PublishedVersion(
    dataset="abc",
    title="Moths",
    version="1.0.0",
    objects=[PublishedObject("train/train-000000-1234abcd.tar", "train/train-000000.tar", 10, "f" * 64)],
    copies={"README.md": "e" * 64},
    earlier=["train/train-000000.tar"],
    published_at="2026-11-28T12:00:00Z",
    software="0.5.0",
)


def changed(**values: object) -> bytes:
    """The list with other values and a checksum that fits."""
    content = {**json.loads(VERSION.to_json()), **values}
    content.pop("checksum")
    return json.dumps({**content, "checksum": digest_of(content)}).encode()


def test_a_list_is_read_back_as_it_was_written() -> None:
    assert PublishedVersion.of_json(VERSION.to_json()) == VERSION
    assert PublishedVersion.of_json(changed()) == VERSION


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b'{"tool": "other"}', b'{"tool": "gbif-webdataset"}', VERSION.to_json().replace(b"Moths", b"Birds"),
     VERSION.to_json()[:-20], changed(format=2), changed(objects=[{"name": "x"}]), changed(more=1), b"[" * 100_000],
)  # fmt: skip
def test_other_contents_are_foreign(data: bytes) -> None:
    with pytest.raises(ForeignListError):
        PublishedVersion.of_json(data)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", 7])
def test_names_that_lead_out_of_the_target_are_foreign(name: object) -> None:
    with pytest.raises(ForeignListError):
        PublishedVersion.of_json(changed(earlier=[name]))
    with pytest.raises(ForeignListError):
        PublishedVersion.of_json(changed(objects=[{"name": name, "path": "x", "bytes": 1, "sha256": ""}]))
