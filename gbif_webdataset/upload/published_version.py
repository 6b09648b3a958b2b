"""dataset.json, the list of a published version's objects, which a target has as its last file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Self

from gbif_webdataset.storage.checked_json import CHECKSUM, digest_of

NAME = "dataset.json"
FORMAT = 1


class ForeignListError(Exception):
    """A dataset.json that this tool did not write, or that is damaged. The text completes a sentence about it."""


@dataclass(frozen=True)
class PublishedObject:
    """An object of a version: its name at the target, the path of its file in the dataset, bytes, and SHA-256."""

    name: str
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PublishedVersion:
    """A version of a dataset at a target.

    `dataset` identifies the dataset in all versions. `objects` never change while a version lists them. `copies` are
    the same files at the paths where people and programs expect them, such as README.md; they change with each version.
    `earlier` are the names of objects and copies that only earlier versions, or attempts that were not published, have.
    """

    dataset: str
    title: str
    version: str
    objects: Sequence[PublishedObject]
    copies: Mapping[str, str] = field(default_factory=dict)  # path: SHA-256
    earlier: Sequence[str] = ()
    published_at: str = ""
    software: str = ""

    @property
    def by_path(self) -> dict[str, PublishedObject]:
        """The objects by the paths of their files."""
        return {one.path: one for one in self.objects}

    @property
    def names(self) -> set[str]:
        """The names of all objects and copies of this version."""
        return {*(one.name for one in self.objects), *self.copies}

    def to_json(self) -> bytes:
        """The content of dataset.json."""
        values = {"format": FORMAT, "tool": "gbif-webdataset", **asdict(self)}
        values = json.loads(json.dumps(values))
        return (json.dumps({**values, CHECKSUM: digest_of(values)}, indent=1) + "\n").encode()

    @classmethod
    def of_json(cls, data: bytes) -> Self:
        """The version that a dataset.json describes. Its names lead nowhere but below the target.

        Raises:
            ForeignListError: it is not a list of this tool, or is damaged.
        """
        try:
            values: Any = json.loads(data)
            if not isinstance(values, dict) or values.pop("tool", None) != "gbif-webdataset":
                raise ForeignListError("is not a list of this tool")
            checksum = values.pop(CHECKSUM, None)
            if checksum != digest_of({**values, "tool": "gbif-webdataset"}):
                raise ForeignListError("does not match its checksum")
            if values.pop("format") != FORMAT:
                raise ForeignListError("was written by a newer version of this tool")
            objects = [PublishedObject(**one) for one in values.pop("objects")]
            version = cls(objects=objects, **values)
        except (ValueError, RecursionError, TypeError, KeyError):
            raise ForeignListError("is not a list of this tool") from None
        if not all(_is_below(name) for name in (*version.names, *version.earlier)):
            raise ForeignListError("has names that lead out of the target")
        return version


def _is_below(name: object) -> bool:
    """Whether a name is a relative path without `..`."""
    path = PurePosixPath(str(name))
    return isinstance(name, str) and bool(path.parts) and not path.is_absolute() and ".." not in path.parts
