"""The description of a finished dataset that its card, its citation, its metadata and its page share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.before_training import Finding
from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.publish.attribution import AttributionSummary
from gbif_webdataset.publish.coverage import Coverage
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.splits import SPLITS

PRIVATE = ("allow_addresses", "cache_path", "user_agent", "dry_run", "to")
"""Parameters that describe the user's machine or storage; they are not published."""

DEFAULT_VERSION = "1.0.0"


@dataclass(frozen=True)
class Publication:
    """The user's title, authors and address of the published dataset, and the archive's DOI; each may be empty.

    `version` is the dataset's version: three numbers, as in https://semver.org. `defaults` are those of the parameters,
    by task; the card leaves out parameters that have them.
    """

    title: str = ""
    authors: tuple[str, ...] = ()
    url: str = ""
    doi: str = ""
    version: str = DEFAULT_VERSION
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard:
    """A tar: its path below the folder of the shards, its samples, bytes and SHA-256."""

    split: str
    path: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ClassCounts:
    """A class: its label and number, its name for people (may be empty), and its samples in each of SPLITS."""

    label: str
    number: int
    name: str
    samples: Mapping[str, int]

    @property
    def total(self) -> int:
        """Its samples in all splits."""
        return sum(self.samples.values())


@dataclass(frozen=True)
class Taxonomy:
    """The labels: their column, the rank of all classes (may be empty), and the checklist of the keys."""

    label_column: str
    rank: str = ""
    checklist: Checklist = field(default_factory=Checklist)

    def __str__(self) -> str:
        """Two sentences about them."""
        rank = f" (rank: {self.rank})" if self.rank else ""
        keys = f"The taxon keys belong to the checklist {self.checklist}."
        if not self.checklist.key:
            keys = "The archive does not state which taxonomy its taxon keys belong to; match taxa by name, not by key."
        return f"The labels are values of {self.label_column}{rank}. {keys}"


@dataclass(frozen=True)
class DatasetDescription:
    """`settings` are the parameters by task, `defaults` their defaults.

    `sources` describe the archives, the preferred one first. `lines` account for their `media_lines` media.
    `extensions` are those of the images in the shards. `class_names` are in the order of the class numbers; empty if
    they are too many to name. `json_columns` are the names in each `.json`, if there is one. `findings` are what to
    know before training.
    """

    title: str
    sources: Sequence[Source]
    attribution: AttributionSummary
    shards: Sequence[Shard]
    classes: Sequence[ClassCounts]
    media_lines: int
    lines: Sequence[AccountLine]
    settings: Mapping[str, Mapping[str, Any]]
    authors: tuple[str, ...] = ()
    url: str = ""
    extensions: tuple[str, ...] = field(default=("jpg",))
    taxonomy: Taxonomy = field(default_factory=lambda: Taxonomy(""))
    findings: Sequence[Finding] = ()
    shared: Sequence[SharedImages] = ()
    coverage: Coverage = field(default_factory=lambda: Coverage(0))
    version: str = DEFAULT_VERSION
    class_names: Sequence[str] = ()
    json_columns: tuple[str, ...] = ()
    has_captions: bool = False
    shards_sha256: str = ""  # of shards.csv
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_of_gbif(self) -> bool:
        """Whether an archive is a GBIF download."""
        return any(source.is_gbif_download for source in self.sources)

    @property
    def shards_address(self) -> str:
        """The address to which the shards were written; empty if they are in the folder of the dataset."""
        return str(self.settings["CreateWebDataset"].get("to", ""))

    @property
    def published(self) -> str:
        """The date of this version: the day of the last download, because a date of today would change with each run.

        Empty if it is unknown.
        """
        return self.coverage.last_download

    @property
    def samples(self) -> dict[str, int]:
        """The number of samples of each split that has any."""
        counts = {split: sum(shard.samples for shard in self.shards if shard.split == split) for split in SPLITS}
        return {split: count for split, count in counts.items() if count}

    @property
    def licence(self) -> str:
        """The code of the most restrictive licence of an image."""
        return licences.find_strictest(self.attribution.codes)

    @property
    def licence_table(self) -> list[tuple[str, list[int]]]:
        """The name of each licence and its samples in each split of `samples`, the most restrictive licence last."""
        by_split = [self.attribution.licences.get(split, {}) for split in self.samples]
        return [
            (licences.display_name(code), [counts.get(code, 0) for counts in by_split])
            for code in self.attribution.codes
        ]

    @property
    def strictest_licences(self) -> list[str]:
        """The name of the most restrictive licence in each split of `samples`."""
        by_split = (self.attribution.licences.get(split, {}) for split in self.samples)
        return [licences.display_name(licences.find_strictest(counts)) for counts in by_split]


def read_shards(path: Path) -> list[Shard]:
    """The lines of shards.csv."""
    with open_csv(path) as lines:
        return [
            Shard(line["split"], line["shard"], int(line["samples"]), int(line["bytes"]), line["sha256"])
            for line in lines
        ]


def read_classes(path: Path) -> list[ClassCounts]:
    """The classes of classes.csv, those with most samples first."""
    import pandas as pd  # only here: PublishDataset imports this module, and pandas takes 0.4 s

    table = pd.read_csv(path, dtype={"split": str, "label": str, "name": str}, keep_default_na=False)
    counts = table.pivot_table(index="label", columns="split", values="samples", aggfunc="sum", fill_value=0)
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    numbers = dict(zip(table["label"][::-1], table["class"][::-1], strict=True))  # the first line of a label counts
    named = table[table["name"] != ""] if "name" in table else table.assign(name="")
    names = dict(zip(named["label"], named["name"], strict=True))
    classes = [
        ClassCounts(label, int(numbers[label]), names.get(label, ""), dict(zip(SPLITS, map(int, samples), strict=True)))
        for label, *samples in counts.itertuples()
    ]
    return sorted(classes, key=lambda one: (-one.total, one.number, one.label))


def read_rank(path: Path) -> str:
    """The rank of all classes of classes.csv; empty if they have several, or it is not known."""
    with open_csv(path) as lines:
        ranks = {line.get("rank", "") for line in lines}
    return str(ranks.pop()) if len(ranks) == 1 else ""


def list_public_parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    """A task's parameters that have a value, without private ones; a path is its last part and its SHA-256."""
    public = {}
    for name, value in parameters.items():
        if name in PRIVATE or name.endswith(" sha256") or value in ("", None, []):
            continue
        digest = parameters.get(f"{name} sha256")
        public[name] = str(value) if digest is None else _name_file(str(value), digest)
    return public


def _name_file(path: str, digest: Any) -> str:
    return f"{Path(path).name} (SHA-256 {digest})" if isinstance(digest, str) else Path(path).name
