"""Write a GBIF download of any size by repeating the rows of one; ids and URLs are each one's own.

python -m bench.archive OUT.zip --occurrences 1000000 [--template sample/archive.zip] [--shuffle-media] [--raw-quotes]
"""

import argparse
import itertools
import random
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

SAMPLE = Path(__file__).parent.parent / "sample" / "archive.zip"
FIRST_ID = 4_000_000_000
AT_ONCE = 20_000
DATA = ("occurrence.txt", "verbatim.txt", "multimedia.txt")
RAW = (b'"Found at 3" depth', b'12" trap, "Big Creek', b'"')  # as GBIF's large downloads leave them
EACH_RAW = 50
PART = """<{part} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy=""
    ignoreHeaderLines="1" rowType="{rows}"><files><location>{file}</location></files><{key} index="0"/>
    <field index="1" term="{term}"/></{part}>"""
META = '<archive xmlns="http://rs.tdwg.org/dwc/text/">{}{}</archive>'
TERMS = "http://rs.tdwg.org/dwc/terms/"


def write(
    out: Path, occurrences: int, template: Path = SAMPLE, shuffle_media: bool = False, raw_quotes: bool = False
) -> int:
    """Write the archive; returns its number of media. Ragged lines and orphans of the template are left out.

    With `raw_quotes` every 50th occurrence has an unbalanced quote in its occurrenceRemarks.
    """
    with zipfile.ZipFile(template) as source:
        tables = {name: _rows(source, name) for name in DATA}
        rest = {name: source.read(name) for name in source.namelist() if name not in DATA and not name.endswith("/")}
    headers = {name: rows[0] for name, rows in tables.items()}
    whole = {name: [row for row in rows[1:] if len(row) == len(rows[0])] for name, rows in tables.items()}
    media_of: dict[bytes, list[list[bytes]]] = {}
    for medium in whole["multimedia.txt"]:
        media_of.setdefault(medium[0].strip(), []).append(medium)
    url = headers["multimedia.txt"].index(b"identifier")
    order = list(range(occurrences))
    if shuffle_media:
        random.Random(0).shuffle(order)
    count = itertools.count()

    def media() -> Iterator[bytes]:
        cores = whole["occurrence.txt"]
        for i in order:
            for medium in media_of.get(cores[i % len(cores)][0].strip(), ()):
                own = [b"%d" % (FIRST_ID + i), *medium[1:]]
                own[url] = b"https://photos.example/%d.jpg" % next(count)
                yield b"\t".join(own)

    def numbered(name: str) -> Iterator[bytes]:
        rows, remarks = whole[name], headers["occurrence.txt"].index(b"occurrenceRemarks")
        for i in range(occurrences):
            row = [b"%d" % (FIRST_ID + i), *rows[i % len(rows)][1:]]
            if raw_quotes and name == "occurrence.txt" and i % EACH_RAW == 0:
                row[remarks] = RAW[i // EACH_RAW % len(RAW)]
            yield b"\t".join(row)

    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for name, content in rest.items():
            target.writestr(name, content)
        for name in ("occurrence.txt", "verbatim.txt"):
            with target.open(name, "w", force_zip64=True) as file:
                _write_lines(file, headers[name], numbered(name))
        with target.open("multimedia.txt", "w", force_zip64=True) as file:
            _write_lines(file, headers["multimedia.txt"], media())
    return next(count)


def write_plain(out: Path, urls: Iterable[str]) -> None:
    """Write an archive in which each URL is the one photo of one occurrence, and little else stands."""
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
    shown = [(str(FIRST_ID + number), url) for number, url in enumerate(urls)]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("meta.xml", META.format(occurrences, media))
        target.writestr("occurrence.txt", "gbifID\tdatasetKey\n" + "".join(f"{key}\tbench\n" for key, _ in shown))
        target.writestr("multimedia.txt", "gbifID\tidentifier\n" + "".join(f"{key}\t{url}\n" for key, url in shown))


def _rows(archive: zipfile.ZipFile, name: str) -> list[list[bytes]]:
    return [line.split(b"\t") for line in archive.read(name).split(b"\n") if line]


def _write_lines(file: IO[bytes], header: list[bytes], lines: Iterable[bytes]) -> None:
    file.write(b"\t".join(header) + b"\n")
    lines = iter(lines)
    while some := list(itertools.islice(lines, AT_ONCE)):
        file.write(b"\n".join(some) + b"\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--occurrences", type=int, required=True)
    parser.add_argument("--template", type=Path, default=SAMPLE)
    parser.add_argument("--shuffle-media", action="store_true", help="multimedia.txt in another order")
    parser.add_argument("--raw-quotes", action="store_true", help="every 50th occurrence with an unbalanced quote")
    arguments = parser.parse_args()
    media = write(
        arguments.out, arguments.occurrences, arguments.template, arguments.shuffle_media, arguments.raw_quotes
    )
    print(f"{arguments.out}: {arguments.occurrences:,} occurrences, {media:,} media")


if __name__ == "__main__":
    main()
