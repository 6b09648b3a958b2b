"""Uploads in parts; tests/end_to_end/test_publish.py has faults and kills."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.remote import s3_parts
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.s3_parts import S3Parts
from gbif_webdataset.remote.store_address import StoreAddress
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, run_moto

boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
PART = 5 << 20  # the least size that S3 allows
DATA = b"0123456789abcdef" * (12 << 16)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_parts, "PART_BYTES", PART)
    return boto3.client("s3", endpoint_url=url)


@pytest.fixture
def parts(client: Any, url: str, request: pytest.FixtureRequest) -> S3Parts:
    return S3Parts(StoreAddress.parse(f"s3://{BUCKET}/{request.node.name}", url))


FILE = LocalFile.of_content(Path("a.tar"), DATA)


def list_unfinished(client: Any, prefix: str) -> list[str]:
    uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    return [one["Key"].removeprefix(f"{prefix}/") for one in uploads]


def test_an_object_has_the_bytes_of_its_parts(parts: S3Parts, client: Any, request: pytest.FixtureRequest) -> None:
    parts.put("a.tar", FILE)
    answer = client.get_object(Bucket=BUCKET, Key=f"{request.node.name}/a.tar")
    assert answer["Body"].read() == DATA
    assert answer["ContentType"] == "application/x-tar"
    assert answer["ETag"].endswith('-3"')
    assert list_unfinished(client, request.node.name) == []


def test_a_new_upload_needs_no_permission_to_list_parts(parts: S3Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        assert name != "list_parts"
        return get_paginator(name)

    get_paginator = parts._client.get_paginator
    monkeypatch.setattr(parts._client, "get_paginator", refuse)
    parts.put("a.tar", FILE)


def test_parts_of_an_unfinished_upload_are_used_if_their_bytes_are_the_same(
    parts: S3Parts, client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"Bucket": BUCKET, "Key": f"{request.node.name}/a.tar"}
    for _ in range(2):
        upload = client.create_multipart_upload(**place)["UploadId"]
        client.upload_part(**place, UploadId=upload, PartNumber=1, Body=DATA[:PART])
        client.upload_part(**place, UploadId=upload, PartNumber=2, Body=b"other bytes")
    sent: list[int] = []
    upload_part = parts._client.upload_part

    def note(**options: Any) -> Any:
        sent.append(options["PartNumber"])
        return upload_part(**options)

    monkeypatch.setattr(parts._client, "upload_part", note)
    paced: list[int] = []
    parts.put("a.tar", replace(FILE, pace=paced.append))
    assert sent == [2, 3]
    assert paced == [PART, len(DATA) - 2 * PART], "the first part is not sent, so nothing waits for it"
    assert client.get_object(**place)["Body"].read() == DATA
    assert list_unfinished(client, request.node.name) == []


def test_only_uploads_of_these_objects_are_aborted(parts: S3Parts, client: Any, request: pytest.FixtureRequest) -> None:
    for name in ("a.tar", "a.tar.idx", "b.tar"):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"{request.node.name}/{name}")
    parts.abort(["a.tar"])
    assert list_unfinished(client, request.node.name) == ["a.tar.idx", "b.tar"]
    parts.abort(["a.tar.idx", "b.tar", "c.tar"])


def test_an_object_whose_upload_was_complete_is_not_sent_again(
    parts: S3Parts, client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.put("a.tar", FILE)

    def refuse(**options: Any) -> Any:
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts._client, "upload_part", refuse)
        parts.put("a.tar", FILE)
    other = LocalFile.of_content(Path("a.tar"), DATA[:-1] + b"x")
    parts.put("a.tar", other)
    answer = client.get_object(Bucket=BUCKET, Key=f"{request.node.name}/a.tar")
    assert answer["Body"].read() == other.content


def test_a_name_with_a_slash_at_its_end_stands_for_all_uploads_below_it(
    parts: S3Parts, client: Any, request: pytest.FixtureRequest
) -> None:
    for name in ("x/a.tar", "x/b/c.tar", "xy.tar"):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"{request.node.name}/{name}")
    parts.abort(["x/", "z.tar"])
    assert list_unfinished(client, request.node.name) == ["xy.tar"]
    parts.abort(["xy.tar"])
