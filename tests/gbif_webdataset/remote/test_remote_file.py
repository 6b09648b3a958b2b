"""Files in buckets (moto), on the Hub (an imitation) and on disks; on real sockets."""

import os
from pathlib import Path

import pytest

from gbif_webdataset.remote.remote_file import continue_copy, open_remote_file
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from tests.support.hub_server import TOKEN, HubServer
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}"


def put(address: str, content: bytes) -> StoreAddress:
    """Write an object, or a file."""
    found = StoreAddress.parse(address, option_name="--dwca")
    if found.scheme == "file":
        Path(found.prefix).write_bytes(content)
    else:
        import boto3

        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        client.put_object(Bucket=found.container, Key=found.prefix, Body=content)
    return found


@pytest.fixture(params=["s3", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a folder."""
    return request.getfixturevalue("bucket") + f"/{tmp_path.name}" if request.param == "s3" else f"file://{tmp_path}"


def test_a_file_is_copied_and_its_part_is_continued(folder: str, tmp_path: Path) -> None:
    address, part = put(f"{folder}/x.zip", CONTENT), tmp_path / "copy.part"
    file = open_remote_file(address)
    version = file.find_version()
    assert version is not None and version.size == len(CONTENT)
    continue_copy(file, version, part)
    assert part.read_bytes() == CONTENT
    with part.open("r+b") as target:  # what a killed process leaves
        target.truncate(1_000)
        target.write(b"#" * 1_000)
    continue_copy(file, version, part)
    assert part.read_bytes() == b"#" * 1_000 + CONTENT[1_000:]  # the bytes that were there were not copied again


def test_bytes_of_another_version_are_not_continued(folder: str, tmp_path: Path) -> None:
    address, part = put(f"{folder}/x.zip", CONTENT), tmp_path / "copy.part"
    file = open_remote_file(address)
    before = file.find_version()
    assert before is not None
    continue_copy(file, before, part)
    os.truncate(part, 1_000)
    put(f"{folder}/x.zip", CONTENT[::-1])
    if folder.startswith("file"):
        os.utime(address.prefix, ns=(1, 1))
    with pytest.raises(TemporaryStoreError, match="was replaced while it was read"):
        continue_copy(file, before, part)
    after = file.find_version()
    assert after is not None
    continue_copy(file, after, part)
    assert part.read_bytes() == CONTENT[::-1]


def test_an_empty_file_is_copied(folder: str, tmp_path: Path) -> None:
    file = open_remote_file(put(f"{folder}/empty", b""))
    version = file.find_version()
    assert version is not None
    continue_copy(file, version, tmp_path / "copy.part")
    assert (tmp_path / "copy.part").read_bytes() == b""


def test_a_missing_file_has_no_version(folder: str) -> None:
    address = StoreAddress.parse(f"{folder}/missing.zip", option_name="--dwca")
    assert open_remote_file(address).find_version() is None


def test_a_missing_bucket_is_an_error(bucket: str) -> None:
    address = StoreAddress.parse("s3://no-such-bucket/x.zip", option_name="--dwca")
    with pytest.raises((StoreError, TemporaryStoreError)):
        open_remote_file(address).append(Path(os.devnull), None, print)  # type: ignore[arg-type]


def test_a_file_of_the_hub_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="optional: needs pip install -e .[hub]")
    with HubServer() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.files["splits/train.csv"] = CONTENT
        file = open_remote_file(StoreAddress.parse("hf://datasets/me/moths/splits/train.csv"))
        version = file.find_version()
        assert version is not None and version.size == len(CONTENT)
        continue_copy(file, version, tmp_path / "copy.part")
        assert (tmp_path / "copy.part").read_bytes() == CONTENT
        assert open_remote_file(StoreAddress.parse("hf://datasets/me/moths/no.csv")).find_version() is None
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
