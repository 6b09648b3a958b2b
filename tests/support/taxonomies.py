"""A pair of archives with the same occurrences in two taxonomies, of which every change is planned."""

import csv
import gzip
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.crosswalk.make_crosswalk import CrosswalkRequest, CrosswalkResources, make_crosswalk
from tests.support.archives import MEDIA, make_gbif_meta_xml, make_lines, make_medium, write_zip

COLUMNS = (
    "gbifID", "datasetKey", "scientificName", "acceptedScientificName", "taxonRank", "kingdom", "genus", "species",
    "taxonKey", "acceptedTaxonKey", "speciesKey", "genusKey",
)  # fmt: skip
OCCURRENCES_OF_EACH = 40
RELABELLED = 0.02
BACKBONE, COL = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c", "7ddf754f-d193-4cc9-b351-99906754a03b"


@dataclass(frozen=True)
class Taxon:
    """A species in one of the taxonomies."""

    key: str
    name: str
    kingdom: str = "Animalia"

    def occurrence(self, number: int) -> dict[str, str]:
        """An occurrence of it."""
        genus = self.name.split()[0]
        return {
            "gbifID": str(number), "datasetKey": "d1", "scientificName": f"{self.name} Author, 1900",
            "acceptedScientificName": f"{self.name} Author, 1900", "taxonRank": "SPECIES", "kingdom": self.kingdom,
            "genus": genus, "species": self.name, "taxonKey": self.key, "acceptedTaxonKey": self.key,
            "speciesKey": self.key,
        }  # fmt: skip


A, B, C, D = Taxon("1", "Aus bus"), Taxon("2", "Aus cus"), Taxon("X1", "Xus bus"), Taxon("X2", "Xus cus")


@dataclass
class TaxonomyPair:
    """The planned changes: for each old taxon its new ones, and the kind of change; taxa that are only new."""

    changes: list[tuple[str, list[Taxon], list[Taxon]]] = field(default_factory=list)

    def add(self, kind: str, old: Sequence[Taxon], new: Sequence[Taxon]) -> None:
        """Add a change of `old` taxa to `new` ones."""
        self.changes.append((kind, list(old), list(new)))

    @property
    def rows(self) -> set[tuple[str, str, str]]:
        """The old key, new key and kind of each row that a crosswalk of species must have."""
        found = set()
        for kind, old, new in self.changes:
            found |= {(before.key, after.key, kind) for before in old for after in new}
            found |= {(before.key, "", kind) for before in old if not new}
            found |= {("", after.key, kind) for after in new if not old}
        return found


def plan_taxonomies() -> TaxonomyPair:
    """300 taxa: 200 renamed, 20 of them to integers that are old keys of others; lumped, split, gone, new, homonyms."""
    pair = TaxonomyPair()
    old_keys = iter(str(1_000_000 + number) for number in range(1000))
    new_keys = iter(f"N{number}" for number in range(1000))

    def old(name: str, kingdom: str = "Animalia") -> Taxon:
        return Taxon(next(old_keys), name, kingdom)

    def new(name: str, kingdom: str = "Animalia") -> Taxon:
        return Taxon(next(new_keys), name, kingdom)

    renamed = [old(f"Renamed species{number}") for number in range(200)]
    for number, taxon in enumerate(renamed):
        target = new(f"Other species{number}" if number % 2 else taxon.name)
        if number < 20:  # the key of another old taxon, in a circle
            target = Taxon(renamed[(number + 1) % 20].key, target.name)
        pair.add("renamed", [taxon], [target])
    for number in range(10):
        pair.add("lumped", [old(f"Lump a{number}"), old(f"Lump b{number}")], [new(f"Lump a{number}")])
        pair.add("split", [old(f"Whole s{number}")], [new(f"Whole s{number}"), new(f"Part s{number}")])
        pair.add("gone", [old(f"Gone species{number}")], [])
        pair.add("new", [], [new(f"Fresh species{number}")])
    for number in range(6):
        kingdom = ("Animalia", "Plantae")[number % 2]
        name = f"Oenanthe homonym{number // 2}"
        pair.add("renamed", [old(name, kingdom)], [new(name, kingdom)])
    for number in range(54):
        taxon = old(f"Steady species{number}")
        pair.add("same", [taxon], [taxon])
    return pair


