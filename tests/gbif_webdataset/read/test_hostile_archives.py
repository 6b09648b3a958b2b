"""Archives made to do harm, and archives with random errors: a manifest that adds up, or one sentence."""

import gzip
import io
import random
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError, DatasetError
from gbif_webdataset.read import enclosed_records, line_blocks
from gbif_webdataset.read.partition_archives import Resources
from tests.support.archives import (
    MEDIA,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    write_download,
    write_tar,
    write_zip,
)
from tests.support.fuzz_archives import MANIFEST, MAX_PEAK_BYTES, fuzz, read_limited
from tests.support.manifests import MEMORY, make_manifest
from tests.support.mutants import OCCURRENCES, PHOTOS, write_mutant

FILES = make_download(OCCURRENCES, PHOTOS)


def read_rows(archive: Path, tmp_path: Path, max_expansion: float = 200.0) -> list[dict[str, Any]]:
    """The manifest's rows."""
    return make_manifest(archive, tmp_path, resources=Resources(MEMORY, tmp_path / "scratch", max_expansion)).rows


def test_links_in_a_tar_are_not_followed_and_no_file_is_extracted(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(make_lines(MEDIA, PHOTOS))
    (tmp_path / "work").mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "work" / "a.tar", "w") as archive:
            for name, content in {**FILES, "../escaped.txt": b"x", "/tmp/escaped.txt": b"x"}.items():
                info = tarfile.TarInfo(name)
                if name == "multimedia.txt":
                    info.type, info.linkname = kind, str(tmp_path / "secret.txt")
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        with pytest.raises(ArchiveError, match=r"meta\.xml names multimedia\.txt, which is not in the archive"):
            read_rows(tmp_path / "work" / "a.tar", tmp_path)
    assert not (tmp_path / "escaped.txt").exists()


def test_files_with_paths_outside_the_archive_are_not_extracted(tmp_path: Path) -> None:
    contents = {**FILES, "../escaped.txt": b"x", "../../escaped.txt": b"x"}
    for archive in (write_tar(tmp_path / "a.tar.gz", contents), write_zip(tmp_path / "a.zip", contents)):
        assert len(read_rows(archive, tmp_path)) == 45
    assert not (tmp_path / "escaped.txt").exists()
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_links_to_files_outside_a_folder_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    assert len(read_rows(folder, tmp_path)) == 45
    (folder / "multimedia.txt").rename(tmp_path / "multimedia.txt")
    (folder / "multimedia.txt").symlink_to(tmp_path / "multimedia.txt")
    with pytest.raises(ArchiveError, match=r"meta\.xml names multimedia\.txt, which is not in the archive"):
        read_rows(folder, tmp_path)
    (folder / "multimedia.txt").unlink()
    (folder / "multimedia.txt").symlink_to("multimedia.txt")
    with pytest.raises(ArchiveError, match=r"not in the archive"):
        read_rows(folder, tmp_path)


def test_a_file_that_expands_too_much_is_refused_unless_max_expansion_is_raised(tmp_path: Path) -> None:
    contents = make_download(OCCURRENCES, PHOTOS, verbatim_txt=b"0" * (8 << 20))
    for archive in (write_zip(tmp_path / "a.zip", contents), write_tar(tmp_path / "a.tar.gz", contents)):
        sentence = rf"{archive.name}: .*expands .*more than --ReadArchive-max-expansion 200.*; set a higher value if"
        with pytest.raises(ArchiveError, match=sentence):
            read_rows(archive, tmp_path)
        assert len(read_rows(archive, tmp_path, 5000)) == 45


def test_a_tar_with_a_file_larger_than_it_can_contain_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("multimedia.txt")
    info.size = 1 << 50
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + b"gbifID\tidentifier\n")
    (tmp_path / "a.tar.gz").write_bytes(packed.getvalue())
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz: expands more than --ReadArchive-max-expansion 200 times"):
        read_rows(tmp_path / "a.tar.gz", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_tar_whose_first_header_has_three_gigabytes_is_refused_at_once(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 3 << 30
    zeros = gzip.compress(bytes(64 << 20), 1)  # gzip files may be concatenated
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + zeros * 48)
    with (tmp_path / "a.tar").open("wb") as sparse:
        sparse.write(info.tobuf(tarfile.GNU_FORMAT))
        sparse.truncate(4 << 30)
    for name in ("a.tar.gz", "a.tar"):
        ended = read_limited(tmp_path / name, tmp_path)
        assert "the archive is damaged (a header of more than 64 KiB in the tar); download it again" in ended.text
        assert ended.peak_bytes < 400 << 20
        assert ended.seconds < 10


@pytest.mark.parametrize("place", [0, 7, 29])
def test_a_field_of_three_megabytes_is_read(tmp_path: Path, place: int) -> None:
    noise = "".join(random.Random(1).choices("abcdefgh", k=3_000_000))
    remarks = [{**row, "occurrenceRemarks": noise if n == place else ""} for n, row in enumerate(OCCURRENCES)]
    photos = [{**row, "references": noise if n == place else ""} for n, row in enumerate(PHOTOS)]
    images = read_rows(write_download(tmp_path / "a.zip", remarks, photos), tmp_path)
    assert len(images) == 45
    assert [row["identifier"] for row in images if row["mediaReferences"] == noise] == [PHOTOS[place]["identifier"]]


@pytest.mark.parametrize(("enclosed", "quote"), [("", ""), ("&quot;", '"'), ("&quot;", "")])
def test_a_line_longer_than_the_limit_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enclosed: str, quote: str
) -> None:
    for module in (line_blocks, enclosed_records):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 1 << 20)
    noise = "".join(random.Random(1).choices("abcdefgh", k=1 << 16)) * 17
    descriptor = make_gbif_meta_xml().replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{enclosed}"')
    contents = make_download(OCCURRENCES, PHOTOS, meta_xml=descriptor)
    contents["multimedia.txt"] += f"1\tStillImage\t{quote}{noise}".encode()
    with pytest.raises(ArchiveError, match=r"multimedia\.txt: a (line|record) is longer than 1 MiB"):
        read_rows(write_zip(tmp_path / "a.zip", contents), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["", "short", "\t\t"])
