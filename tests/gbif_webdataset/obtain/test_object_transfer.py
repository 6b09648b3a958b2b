"""Archives in a bucket: moto on a real socket, behind a proxy that breaks transfers."""

from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain.gbif_api import NotFoundError
from gbif_webdataset.remote.store_errors import StoreError
from tests.support.archives import write_zip
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET
from tests.support.obtain_run import ObtainRun

boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
ADDRESS = f"s3://{BUCKET}/archives/moths.zip"
CONTENT = bytes(range(256)) * 1_000


def upload(moto: str, tmp_path: Path, content: bytes) -> bytes:
    """Put a zip into the bucket; its bytes."""
    data = write_zip(tmp_path / "source.zip", {"occurrence.txt": content}, 0).read_bytes()
    boto3.client("s3", endpoint_url=moto).put_object(Bucket=BUCKET, Key="archives/moths.zip", Body=data)
    return data


def test_an_archive_is_obtained_once(moto: str, proxy: FaultProxy, run: ObtainRun, tmp_path: Path) -> None:
    data = upload(moto, tmp_path, CONTENT)
    entry = run.obtain(ADDRESS)[0]
    assert run.zip_of(entry.name) == data
    assert run.bytes[-1] == (entry.zip_name, len(data), len(data))
    assert run.list_files() == {entry.zip_name, entry.json_name}
    proxy.requests.clear()
    assert run.obtain(ADDRESS) == [entry]
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("fault", "offset"),
    [(Fault("cut-answer", "GET"), True), (Fault("503", "GET"), False), (Fault("reset", "HEAD"), False)],
)
def test_a_broken_transfer_continues(
    moto: str, proxy: FaultProxy, run: ObtainRun, tmp_path: Path, fault: Fault, offset: bool
) -> None:
    data = upload(moto, tmp_path, CONTENT)
    proxy.faults = [fault]
    sizes: list[int] = []
    proxy.before = lambda method, path: sizes.append(sum(part.stat().st_size for part in run.folder.glob("*.part")))
    entry = run.obtain(ADDRESS)[0]
    assert run.zip_of(entry.name) == data
    assert (sizes[-1] > 0) is offset  # the second GET follows the bytes of the first one
    assert len(run.clock.pauses) == 1


def test_a_part_of_another_version_is_not_continued(
    moto: str, proxy: FaultProxy, run: ObtainRun, tmp_path: Path
) -> None:
    upload(moto, tmp_path, CONTENT)
    new: list[bytes] = []

    def replace_object(method: str, path: str) -> None:
        if method == "GET" and not proxy.faults[0].times and not new:
            new.append(upload(moto, tmp_path, CONTENT[::-1]))

    proxy.faults, proxy.before = [Fault("cut-answer", "GET")], replace_object
    entry = run.obtain(ADDRESS)[0]
    assert [run.zip_of(entry.name)] == new


def test_a_missing_archive_gives_one_sentence(proxy: FaultProxy, run: ObtainRun) -> None:
    with pytest.raises(NotFoundError, match=rf"--dwca s3://{BUCKET}/no.zip: there is no such file; check the address"):
        run.obtain(f"s3://{BUCKET}/no.zip")


def test_a_refusal_gives_one_sentence_without_the_answer(proxy: FaultProxy, run: ObtainRun) -> None:
    proxy.faults = [Fault("403", "HEAD", times=9)]
    with pytest.raises(StoreError, match=f"--dwca {ADDRESS}: the credentials may not read") as raised:
        run.obtain(ADDRESS)
    assert "AKIASECRET" not in str(raised.value)


def test_what_is_no_zip_gives_one_sentence(moto: str, proxy: FaultProxy, run: ObtainRun) -> None:
    boto3.client("s3", endpoint_url=moto).put_object(Bucket=BUCKET, Key="archives/moths.zip", Body=b"<html>")
    with pytest.raises(FetchError, match="3 attempts"):
        run.obtain(ADDRESS)
