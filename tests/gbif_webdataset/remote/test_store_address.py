import importlib.util

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import StoreAddress, check_packages


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("s3://bucket/some/prefix/", ("s3", "bucket", "some/prefix")),
        ("s3://bucket", ("s3", "bucket", "")),
        ("gs://my.bucket/x", ("gs", "my.bucket", "x")),
        ("az://container/x", ("az", "container", "x")),
        ("hf://datasets/me/moths", ("hf", "me/moths", "")),
        ("file:///mnt/two%20words", ("file", "", "/mnt/two words")),
    ],
)
def test_addresses_name_scheme_container_and_prefix(address: str, parts: tuple[str, str, str]) -> None:
    target = StoreAddress.parse(address)
    assert (target.scheme, target.container, target.prefix) == parts


@pytest.mark.parametrize(
    "address",
    ["/mnt/x", "http://bucket/x", "s3:///x", "s3://b/../x", "s3://b//x", "hf://me/moths", "hf://datasets/moths",
     "file://host/x", "file:///", "s4://bucket", "gs://b/x\\y"],
)  # fmt: skip
def test_what_is_no_address_gives_one_sentence_with_the_form(address: str) -> None:
    with pytest.raises(ParameterError, match=r"--to .*: not an address in a bucket, a repository or a folder; .+"):
        StoreAddress.parse(address)


@pytest.mark.parametrize(
    "address", ["s3://bucket/a\nb", "\ts3://bucket", "file:///mnt/x%00", "s3://bucket/\x9b", "s3\r://b"]
)
def test_control_characters_in_an_address_are_refused(address: str) -> None:
    with pytest.raises(ParameterError, match=r"^--to: has a control character, such as a line break; remove it$"):
        StoreAddress.parse(address)
    with pytest.raises(ParameterError, match=r"^--endpoint: has a control character"):
        StoreAddress.parse("s3://bucket", "https://minio.test\n")


def test_a_bracket_in_an_address_gives_one_sentence() -> None:
    with pytest.raises(
        ParameterError,
        match=r"^--to: not an address: the name of the server has wrong characters; write it like s3://bucket/pre",
    ):
        StoreAddress.parse("s3://[x")
    with pytest.raises(ParameterError, match="wrong characters") as raised:
        StoreAddress.parse("s3://KEY:hidden@b\u2100")
    assert "hidden" not in str(raised.value)
    with pytest.raises(
        ParameterError,
        match=r"^--endpoint: not an address: the name of the server has wrong characters; write it like https://",
    ):
        StoreAddress.parse("s3://bucket", "https://[minio")


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("s3://KEY:hidden@bucket/x", ""),
        ("az://container/x?sig=hidden", ""),
        ("s3://bucket/x#hidden", ""),
        ("s3://bucket/x", "https://user:hidden@minio.test"),
        ("s3://bucket/x", "https://minio.test?token=hidden"),
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str, endpoint: str) -> None:
    with pytest.raises(ParameterError, match="which would be recorded; leave it out") as raised:
        StoreAddress.parse(address, endpoint)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["minio.test", "ftp://minio.test"])
def test_an_endpoint_is_the_address_of_a_server(endpoint: str) -> None:
    with pytest.raises(ParameterError, match="not the address of a server"):
        StoreAddress.parse("s3://bucket/x", endpoint)


def test_a_folder_has_no_endpoint() -> None:
    with pytest.raises(ParameterError, match="a folder has no endpoint; leave it out"):
        StoreAddress.parse("file:///mnt/x", "https://minio.test")


def test_names_of_targets_are_file_names_that_differ() -> None:
    targets = [
        StoreAddress.parse("s3://bucket-a/x"),
        StoreAddress.parse("s3://bucket/a-x"),
        StoreAddress.parse("s3://bucket-a/x", "https://minio.test"),
        StoreAddress.parse("file:///" + "x" * 200),
    ]
    assert targets[0].name.startswith("s3-bucket-a-x-")
    assert len({target.name for target in targets}) == len(targets)
    assert all("/" not in target.name and len(target.name) < 100 for target in targets)


def test_addresses_are_written_as_users_type_them() -> None:
    for address in ("s3://bucket/x", "s3://bucket", "hf://datasets/me/moths", "file:///mnt/x"):
        assert StoreAddress.parse(address).address == address


@pytest.mark.parametrize("folder", ["/mnt/two words", "/mnt/100%", "/mnt/a%20b", "/mnt/a?b#c", "/mnt/été"])
def test_the_address_of_any_folder_is_read_as_the_same_folder(folder: str) -> None:
    target = StoreAddress("file", "", folder)
    assert StoreAddress.parse(target.address) == target


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "cloud"), ("gs", "cloud"), ("az", "cloud"), ("hf", "hub")])
def test_a_missing_package_gives_the_command_that_installs_it(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=rf"is not installed; install it with `pip install .*\[{extra}\]'`"):
        check_packages(scheme)
    check_packages("file")
