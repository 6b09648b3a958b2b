"""What holds of large archives: no medium is lost, memory stays within bounds, and a killed process leaves nothing."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench import archive as generator
from gbif_webdataset.read import read_archive
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.select_media import Selection
from gbif_webdataset.storage.atomic import file_sha256
from tests.support.archives import gbif
from tests.support.manifest_process import CHUNKS, DIE, built, run

SHARED = Path(__file__).parents[3].parent / "shared" / "bench"
LITTLE = 96_000_000
SOME, MANY = 60_000, 240_000


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 60,000 occurrences."""
    path = tmp_path_factory.mktemp("some") / "some.zip"
    generator.write(path, SOME)
    return path


def plainly(archive: Path, member: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a member, split on LF and TAB."""
    with zipfile.ZipFile(archive) as members:
        header, *rows = (line.split("\t") for line in members.read(member).decode().split("\n") if line)
    return header, rows


def made(archive: Path, folder: Path) -> tuple[read_archive.Counts, list[dict[str, str | None]]]:
    """What an archive's manifest counts, and its rows."""
    selection = Selection("acceptedTaxonKey", extra_columns=("occurrenceRemarks",))
    counts = read_archive.build(
        archive, folder, CHUNKS, selection, Resources(1 << 30, folder / "scratch"), lambda a, b: None
    )
    paths = [folder / f"chunk-{chunk:05d}.parquet" for chunk in range(CHUNKS)]
    columns = ["coreid", "identifier", "occurrenceRemarks"]
    return counts, [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]


def test_raw_and_unbalanced_quotes_lose_no_medium_whatever_the_order_of_the_media(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    count = generator.write(path, 20_000, shuffle_media=True, raw_quotes=True)
    header, occurrences = plainly(path, "occurrence.txt")
    remarks = {row[0]: row[header.index("occurrenceRemarks")] for row in occurrences}
    assert sum(text in ('"Found at 3" depth', '12" trap, "Big Creek', '"') for text in remarks.values()) == 400
    header, media = plainly(path, "multimedia.txt")
    assert len(media) == count > 20_000
    key, url, kind, form = (header.index(name) for name in ("gbifID", "identifier", "type", "format"))
    stills = [row for row in media if row[kind] == "StillImage" and row[form].split("/")[0] in ("image", "jpeg", "")]
    counts, rows = made(path, tmp_path / "manifest")
    assert {(row["coreid"], row["identifier"], row["occurrenceRemarks"]) for row in rows} == {
        (row[key], row[url], remarks[row[key]] or None) for row in stills
    }
    assert len(rows) == len(stills)
    assert counts.media_lines == count
    assert counts.rejected == {"media": {"not-still-image": count - len(stills)}, "records": {}}


def test_the_yardsticks_200000_occurrences_give_all_their_208047_media(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("the yardstick (../shared/bench) is not here")
    command = [sys.executable, str(SHARED / "make_archive.py"), str(tmp_path / "a.zip"), "--occurrences", "200000"]
    subprocess.run([*command, "--raw-quotes", "--shuffle-media"], check=True, capture_output=True)
    header, media = plainly(tmp_path / "a.zip", "multimedia.txt")
    counts, rows = made(tmp_path / "a.zip", tmp_path / "manifest")
    assert len(rows) == len(media) == counts.media_lines == 208_047
    assert counts.rejected == {"media": {}, "records": {}}
    url = header.index("identifier")
    assert {(row["coreid"], row["identifier"]) for row in rows} == {(row[0], row[url]) for row in media}
    assert sum(row["occurrenceRemarks"] == '12" trap, "Big Creek' for row in rows) > 1000


def test_a_subset_of_a_million_keys_takes_its_images_within_bounds_of_memory(tmp_path: Path) -> None:
    occurrences = [{"gbifID": str(n), "acceptedTaxonKey": f"{n * 999:X}"} for n in range(2000)]
    media = [{"gbifID": str(n), "identifier": f"https://photos.example/{n}"} for n in range(2000)]
    keys = {f"{n:X}" for n in range(1_000_000)}
    (tmp_path / "keys").write_text("\n".join(keys))
    expected = {row["gbifID"] for row in occurrences if row["acceptedTaxonKey"] in keys}
    assert len(expected) == 1002
    counts = built(gbif(tmp_path / "a.zip", occurrences, media), tmp_path, 256_000_000, str(tmp_path / "keys"))
    chunks = sorted((tmp_path / "manifest").glob("chunk-*.parquet"))
    assert {row["coreid"] for chunk in chunks for row in pq.read_table(chunk).to_pylist()} == expected
    assert sum(counts.images) == 1002
    assert counts.rejected["media"] == {"not-in-subset": 998}
    assert counts.peak < 700


def test_the_peak_of_memory_does_not_grow_with_the_archive(tmp_path: Path, some: Path) -> None:
    generator.write(tmp_path / "many.zip", MANY)
    few, many = built(some, tmp_path / "few", LITTLE), built(tmp_path / "many.zip", tmp_path / "many", LITTLE)
    assert sum(many.images) > 3.9 * sum(few.images)
    assert many.spilled > few.spilled > 0
    assert many.peak < 1.3 * few.peak


def test_what_a_killed_process_spilled_is_gone_once_the_archive_is_read_again(tmp_path: Path, some: Path) -> None:
    killed = run(some, tmp_path / "killed", LITTLE, DIE)
    assert killed.returncode == -9, killed.stderr
    assert list((tmp_path / "killed" / "scratch").rglob("*.arrow"))
    built(some, tmp_path / "killed", LITTLE)
    built(some, tmp_path / "calm", LITTLE)
    assert not list((tmp_path / "killed" / "scratch").iterdir())
    killed_ones, calm_ones = (
        {path.name: file_sha256(path) for path in (tmp_path / name / "manifest").iterdir()}
        for name in ("killed", "calm")
    )
    assert killed_ones == calm_ones


def test_an_archive_is_read_without_the_half_second_that_pandas_takes_to_start(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    generator.write(path, 100)
    assert not built(path, tmp_path, 1 << 30).with_pandas