def write_pair(
    folder: Path, pair: TaxonomyPair, seed: int = 0, metadata: Mapping[str, str] | None = None
) -> list[Path]:
    """Write old.zip and new.zip. 2 % of the occurrences have the label of another taxon in the new archive.

    The rows are in random order. `metadata` are metadata.xml of old and new.
    """
    chance = random.Random(seed)
    targets = [taxon for kind, _, new in pair.changes for taxon in new if kind != "new"]
    rows: dict[str, list[dict[str, str]]] = {"old": [], "new": []}
    number = 4_000_000_000
    relabel = random.Random(1)
    for _, old, new in pair.changes:
        for taxon in old or new:
            for place in range(OCCURRENCES_OF_EACH):
                number += 1
                if old:
                    rows["old"].append(taxon.occurrence(number))
                if new:
                    target = new[place % 3 % len(new)]
                    other = old and relabel.random() < RELABELLED
                    rows["new"].append((relabel.choice(targets) if other else target).occurrence(number))
    for occurrences in rows.values():
        chance.shuffle(occurrences)
    return write_archives(folder, rows["old"], rows["new"], metadata)


def write_official_table(path: Path, pairs: Sequence[tuple[str, str]], seed: int = 0) -> Path:
    """Write a table in the format of gbif-col265.tsv.gz, with rows that lack a key, and rows that are repeated."""
    header = (
        "gbif:ID", "gbif:status", "gbif:rank", "gbif:scientificName", "gbif:authorship", "col:ID", "col:rank",
        "col:scientificName", "col:authorship",
    )  # fmt: skip
    lines = [[old, "ACCEPTED", "SPECIES", "Aus bus", "L.", new, "species", "Aus bus", "L."] for old, new in pairs]
    lines += [["999", "DOUBTFUL", "SPECIES", "No match", "", "", "", "", ""], ["", "", "", "", "", "ZZZ", "", "", ""]]
    lines += [*lines[::2], [""] * len(header), ["12"]]
    random.Random(seed).shuffle(lines)
    text = "".join("\t".join(line) + "\n" for line in (header, *lines))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def read_crosswalk(path: Path, rank: str = "species") -> list[dict[str, str]]:
    """The rows of a crosswalk at one rank."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["rank"] == rank]


def make_crosswalk_of(
    folder: Path, old: Path, new: Path, table: Path | None = None, workers: int = 1, memory: str = "200MB"
) -> Path:
    """The crosswalk of two archives or datasets, below `folder`."""
    output = folder / f"crosswalk-{workers}.csv"
    resources = CrosswalkResources(folder / "scratch", memory, workers, lambda count: None)
    make_crosswalk(CrosswalkRequest(old, new, table), output, resources)
    assert not list((folder / "scratch").iterdir())
    return output


def occurrences(*counts: tuple[Taxon, int], first: int = 1) -> list[dict[str, str]]:
    """So many occurrences of each taxon, with ids from `first`."""
    rows = []
    for taxon, count in counts:
        rows += [taxon.occurrence(first + len(rows) + number) for number in range(count)]
    return rows


def write_archives(
    folder: Path, old: list[dict[str, str]], new: list[dict[str, str]], metadata: Mapping[str, str] | None = None
) -> list[Path]:
    """Write old.zip and new.zip with these occurrences, each with a photo, and these metadata.xml."""
    paths = []
    for side, rows in (("old", old), ("new", new)):
        files = {
            "meta.xml": make_gbif_meta_xml(COLUMNS),
            "occurrence.txt": make_lines(COLUMNS, rows),
            "multimedia.txt": make_lines(MEDIA, [make_medium(int(row["gbifID"])) for row in rows]),
        }
        paths.append(write_zip(folder / f"{side}.zip", files | ({"metadata.xml": metadata[side]} if metadata else {})))
    return paths
