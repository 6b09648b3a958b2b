"""method.json in the folder `splits`: how its images were assigned."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gbif_webdataset.storage.atomic import atomic_file

METHOD = "method.json"


@dataclass(frozen=True)
class SplitMethod:
    """How the images of a folder `splits` were assigned.

    Attributes:
        parameters: the parameters of SplitDataset that decide the split of an image.
        keeps_older_splits: whether the images keep the splits of an older version.
        moved_by_new_method: if so, how many of them the method of this version would move.
        images: the images of train, val and test.
    """

    parameters: Mapping[str, Any]
    keeps_older_splits: bool = False
    moved_by_new_method: int = 0
    images: int = 0

    def save(self, folder: Path) -> None:
        """Write method.json."""
        with atomic_file(folder / METHOD) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_method(folder: Path) -> SplitMethod | None:
    """The method of a folder `splits`; None if an older version made the splits, or if there are none."""
    try:
        values = json.loads((folder / METHOD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return SplitMethod(**values)