def test_millions_of_lines_without_a_row_take_seconds_and_little_memory(tmp_path: Path, line: str) -> None:
    archive, lines = tmp_path / "a", 8_000_000 // (1 + len(line))
    archive.mkdir()
    for name, content in FILES.items():
        (archive / name).write_bytes(content)
    with (archive / "occurrence.txt").open("a") as file:
        file.write(f"{line}\n" * lines)
    ended = read_limited(archive, tmp_path)
    assert (ended.status, ended.text) == (MANIFEST, "")
    assert ended.peak_bytes < MAX_PEAK_BYTES
    rejected = pq.read_table(tmp_path / "manifest/rejected.parquet", columns=["raw"]).column("raw")
    assert pc.sum(pc.equal(rejected, line)).as_py() == lines


def test_an_encrypted_zip_is_one_sentence(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "a.zip", dict(FILES)).read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        starts = [info.header_offset for info in archive.infolist()]
    central = [at.start() for at in re.finditer(rb"PK\x01\x02", data)]
    for at in [*(start + 6 for start in starts), *(start + 8 for start in central)]:
        data[at] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.zip: the archive is encrypted; give the archive as GBIF provides it"):
        read_rows(tmp_path / "a.zip", tmp_path)


def test_nul_bytes_are_spaces_and_lose_no_line(tmp_path: Path) -> None:
    contents = dict(FILES)
    contents["multimedia.txt"] = contents["multimedia.txt"].replace(b"photos.example/3.", b"photos.example/\x003.")
    contents["multimedia.txt"] += b"\0\0\0\n1\tStillImage\n"
    images = read_rows(write_zip(tmp_path / "a.zip", contents), tmp_path)
    assert len(images) == 45


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "raw_unicode_escape", "punycode", "idna"])
def test_an_encoding_that_only_python_knows_is_one_sentence(tmp_path: Path, encoding: str) -> None:
    descriptor = make_gbif_meta_xml().replace('encoding="UTF-8"', f'encoding="{encoding}"')
    archive = write_zip(tmp_path / "a.zip", make_download(OCCURRENCES, PHOTOS, meta_xml=descriptor))
    with pytest.raises(ArchiveError, match=rf"a\.zip: .*names the encoding '{encoding}', but this tool reads UTF-8, "):
        read_rows(archive, tmp_path)


def test_a_file_without_a_name_is_skipped_or_reported_as_damage(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_zip(tmp_path / "a.zip", dict(FILES)), "a") as archive:
        archive.writestr("x", b"")
    data = (tmp_path / "a.zip").read_bytes()
    at = data.rindex(b"PK\1\2")
    nameless = data[:at] + data[at:].replace(b"\1\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0", 1)
    (tmp_path / "a.zip").write_bytes(nameless)
    try:
        assert len(read_rows(tmp_path / "a.zip", tmp_path)) == 45
    except ArchiveError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 600), marks=pytest.mark.slow)])
def test_a_mutated_archive_gives_a_manifest_that_adds_up_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 256)
    ends: Counter[str] = Counter()
    resources = Resources(64 << 20, tmp_path / "scratch")
    for seed in seeds:
        archive = write_mutant(tmp_path / "a", seed)
        try:
            make_manifest(archive, tmp_path, chunks=2, resources=resources)
            ends["manifest"] += 1
        except DatasetError as error:
            assert "\n" not in str(error), f"mutant {seed}: {error!r}"
            assert "bug" not in str(error), f"mutant {seed}: {error!r}"
            ends["sentence"] += 1
        except BaseException as error:
            error.add_note(f"mutant {seed}")
            raise
        archive.unlink()
    assert ends["manifest"] > sum(ends.values()) // 5
    assert ends["sentence"] > sum(ends.values()) // 5


@pytest.mark.parametrize(("first", "count"), [(0, 60), pytest.param(60, 140, marks=pytest.mark.slow)])
def test_mutated_archives_stay_within_a_gibibyte_and_twenty_seconds(first: int, count: int) -> None:
    summary = fuzz(first, count)
    assert summary.failures == []
    assert summary.manifests > count // 10
    assert summary.sentences > count // 10
    assert summary.manifests + summary.sentences == count
