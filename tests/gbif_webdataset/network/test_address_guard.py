import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.network.address_guard import AddressGuard, BlockedAddressError

NOT_PUBLIC = [
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "192.0.0.192",
    "168.63.129.16",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "fd00:ec2::254",
    "ff02::1",
    "4000::1",
    "::ffff:0:127.0.0.1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "169.253.0.1",
    "168.63.129.15",
    "192.0.1.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


def is_allowed(guard: AddressGuard, address: str) -> bool:
    try:
        guard.check_address(address)
    except BlockedAddressError:
        return False
    return True


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_blocked(address: str) -> None:
    assert not is_allowed(AddressGuard(), address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(AddressGuard(), address)


@pytest.mark.parametrize(
    ("block", "allowed", "still_blocked"),
    [
        ("127.0.0.1/32", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "10.0.0.1", "::1", "169.254.169.254"]),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2"]),
        ("10.1.0.0/16", ["10.1.0.0", "10.1.255.255"], ["10.0.255.255", "10.2.0.0", "127.0.0.1"]),
        ("10.1.2.3/16", ["10.1.255.255"], ["10.2.0.0"]),
        ("::1/128", ["::1"], ["127.0.0.1", "::2", "fe80::1"]),
        ("fd00::/8", ["fd12::1"], ["fc00::1"]),
        ("64:ff9b::/96", ["64:ff9b::a00:1"], ["10.0.0.1"]),
        ("0.0.0.0/0", ["10.0.0.1", "127.0.0.1"], ["::1", "fd00::1"]),
    ],
)
def test_an_allowed_block_allows_its_addresses_and_no_others(
    block: str, allowed: list[str], still_blocked: list[str]
) -> None:
    guard = AddressGuard([block])
    assert [address for address in allowed if not is_allowed(guard, address)] == []
    assert [address for address in still_blocked if is_allowed(guard, address)] == []
    assert is_allowed(guard, "8.8.8.8")


@pytest.mark.parametrize("block", ["localhost", "127.0.0.1/33", "10.0.0.0/8;", ""])
def test_a_block_that_is_not_valid_is_an_error(block: str) -> None:
    with pytest.raises(
        ParameterError,
        match=r"^--Task-allow-addresses .*: .*; write CIDR blocks such as 10\.1\.0\.0/16, separated by commas$",
    ):
        AddressGuard([block], "--Task-allow-addresses")
