"""One attempt to transfer an archive from a bucket or the Hugging Face Hub, which continues an earlier one."""

from collections.abc import Callable

from gbif_webdataset.obtain.gbif_api import NotFoundError
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.sources import OPTION
from gbif_webdataset.obtain.transfer import Transfer, check_space
from gbif_webdataset.remote.remote_file import continue_copy, open_remote_file
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import TemporaryStoreError


def transfer_object(file: Transfer, report_bytes: Callable[[int, int], None]) -> None:
    """Transfer what is missing of an archive. `report_bytes` gets the number of bytes so far and of all.

    Bytes of another version of the object are deleted first.

    Raises:
        TemporaryError: the transfer stopped early; the next attempt continues.
        NotFoundError, StoreError, FetchError: the archive cannot be read, or the disk has too little space.
    """
    address = StoreAddress.parse(file.url, option_name=OPTION)
    remote = open_remote_file(address)
    try:
        version = remote.find_version()
        if version is None:
            raise NotFoundError.at(address.option, "there is no such file", "check the address")
        check_space(file, max(0, version.size - file.count_bytes()))
        continue_copy(remote, version, file.part, lambda count: report_bytes(count, version.size))
    except TemporaryStoreError as error:
        raise TemporaryError(f"{address.address}: {error}") from error
