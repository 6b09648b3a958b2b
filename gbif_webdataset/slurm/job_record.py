"""How the Slurm jobs of a dataset were submitted last: logs/job.json, without passwords."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from gbif_webdataset.storage.checked_json import DamagedJsonError, read_checked_json, write_checked_json

RECORD = "job.json"
_SECRET = re.compile(r"--[\w-]*(?:password|token|secret|credential)[\w-]*(?:=|$)", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True)
class JobRecord:
    """How jobs were submitted.

    `fetch` says where images are downloaded, `options` are those of the tasks, `parameters` has a digest for each
    stage, and `jobs` are Slurm's numbers of the dataset's jobs, also of earlier submissions. `given` are the chunks, as
    ranges, of arrays with combined chunks, by number.
    """

    dwca: str
    chunks: int
    fetch: str
    options: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, logs: Path) -> Self | None:
        """Return the record in the folder of the logs; None if there is none, or if it is damaged."""
        try:
            values, _ = read_checked_json(logs / RECORD)
            return cls(
                dwca=str(values["dwca"]),
                chunks=int(values["chunks"]),
                fetch=str(values["fetch"]),
                options=tuple(map(str, values["options"])),
                parameters={str(stage): str(digest) for stage, digest in dict(values["parameters"]).items()},
                jobs=tuple(map(str, values["jobs"])),
                given={str(array): str(ranges) for array, ranges in dict(values.get("given", {})).items()},
            )
        except (FileNotFoundError, NotADirectoryError, DamagedJsonError, KeyError, TypeError, ValueError):
            return None

    def save(self, logs: Path) -> None:
        """Write the record."""
        write_checked_json(logs / RECORD, asdict(self))

    def find_differences(self, parameters: Mapping[str, str]) -> list[str]:
        """Return the stages whose parameters are others."""
        return [stage for stage, digest in parameters.items() if self.parameters.get(stage, digest) != digest]


def remove_credentials(options: Iterable[str]) -> tuple[str, ...]:
    """Return options, or addresses, without passwords, tokens, and the login in a URL."""
    return tuple(_LOGIN.sub("", option) for option in options if not _SECRET.match(option))
