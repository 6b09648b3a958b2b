"""A finished dataset in the facts that its card, its citation and its metadata tell alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gbif_webdataset.account.accounting import Line
from gbif_webdataset.publish.attribution import Uses
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.splits import SPLITS

PRIVATE = ("allow_addresses", "cache_path", "user_agent", "dry_run")  # of the user's machine, nobody else's business


@dataclass(frozen=True)
class Shard:
    """A tar: its path below the shards' folder, its samples, bytes and SHA-256."""

    split: str
    path: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Class:
    """A class: its label and number, a name for people where there is one, and its samples by split."""

    label: str
    number: int
    name: str
    samples: Mapping[str, int]


@dataclass(frozen=True)
class Facts:
    """`settings` are the parameters by task, `lines` where the archive's `media_lines` images went."""

    title: str
    source: Source
    uses: Uses
    shards: Sequence[Shard]
    classes: Sequence[Class]
    media_lines: int
    lines: Sequence[Line]
    settings: Mapping[str, Mapping[str, Any]]
    authors: tuple[str, ...] = ()
    url: str = ""
    extensions: tuple[str, ...] = field(default=("jpg",))  # of images in the shards

    @property
    def samples(self) -> dict[str, int]:
        """The samples of each split that has any."""
        counts = {split: sum(shard.samples for shard in self.shards if shard.split == split) for split in SPLITS}
        return {split: count for split, count in counts.items() if count}

    @property
    def licence(self) -> str:
        """The code of the most restrictive licence there is."""
        return licences.find_strictest(self.uses.codes)

    @property
    def licences(self) -> list[tuple[str, list[int]]]:
        """The licences as people write them, the most restrictive last, with the samples under each by split."""
        by_split = [self.uses.licences.get(split, {}) for split in self.samples]
        return [(licences.display_name(code), [of.get(code, 0) for of in by_split]) for code in self.uses.codes]

    @property
    def strictest(self) -> list[str]:
        """The most restrictive licence in each of `samples`, as people write it."""
        by_split = (self.uses.licences.get(split, {}) for split in self.samples)
        return [licences.display_name(licences.find_strictest(of)) for of in by_split]


def read_shards(path: Path) -> list[Shard]:
    """The lines of shards.csv."""
    with open_csv(path) as lines:
        return [
            Shard(line["split"], line["shard"], int(line["samples"]), int(line["bytes"]), line["sha256"])
            for line in lines
        ]


def read_classes(path: Path) -> list[Class]:
    """The classes of classes.csv, those with most samples first."""
    found: dict[str, Class] = {}
    with open_csv(path) as lines:
        for line in lines:
            number, name = int(line["class"]), line.get("name") or ""
            one = found.setdefault(line["label"], Class(line["label"], number, name, {}))
            counted = {**one.samples, line["split"]: int(line["samples"])}
            found[one.label] = replace(one, name=one.name or name, samples=counted)
    return sorted(found.values(), key=lambda one: (-sum(one.samples.values()), one.number, one.label))


def told(settings: Mapping[str, Any]) -> dict[str, str]:
    """A task's parameters as others may read them: of paths the last part, with the content's SHA-256."""
    shown = {}
    for name, value in settings.items():
        if name in PRIVATE or name.endswith(" sha256") or value in ("", None, []):
            continue
        digest = settings.get(f"{name} sha256")
        shown[name] = str(value) if digest is None else _file(str(value), digest)
    return shown


def _file(path: str, digest: Any) -> str:
    return f"{Path(path).name} (SHA-256 {digest})" if isinstance(digest, str) else Path(path).name
