"""Errors of huggingface_hub as sentences, or as temporary failures."""

import contextlib
import errno
from collections.abc import Iterator

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError

FULL = (507,)
TOO_LARGE = (413,)
DENIED = (401, 403)
TEMPORARY = (408, 409, 412, 423, 425, 429)
OF_DISKS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Faults that no connection has."""


@contextlib.contextmanager
def explain_hub_errors(address: StoreAddress) -> Iterator[None]:
    """Raise what the Hub refuses as a sentence without its text, and all other faults as temporary."""
    from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError

    place = address.option
    try:
        yield
    except DatasetError:
        raise
    except LocalTokenNotFoundError:
        remedy = "run `hf auth login`, or set HF_TOKEN"
        raise StoreError.at(place, "there is no token for the Hub", remedy) from None
    except RepositoryNotFoundError:
        problem = "there is no such repository, or the token may not read it"
        remedy = f"create it with `hf repo create {address.container} --repo-type dataset`, or run `hf auth login`"
        raise StoreError.at(place, problem, remedy) from None
    except Exception as error:  # of several HTTP libraries, or a RuntimeError around one
        raise _explain(_find_status(error), error, place) from None


def find_disk_fault(error: BaseException | None) -> OSError | None:
    """The fault of a disk of this machine among an error and its causes; None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_DISKS:
            return error
        if isinstance(error, PermissionError) and error.filename is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain(status: int, error: Exception, place: str) -> Exception:
    if status in DENIED:
        return StoreError.at(
            place, f"the token may not read or write there (HTTP {status})", "run `hf auth login` with another"
        )
    if status in FULL:
        return StoreError.at(place, f"the Hub has no space left for it (HTTP {status})", "free some space there")
    if status in TOO_LARGE:
        remedy = "make fewer shards with a larger --CreateWebDataset-max-shard-size"
        return StoreError.at(place, f"the version has too many files for the Hub (HTTP {status})", remedy)
    if 400 <= status < 500 and status not in TEMPORARY:
        return StoreError.at(place, f"the Hub refuses a request (HTTP {status})", "check the address and the endpoint")
    return TemporaryStoreError(f"HTTP {status}" if status else type(error).__name__)


def _find_status(error: BaseException | None) -> int:
    """The HTTP status of an error or of its causes; 0 without one."""
    while error is not None:
        if status := getattr(getattr(error, "response", None), "status_code", None):
            return int(status)
        error = error.__cause__ or error.__context__
    return 0
