"""What the end-to-end tests work on: a dataset made by the command, and archives changed line by line."""

import csv
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow.parquet as pq

from gbif_webdataset.fetch.journal import read_journal
from gbif_webdataset.terms.outcomes import is_temporary
from sample.plan import Medium, make_plan
from tests.support.archives import write_download

ROOT = Path(__file__).parents[2]
QUICKLY = (
    *("--FetchChunk-allow-addresses", "127.0.0.1/32", "--FetchChunk-requests-per-second-per-host", "0"),
    *("--FetchChunk-connections-per-host", "16", "--FetchChunk-retries", "1"),
    *("--FetchChunk-retry-failed", "none"),
    *("--CreateWebDataset-num-workers", "1"),
)
DATASET = "3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2"
EACH_FAULT = 1
PLAIN_SPECIES = 2
PLAIN_OF_EACH = 9


class Dataset:
    """A dataset that the command people use makes of `archive` in the folder `output`."""

    def __init__(self, archive: Path, output: Path, chunks: int = 4) -> None:
        self.archive, self.output, self.chunks = archive, output, chunks

    def command(self, *arguments: str, task: str = "ReportDataset") -> list[str]:
        """The command line, with `arguments` after the usual ones."""
        which = [f"--dwca={self.archive}", f"--output={self.output}", "--chunks", str(self.chunks)]
        return [sys.executable, "-m", "luigi", "--module", "tasks", task, *which, *QUICKLY, *arguments]

    def make(self, *arguments: str, task: str = "ReportDataset") -> str:
        """Run the command, which has to end well; what it prints."""
        ended = self.run(*arguments, task=task)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def fail(self, *arguments: str, task: str = "ReportDataset") -> str:
        """Run the command, which has to fail; what it prints on stderr."""
        ended = self.run(*arguments, task=task)
        assert ended.returncode not in (0, 40), ended.stderr
        return ended.stderr

    def plan(self, *arguments: str, task: str = "ReportDataset") -> list[str]:
        """Run the command with --plan; the lines that it prints on stderr."""
        ended = self.run("--plan", *arguments, task=task)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
        return ended.stderr.splitlines()

    def run(self, *arguments: str, task: str = "ReportDataset") -> "subprocess.CompletedProcess[str]":
        """Run the command, however it ends."""
        command = self.command(*arguments, task=task)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table under `output`; those of all chunks where `name` is a folder."""
        path = self.output / name
        if path.is_dir():
            return [row for chunk in sorted(path.glob("chunk-*.parquet")) for row in pq.read_table(chunk).to_pylist()]
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def shards(self) -> dict[str, str]:
        """The SHA-256 of each file that a trainer reads, by its path below shards/."""
        folder = self.output / "shards"
        paths = [*folder.glob("*/*.tar"), folder / "category_map.json", folder / "shards.csv"]
        return {path.relative_to(folder).as_posix(): digest(path) for path in paths}

    def settled(self) -> set[str]:
        """The URLs of which journals and ledgers say for all their images what became of them, for good."""
        folder = self.output / "fetched"
        ledgers = [
            outcome
            for path in folder.glob("chunk-*.parquet")
            if path.is_file()
            for outcome in pq.read_table(path).to_pylist()
        ]
        journals = [asdict(outcome) for path in folder.glob("*.journal") for outcome in read_journal(path)]
        known = {row["image_path"]: row["identifier"] for row in ledgers + journals if not is_temporary(row["error"])}
        rows = {row["image_path"]: row["identifier"] for row in self.rows("manifest")}
        return set(known.values()) - {identifier for path, identifier in rows.items() if path not in known}

    def copy(self, output: Path) -> "Dataset":
        """The same dataset in another folder, times of modification included."""
        shutil.copytree(self.output, output)
        return Dataset(self.archive, output, self.chunks)


def archive_of(path: Path, urls: Sequence[str]) -> Path:
    """Write an archive of an occurrence and an image for each URL."""
    ids = [str(4_000_000_000 + number) for number in range(len(urls))]
    occurrences = [{"gbifID": gbif_id, "datasetKey": DATASET, "acceptedTaxonKey": "5WZLF"} for gbif_id in ids]
    media = [
        {"gbifID": gbif_id, "type": "StillImage", "identifier": url} for gbif_id, url in zip(ids, urls, strict=True)
    ]
    return write_download(path, occurrences, media)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lines_of(archive: Path, member: str) -> list[bytes]:
    """The lines of a file in an archive, without their LF."""
    with ZipFile(archive) as source:
        return source.read(member).removesuffix(b"\n").split(b"\n")


def with_lines(archive: Path, target: Path, changed: dict[str, list[bytes]]) -> Path:
    """Write `target`: the archive with other lines in the `changed` members, and all else as it stands."""
    with ZipFile(archive) as source, ZipFile(target, "w") as copy:
        for info in source.infolist():
            lines = changed.get(info.filename)
            copy.writestr(info, source.read(info) if lines is None else b"\n".join(lines) + b"\n")
    return target


def of_occurrences(archive: Path, target: Path, gbif_ids: Collection[str]) -> Path:
    """Write `target`: the archive with the lines of these occurrences and of their media alone, in their order."""
    wanted = {gbif_id.encode() for gbif_id in gbif_ids}
    changed = {}
    for member in ("occurrence.txt", "verbatim.txt", "multimedia.txt"):
        head, *lines = lines_of(archive, member)
        changed[member] = [head, *(line for line in lines if line.split(b"\t", 1)[0].strip() in wanted)]
    return with_lines(archive, target, changed)


def some_occurrences() -> tuple[list[str], list[str]]:
    """Ids of the sample's occurrences: all with an odd line, one of each fault, many plain ones; and plain others."""
    media = make_plan().media
    identifiers = [medium.identifier for medium in media]

    def odd(medium: Medium) -> bool:
        strange = medium.ragged or medium.photo is None or medium.gbif_id != medium.gbif_id.strip()
        return strange or identifiers.count(medium.identifier) > 1

    chosen = {medium.gbif_id.strip(): None for medium in media if odd(medium)}
    faults: dict[str, int] = {}
    plain: dict[str, dict[str, None]] = {}
    for medium in media:
        if medium.photo is None or medium.gbif_id.strip() in chosen:
            continue
        fault, species = medium.photo.fault, medium.photo.species
        if not fault:
            plain.setdefault(species, {})[medium.gbif_id] = None
        elif faults.setdefault(fault, 0) < EACH_FAULT:
            faults[fault] += 1
            chosen[medium.gbif_id] = None
    common = sorted(plain, key=lambda species: (-len(plain[species]), species))
    for species in common[:PLAIN_SPECIES]:
        chosen.update(dict.fromkeys(list(plain[species])[:PLAIN_OF_EACH]))
    others = [gbif_id for gbif_id in plain[common[PLAIN_SPECIES]] if gbif_id not in chosen]
    return list(chosen), others[:6]
