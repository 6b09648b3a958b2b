"""Images in a bucket, which are read one by one and never listed."""

from gbif_webdataset.errors import DatasetError, ParameterError
from gbif_webdataset.remote.object_errors import explain_error, is_missing_bucket
from gbif_webdataset.remote.open_store import open_object_store
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import HUB, StoreAddress, check_packages


class RemoteImages:
    """The images below an address in a bucket, each an object. Threads may share it.

    Raises:
        ParameterError: the package for such addresses is not installed, or the address is of another kind.
        StoreError: there are no credentials.
    """

    def __init__(self, address: StoreAddress) -> None:
        if address.scheme == HUB:
            problem = "images of a repository cannot be read one by one"
            raise ParameterError.at(address.option, problem, "give a folder, or an address of s3://, gs:// or az://")
        check_packages(address.scheme, address.option_name)
        self._address = address
        try:
            self._store = open_object_store(address)
        except DatasetError:
            raise
        except Exception as error:  # obstore and boto3 have many kinds of errors of configuration
            raise explain_error(error, address.option) from None

    def read(self, image_path: str) -> bytes:
        """The bytes of an image. Temporary failures are retried.

        Raises:
            FileNotFoundError: there is no such image.
            StoreError: the bucket does not exist or may not be read, or too many attempts failed.
        """
        return Retries(self._address.option).run(lambda: self._read(image_path))

    def _read(self, image_path: str) -> bytes:
        import obstore

        try:
            return bytes(obstore.get(self._store, image_path).bytes())
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise explain_error(error, self._address.option) from None
            raise
        except Exception as error:
            raise explain_error(error, self._address.option) from None
