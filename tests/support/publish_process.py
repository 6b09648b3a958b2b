"""Publish a dataset of the tests in a process of its own, which a test can kill.

python -m tests.support.publish_process FOLDER ADDRESS ENDPOINT
"""

import signal
import sys
from pathlib import Path

from gbif_webdataset.remote import object_store, s3_parts
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.upload import transfer
from tests.support.publishable import Publishable

LARGE_BYTES, PART_BYTES = 1 << 20, 5 << 20
"""Files of this size have parts, of the least size that S3 allows, so that tests need no file of 128 MB."""


def use_small_parts() -> None:
    """Upload files above LARGE_BYTES in parts, four files at a time."""
    object_store.MAX_PUT_BYTES = LARGE_BYTES
    object_store.PART_BYTES = s3_parts.PART_BYTES = PART_BYTES
    transfer.WORKERS = 4


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also if pytest runs in the background
    use_small_parts()
    folder, address, endpoint = sys.argv[1:]
    print(Publishable(Path(folder)).send(StoreAddress.parse(address, endpoint)))
