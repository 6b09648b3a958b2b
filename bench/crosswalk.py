"""MakeCrosswalk of two archives with the same occurrences and other keys."""

import sys
import tempfile
import zipfile
from pathlib import Path

from bench import archive, runs

MAX_SECONDS, MAX_MIB = 40, 1024
KEYS = (b"taxonKey", b"acceptedTaxonKey", b"speciesKey", b"genusKey", b"familyKey", b"orderKey", b"classKey")


def bench(occurrences: int) -> None:
    """Make the crosswalk of two archives with so many occurrences, which differ from row to row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new, table = folder / "old.zip", folder / "new.zip", folder / "crosswalk.csv"
        archive.write(old, occurrences, archive.Differences(varied=True))
        _rename_keys(old, new)
        sizes = " and ".join(f"{path.stat().st_size / 1e6:.0f} MB" for path in (old, new))
        print(f"crosswalk: two archives of {occurrences:,} occurrences, {sizes}, {runs.describe_load()}", flush=True)
        sources = ["--old", str(old), "--new", str(new), "--crosswalk", str(table)]
        measured = runs.timed([sys.executable, "-m", "luigi", "--module", "tasks", "MakeCrosswalk", *sources])
        print(
            f"  {measured.seconds:.1f} s (at most {MAX_SECONDS}), {measured.processor:.1f} s of processor time, the "
            f"largest process {measured.peak:,.0f} MiB (at most {MAX_MIB:,})"
        )


def _rename_keys(old: Path, new: Path) -> None:
    """Write `new`: the archive `old` with an N before each taxon key."""
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as target:
        for name in ("meta.xml", "metadata.xml", "multimedia.txt"):
            with source.open(name) as file, target.open(name, "w", force_zip64=True) as copy:
                while block := file.read(1 << 20):
                    copy.write(block)
        with source.open("occurrence.txt") as file, target.open("occurrence.txt", "w", force_zip64=True) as copy:
            header = next(file)
            copy.write(header)
            positions = [number for number, name in enumerate(header.rstrip(b"\n").split(b"\t")) if name in KEYS]
            for line in file:
                fields = line.split(b"\t")
                for position in positions:
                    fields[position] = fields[position] and b"N" + fields[position]
                copy.write(b"\t".join(fields))
