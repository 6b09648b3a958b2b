"""Write a GBIF download of any size that repeats the rows of a smaller one, with new ids and URLs.

python -m bench.archive OUT.zip --occurrences 1000000 [--template sample/archive.zip] [--shuffle-media] [--raw-quotes]
                                                 [--varied]
"""

import argparse
import itertools
import random
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

SAMPLE = Path(__file__).parent.parent / "sample" / "archive.zip"
FIRST_ID = 4_000_000_000
LINES_PER_WRITE = 20_000
DATA = ("occurrence.txt", "verbatim.txt", "multimedia.txt")
TAXA = 3_000
WORDS = b"on under white cloth wall leaf bark near light trap lamp moth worn fresh female male garden wood path".split()
RAW = (b'"Found at 3" depth', b'12" trap, "Big Creek', b'"')  # as in large GBIF downloads
RAW_INTERVAL = 50
PART = """<{part} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy=""
    ignoreHeaderLines="1" rowType="{rows}"><files><location>{file}</location></files><{key} index="0"/>
    <field index="1" term="{term}"/></{part}>"""
META = '<archive xmlns="http://rs.tdwg.org/dwc/text/">{}{}</archive>'
TERMS = "http://rs.tdwg.org/dwc/terms/"


@dataclass(frozen=True)
class Differences:
    """How the archive differs from repetitions of the template.

    Attributes:
        shuffle_media: multimedia.txt is in another order than occurrence.txt.
        raw_quotes: every 50th occurrence has an unbalanced quote in its occurrenceRemarks.
        varied: people, places, dates and remarks differ from row to row; there are 3,000 taxa with a long tail.
    """

    shuffle_media: bool = False
    raw_quotes: bool = False
    varied: bool = False


def write(
    out: Path, occurrences: int, differences: Differences, template: Path = SAMPLE, url: str = "https://photos.example"
) -> int:
    """Write the archive and return its number of media, whose URLs are `url`/0.jpg, `url`/1.jpg and so on.

    Ragged lines and orphans of the template are left out.
    """
    with zipfile.ZipFile(template) as source:
        tables = {name: _Table.read(source, name) for name in DATA}
        others = {name: source.read(name) for name in source.namelist() if name not in DATA and not name.endswith("/")}
    order = list(range(occurrences))
    if differences.shuffle_media:
        random.Random(0).shuffle(order)
    lines = {name: tables[name].repeat(occurrences) for name in ("occurrence.txt", "verbatim.txt")}
    if differences.varied:
        lines["occurrence.txt"] = tables["occurrence.txt"].vary(lines["occurrence.txt"])
    if differences.raw_quotes:
        lines["occurrence.txt"] = tables["occurrence.txt"].add_quotes(lines["occurrence.txt"])
    urls = (f"{url}/{number}.jpg".encode() for number in itertools.count())
    lines["multimedia.txt"] = _media_lines(tables["occurrence.txt"], tables["multimedia.txt"], order, urls)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for name, content in others.items():
            target.writestr(name, content)
        for name in lines:
            with target.open(name, "w", force_zip64=True) as file:
                _write_lines(file, tables[name].header, lines[name])
    return int(next(urls).rpartition(b"/")[2].partition(b".")[0])


