from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.read import line_blocks
from gbif_webdataset.read.rejected_lines import RejectedLines
from tests.support.archives import (
    MEDIA,
    OCCURRENCE,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    make_occurrence,
    write_download,
    write_zip,
)
from tests.support.manifests import make_manifest


def test_rejected_lines_have_their_number_and_text(tmp_path: Path) -> None:
    occurrences = make_lines(OCCURRENCE, [make_occurrence(1), make_occurrence(2)]) + "3\td1\n"
    media = make_lines(MEDIA, [make_medium(1), make_medium(2), make_medium(3)]) + "\n1\tStillImage\n"
    latin = "2\tStillImage\timage/jpeg\thttps://photos.example/é\t\t\t\n".encode("latin-1")
    members = make_download([], [], occurrence_txt=occurrences, multimedia_txt=media.encode() + latin)
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert {(row["file"], row["line"]): (row["reason"], row["raw"]) for row in manifest.rejected} == {
        ("occurrence.txt", 4): ("ragged-line", "3\td1"),
        ("multimedia.txt", 4): ("orphaned", "3\tStillImage\timage/jpeg\thttps://photos.example/3.jpg\t\t\t"),
        ("multimedia.txt", 5): ("blank-line", ""),
        ("multimedia.txt", 6): ("ragged-line", "1\tStillImage"),
        ("multimedia.txt", 7): ("invalid-text", latin.decode(errors="replace").rstrip("\n")),
    }
    assert [(row["coreid"], row["identifier"]) for row in manifest.rejected if row["reason"] == "orphaned"] == [
        ("3", "https://photos.example/3.jpg")
    ]
    assert (manifest.counts.media_lines, manifest.counts.record_lines) == (6, 3)


def test_a_record_without_an_id_and_one_that_repeats_an_id_are_rejected(tmp_path: Path) -> None:
    occurrences = [
        make_occurrence(1, lifeStage="Adult"), make_occurrence(1, lifeStage="Larva"), make_occurrence(2),
        {"datasetKey": "d1"},
    ]  # fmt: skip
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(1), make_medium(2)])
    manifest = make_manifest(archive, tmp_path)
    assert manifest.values("lifeStage") == {"1": "Adult", "2": None}
    assert {(row["line"], row["reason"]) for row in manifest.rejected} == {(3, "duplicate-id"), (5, "no-id")}
    assert manifest.counts.rejected["records"] == {"duplicate-id": 1, "no-id": 1}


@pytest.mark.parametrize("quote", ["", "&quot;"])
def test_unreadable_lines_are_not_all_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 1 << 13)
    sizes = []
    add_unreadable = RejectedLines.add_unreadable

    def record_size(self: RejectedLines, kind: str, file_number: int, lines: pa.Table) -> None:
        sizes.append(lines.num_rows)
        add_unreadable(self, kind, file_number, lines)

    monkeypatch.setattr(RejectedLines, "add_unreadable", record_size)
    short = 50_000
    members = make_download(
        [make_occurrence(1)],
        [],
        meta_xml=make_gbif_meta_xml().replace('fieldsEnclosedBy=""', f'fieldsEnclosedBy="{quote}"'),
        multimedia_txt=make_lines(MEDIA, [make_medium(1)]) + "1\tshort\n" * short,
    )
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert manifest.counts.rejected["media"] == {"ragged-line": short}
    assert sum(sizes) == short
    assert max(sizes) <= 20_000
