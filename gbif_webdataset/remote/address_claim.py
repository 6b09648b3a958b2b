"""Which dataset writes its shards to an address.

`<to>/shards.json` has the id of the dataset that writes there. `.store.json` in the folder of the dataset has the same
id, the address and the path of the folder. It is not in `shards/`, so that it stays when that folder is deleted.
"""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json
from gbif_webdataset.storage.target_record import record_path

OWNER = "shards.json"
CLAIM = ".store.json"


@dataclass(frozen=True)
class Claim:
    """The id of a dataset, its folder, and the address where OWNER has the id; empty if there is none yet."""

    id: str
    folder: str
    address: str = ""

    @classmethod
    def new(cls, dataset: Path) -> Self:
        """A claim with an id that no other dataset has."""
        return cls(uuid.uuid4().hex, str(dataset.resolve()))

    @property
    def owner(self) -> bytes:
        """The content of OWNER."""
        return (json.dumps({"tool": "gbif-webdataset", "id": self.id}) + "\n").encode()

    def has_written(self, owner: bytes) -> bool:
        """Whether the content of OWNER has the id of this claim."""
        try:
            return str(json.loads(owner)["id"]) == self.id
        except (ValueError, RecursionError, TypeError, KeyError):
            return False

    def find_original(self, dataset: Path) -> Path | None:
        """The folder from which the folder of the dataset was copied; None if it is the original or was moved."""
        original = Path(self.folder)
        found = read_claim(original)
        if found is None or found.id != self.id or (original / CLAIM).samefile(dataset / CLAIM):
            return None
        return original


def read_claim(dataset: Path) -> Claim | None:
    """The claim of the dataset in a folder; None if it has written no shards to an address."""
    try:
        values, _ = read_checked_json(dataset / CLAIM)
        return Claim(str(values["id"]), str(values["folder"]), str(values["address"]))
    except (FileNotFoundError, NotADirectoryError, DamagedJsonError, KeyError):
        return None


def write_claim(dataset: Path, claim: Claim) -> None:
    """Write the claim of the dataset in a folder."""
    write_checked_json(dataset / CLAIM, asdict(claim))


def lost_owner_error(place: str, dataset: Path) -> StoreError:
    """Return the error for an address without the OWNER that the dataset in this folder wrote there."""
    problem = f"{OWNER} is missing there: is the disk mounted, is the endpoint right?"
    files = f"{dataset / CLAIM} and {record_path(dataset, 'CreateWebDataset')}"
    remedy = f"correct that, or, if the shards there were deleted, delete {files} to write them again"
    return StoreError.at(place, problem, remedy)