@dataclass(frozen=True)
class _Table:
    """A data file of the template: its column names, and the rows with a value for each of them."""

    header: list[bytes]
    rows: list[list[bytes]]

    @classmethod
    def read(cls, archive: zipfile.ZipFile, name: str) -> Self:
        header, *rows = (line.split(b"\t") for line in archive.read(name).split(b"\n") if line)
        return cls(header, [row for row in rows if len(row) == len(header)])

    def repeat(self, count: int) -> Iterator[bytes]:
        """Lines with the rows again and again, each with a new id."""
        for i in range(count):
            yield b"\t".join([b"%d" % (FIRST_ID + i), *self.rows[i % len(self.rows)][1:]])

    def add_quotes(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines, some with an unbalanced quote in their occurrenceRemarks."""
        remarks = self.header.index(b"occurrenceRemarks")
        for i, line in enumerate(lines):
            if i % RAW_INTERVAL == 0:
                row = line.split(b"\t")
                row[remarks] = RAW[i // RAW_INTERVAL % len(RAW)]
                line = b"\t".join(row)
            yield line

    def vary(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines, each with values of its own."""
        positions = {name: position for position, name in enumerate(self.header)}
        for i, line in enumerate(lines):
            row = line.split(b"\t")
            for name, value in _varied_values(i).items():
                if name in positions:
                    row[positions[name]] = value
            yield b"\t".join(row)


def _varied_values(i: int) -> dict[bytes, bytes]:
    """Values by column, the same for the same `i`. Taxa and people have a long tail."""
    rng = random.Random(i)
    taxon = min(TAXA - 1, int(TAXA ** rng.random()) - 1)
    genus, name = b"Genus%d" % (taxon % 700), b"Genus%d species%d" % (taxon % 700, taxon)
    year, month, day = rng.randint(1990, 2026), rng.randint(1, 12), rng.randint(1, 28)
    date = b"%d-%02d-%02d" % (year, month, day)
    night = b"%bT21:%02d/%bT23:%02d" % (date, rng.randint(0, 59), date, rng.randint(0, 59))
    taxon_columns = (b"taxonKey", b"acceptedTaxonKey", b"speciesKey")
    return {
        **dict.fromkeys((b"species", b"scientificName", b"acceptedScientificName"), name),
        **dict.fromkeys(taxon_columns, b"%d" % (10**6 + taxon)),
        b"genus": genus,
        b"genusKey": b"%d" % (2 * 10**6 + taxon % 700),
        b"specificEpithet": name.split()[1],
        b"recordedBy": b"Observer %d" % (20_000 ** rng.random()),
        b"rightsHolder": b"Observer %d" % (20_000 ** rng.random()),
        b"decimalLatitude": b"%.5f" % rng.uniform(-55, 70),
        b"decimalLongitude": b"%.5f" % rng.uniform(-170, 175),
        b"eventDate": date if i % 5 else night,
        b"year": b"%d" % year,
        b"month": b"%d" % month,
        b"day": b"%d" % day,
        b"locality": b"%b %d" % (rng.choice(WORDS), rng.randint(1, 10**6)),
        b"occurrenceRemarks": b" ".join(rng.choices(WORDS, k=rng.randint(0, 12))),
        b"occurrenceID": b"urn:example:%d" % i,
        b"catalogNumber": b"%d" % (10**6 + i),
    }


def _media_lines(occurrences: _Table, media: _Table, order: Iterable[int], urls: Iterator[bytes]) -> Iterator[bytes]:
    """The media of each occurrence of `order`, each with the next of `urls`."""
    by_occurrence: dict[bytes, list[list[bytes]]] = {}
    for medium in media.rows:
        by_occurrence.setdefault(medium[0].strip(), []).append(medium)
    column = media.header.index(b"identifier")
    for i in order:
        for medium in by_occurrence.get(occurrences.rows[i % len(occurrences.rows)][0].strip(), ()):
            row = [b"%d" % (FIRST_ID + i), *medium[1:]]
            row[column] = next(urls)
            yield b"\t".join(row)


def write_plain(out: Path, urls: Iterable[str]) -> None:
    """Write an archive with as few columns as possible, in which each URL is the only photo of an occurrence."""
    occurrences = PART.format(
        part="core", key="id", file="occurrence.txt", rows=f"{TERMS}Occurrence", term=f"{TERMS}datasetKey"
    )
    media = PART.format(
        part="extension",
        key="coreid",
        file="multimedia.txt",
        rows="http://rs.gbif.org/terms/1.0/Multimedia",
        term="http://purl.org/dc/terms/identifier",
    )
    rows = [(str(FIRST_ID + number), url) for number, url in enumerate(urls)]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("meta.xml", META.format(occurrences, media))
        target.writestr("occurrence.txt", "gbifID\tdatasetKey\n" + "".join(f"{key}\tbench\n" for key, _ in rows))
        target.writestr("multimedia.txt", "gbifID\tidentifier\n" + "".join(f"{key}\t{url}\n" for key, url in rows))


def _write_lines(file: IO[bytes], header: list[bytes], lines: Iterable[bytes]) -> None:
    file.write(b"\t".join(header) + b"\n")
    lines = iter(lines)
    while some := list(itertools.islice(lines, LINES_PER_WRITE)):
        file.write(b"\n".join(some) + b"\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--occurrences", type=int, required=True)
    parser.add_argument("--template", type=Path, default=SAMPLE)
    parser.add_argument("--shuffle-media", action="store_true", help="write multimedia.txt in another order")
    parser.add_argument("--raw-quotes", action="store_true", help="give every 50th occurrence an unbalanced quote")
    parser.add_argument("--varied", action="store_true", help="give each occurrence values of its own")
    arguments = parser.parse_args()
    differences = Differences(arguments.shuffle_media, arguments.raw_quotes, arguments.varied)
    media = write(arguments.out, arguments.occurrences, differences, arguments.template)
    print(f"{arguments.out}: {arguments.occurrences:,} occurrences, {media:,} media")


if __name__ == "__main__":
    main()
