"""Large archives: no medium is lost, memory stays within limits, and a killed process leaves no temporary files."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench import archive as generator
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage.atomic import file_sha256
from tests.support.archives import make_medium, make_occurrence, read_zip, write_download, write_zip
from tests.support.manifest_process import KILL, read_in_process, start_reading
from tests.support.manifests import make_manifest

SHARED = Path(__file__).parents[3].parent / "shared" / "bench"
LITTLE_MEMORY = 96_000_000
FEW, MANY = 60_000, 240_000
OPTIONS = SelectionOptions("acceptedTaxonKey", extra_columns=("occurrenceRemarks",))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 60,000 occurrences."""
    path = tmp_path_factory.mktemp("small") / "small.zip"
    generator.write(path, FEW, generator.Differences())
    return path


def split_rows(archive: Path, member: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a file of a zip, split on LF and TAB."""
    with zipfile.ZipFile(archive) as members:
        header, *rows = (line.split("\t") for line in members.read(member).decode().split("\n") if line)
    return header, rows


def test_raw_and_unbalanced_quotes_lose_no_medium_whatever_the_order_of_the_media(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    count = generator.write(path, 20_000, generator.Differences(shuffle_media=True, raw_quotes=True))
    header, occurrences = split_rows(path, "occurrence.txt")
    remarks = {row[0]: row[header.index("occurrenceRemarks")] for row in occurrences}
    assert sum(text in ('"Found at 3" depth', '12" trap, "Big Creek', '"') for text in remarks.values()) == 400
    header, media = split_rows(path, "multimedia.txt")
    assert len(media) == count > 20_000
    key, url, kind, form = (header.index(name) for name in ("gbifID", "identifier", "type", "format"))
    stills = [row for row in media if row[kind] == "StillImage" and row[form].split("/")[0] in ("image", "jpeg", "")]
    manifest = make_manifest(path, tmp_path, OPTIONS, 16)
    assert {(row["coreid"], row["identifier"], row["occurrenceRemarks"]) for row in manifest.rows} == {
        (row[key], row[url], remarks[row[key]] or None) for row in stills
    }
    assert len(manifest.rows) == len(stills)
    assert manifest.counts.media_lines == count
    assert manifest.counts.rejected == {"media": {"not-still-image": count - len(stills)}, "records": {}}


def test_an_archive_of_200000_occurrences_gives_all_its_208047_media(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("make_archive.py (../shared/bench) is not here")
    command = [sys.executable, str(SHARED / "make_archive.py"), str(tmp_path / "a.zip"), "--occurrences", "200000"]
    subprocess.run([*command, "--raw-quotes", "--shuffle-media"], check=True, capture_output=True)
    header, media = split_rows(tmp_path / "a.zip", "multimedia.txt")
    manifest = make_manifest(tmp_path / "a.zip", tmp_path, OPTIONS, 16)
    assert len(manifest.rows) == len(media) == manifest.counts.media_lines == 208_047
    assert manifest.counts.rejected == {"media": {}, "records": {}}
    url = header.index("identifier")
    assert {(row["coreid"], row["identifier"]) for row in manifest.rows} == {(row[0], row[url]) for row in media}
    assert sum(row["occurrenceRemarks"] == '12" trap, "Big Creek' for row in manifest.rows) > 1000


def test_a_subset_of_a_million_keys_needs_little_memory(tmp_path: Path) -> None:
    occurrences = [make_occurrence(n, acceptedTaxonKey=f"{n * 999:X}") for n in range(2000)]
    media = [make_medium(n) for n in range(2000)]
    keys = {f"{n:X}" for n in range(1_000_000)}
    (tmp_path / "keys").write_text("\n".join(keys))
    expected = {row["gbifID"] for row in occurrences if row["acceptedTaxonKey"] in keys}
    assert len(expected) == 1002
    archive = write_download(tmp_path / "a.zip", occurrences, media)
    report = read_in_process(archive, tmp_path, 256_000_000, str(tmp_path / "keys"))
    chunks = sorted((tmp_path / "manifest").glob("chunk-*.parquet"))
    assert {row["coreid"] for chunk in chunks for row in pq.read_table(chunk).to_pylist()} == expected
    assert sum(report.images) == 1002
    assert report.rejected["media"] == {"not-in-subset": 998}
    assert report.peak < 700


def test_peak_memory_hardly_grows_with_the_archive(tmp_path: Path) -> None:
    generator.write(tmp_path / "few.zip", MANY, generator.Differences())
    generator.write(tmp_path / "many.zip", 2 * MANY, generator.Differences())
    few = read_in_process(tmp_path / "few.zip", tmp_path / "few", LITTLE_MEMORY)
    many = read_in_process(tmp_path / "many.zip", tmp_path / "many", LITTLE_MEMORY)
    assert sum(many.images) > 1.9 * sum(few.images)
    assert many.spilled > few.spilled > 0
    assert many.peak < 1.3 * few.peak


def halve(archive: Path) -> tuple[Path, Path]:
    """Two archives with the first and the second half of the occurrences, and their media."""
    members = read_zip(archive)
    tables = {name: members[name].splitlines(keepends=True) for name in ("occurrence.txt", "multimedia.txt")}
    ids = [line.split(b"\t", 1)[0] for line in tables["occurrence.txt"]]
    middle = ids[len(ids) // 2]
    halves = []
    for number, date in enumerate((b"2024-11-19", b"2025-11-19")):
        kept = {
            name: b"".join([header, *(line for line in lines if (line.split(b"\t", 1)[0] < middle) == (number == 0))])
            for name, (header, *lines) in tables.items()
        }
        metadata = members["metadata.xml"].replace(b"2024-11-19", date)
        halves.append(write_zip(archive.with_name(f"half-{number}.zip"), {**members, **kept, "metadata.xml": metadata}))
    return halves[0], halves[1]


def test_two_archives_need_the_memory_and_have_the_images_of_one_of_their_size(tmp_path: Path) -> None:
    generator.write(tmp_path / "one.zip", MANY, generator.Differences(varied=True))
    one = read_in_process(tmp_path / "one.zip", tmp_path / "one", LITTLE_MEMORY)
    halves = ",".join(map(str, halve(tmp_path / "one.zip")))
    two = read_in_process(halves, tmp_path / "two", LITTLE_MEMORY)
    assert (two.images, two.rejected) == (one.images, one.rejected)
    assert two.peak < 1.15 * one.peak


def test_temporary_files_of_a_killed_process_are_removed_by_the_next_one(tmp_path: Path, small_archive: Path) -> None:
    killed = start_reading(small_archive, tmp_path / "killed", LITTLE_MEMORY, KILL)
    assert killed.returncode == -9, killed.stderr
    assert list((tmp_path / "killed" / "scratch").rglob("*.arrow"))
    read_in_process(small_archive, tmp_path / "killed", LITTLE_MEMORY)
    read_in_process(small_archive, tmp_path / "undisturbed", LITTLE_MEMORY)
    assert not list((tmp_path / "killed" / "scratch").iterdir())
    after_kill, undisturbed = (
        {path.name: file_sha256(path) for path in (tmp_path / name / "manifest").iterdir()}
        for name in ("killed", "undisturbed")
    )
    assert after_kill == undisturbed
