import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError, ParameterError, SelectionError
from gbif_webdataset.read import read_archive
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.read_archive import Counts
from gbif_webdataset.read.select_media import Decided, Selection
from gbif_webdataset.terms.ranks import LADDERS
from tests.support.archives import MEDIA, OCCURRENCE, gbif, lines, meta, write

SHARED = Path(__file__).parents[3].parent / "shared" / "archives"
ALL = Selection("acceptedTaxonKey")


class Read:
    """A manifest, read back."""

    def __init__(self, archive: Path, tmp_path: Path, selection: Selection = ALL, chunks: int = 3) -> None:
        folder = tmp_path / f"manifest-{random.random()}"
        self.counts: Counts = read_archive.build(
            archive, folder, chunks, selection, Resources(1 << 30, tmp_path / "scratch"), lambda done, total: None
        )
        self.chunks = [pq.read_table(folder / f"chunk-{chunk:05d}.parquet") for chunk in range(chunks)]
        self.rows: list[dict[str, Any]] = [row for table in self.chunks for row in table.to_pylist()]
        self.rejected: list[dict[str, Any]] = pq.read_table(folder / "rejected.parquet").to_pylist()
        self.reasons = Counter(row["reason"] for row in self.rejected)
        self.files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def occurrence(number: int, **more: str) -> dict[str, str]:
    return {"gbifID": str(number), "datasetKey": "d1", "acceptedTaxonKey": "5WZLF", **more}


def medium(number: int, url: str | None = None, **more: str) -> dict[str, str]:
    url = f"https://photos.example/{number}.jpg" if url is None else url
    return {"gbifID": str(number), "type": "StillImage", "format": "image/jpeg", "identifier": url, **more}


def test_each_photo_is_one_row_and_each_other_medium_one_rejected_line(tmp_path: Path) -> None:
    media = [
        medium(1), medium(1, "https://photos.example/1b.jpg"), medium(1, "https://photos.example/1b.jpg"),
        medium(2, ""), medium(2, "ftp://photos.example/2.jpg"), medium(2, "images/2.jpg"),
        medium(2, type="Sound", format="audio/mpeg"), medium(2, format="text/html"), medium(9),
        medium(2, type="", format=""), medium(2, "HTTP://photos.example/x", format="jpeg"),
    ]  # fmt: skip
    read = Read(gbif(tmp_path / "a.zip", [occurrence(1), occurrence(2)], media), tmp_path)
    assert read.reasons == {"duplicate-medium": 1, "no-url": 1, "not-http": 2, "not-still-image": 2, "orphaned": 1}
    assert len(read.rows) == 4
    assert len(media) == len(read.rows) + len(read.rejected) == read.counts.media_lines
    by_line = {row["line"]: row for row in read.rejected}
    assert by_line[5]["reason"] == "no-url"
    assert by_line[10]["raw"] == "9\tStillImage\timage/jpeg\thttps://photos.example/9.jpg\t\t\t"
    assert {row["file"] for row in read.rejected} == {"multimedia.txt"}


def test_keys_and_country_codes_stay_text(tmp_path: Path) -> None:
    keys = ["5WZLF", "6E4", "0012", "1234567"]
    occurrences = [occurrence(n, acceptedTaxonKey=key, countryCode="NA") for n, key in enumerate(keys)]
    read = Read(gbif(tmp_path / "a.zip", occurrences, [medium(n) for n in range(4)]), tmp_path)
    assert {row["coreid"]: row["acceptedTaxonKey"] for row in read.rows} == {str(n): key for n, key in enumerate(keys)}
    assert {row["countryCode"] for row in read.rows} == {"NA"}
    assert all(field.type == pa.string() for table in read.chunks for field in table.schema)


def test_every_rank_and_name_of_a_taxon_is_carried(tmp_path: Path) -> None:
    taxon = {name: f"some {name}" for ladder in LADDERS for name in (*ladder, "vernacularName")}
    columns = ("gbifID", "datasetKey", *taxon)
    members = {
        "meta.xml": meta(columns, MEDIA),
        "occurrence.txt": lines(columns, [{"gbifID": "1", "datasetKey": "d1"} | taxon]),
        "multimedia.txt": lines(MEDIA, [medium(1)]),
    }
    [row] = Read(write(tmp_path / "a.zip", members), tmp_path, Selection("speciesKey")).rows
    assert {name: row[name] for name in taxon} == taxon


def test_media_of_an_occurrence_are_in_one_chunk_that_row_order_does_not_change(tmp_path: Path) -> None:
    occurrences = [occurrence(n) for n in range(60)]
    media = [medium(n, f"https://photos.example/{n}-{i}.jpg") for n in range(60) for i in range(1 + n % 4)]
    one = Read(gbif(tmp_path / "a.zip", occurrences, media), tmp_path, chunks=7)
    for table in one.chunks:
        assert table.num_rows
    chunk_of = {row["coreid"]: n for n, table in enumerate(one.chunks) for row in table.to_pylist()}
    assert sum(len({row["coreid"] for row in table.to_pylist()}) for table in one.chunks) == len(chunk_of)
    random.Random(1).shuffle(occurrences)
    random.Random(2).shuffle(media)
    other = Read(gbif(tmp_path / "b.zip", occurrences, media), tmp_path, chunks=7)
    assert one.files == other.files


def test_paths_are_by_dataset_and_occurrence_and_never_the_same(tmp_path: Path) -> None:
    occurrences = [
        occurrence(1), occurrence(2, datasetKey="../../etc"), occurrence(3, datasetKey="/root"), occurrence(4, datasetKey=""),
        {**occurrence(5), "gbifID": "a/b"}, {**occurrence(5), "gbifID": "1_1"}, {**occurrence(5), "gbifID": "ABC"},
        {**occurrence(5), "gbifID": "abc"}, {**occurrence(5), "gbifID": ".."}, {**occurrence(5), "gbifID": "x" * 300},
    ]  # fmt: skip
    ids = [row["gbifID"] for row in occurrences]
    media = [{**medium(1), "gbifID": key, "identifier": f"https://h.example/{i}"} for i, key in enumerate(ids)]
    media.append(medium(1, "https://h.example/0/second"))
    read = Read(gbif(tmp_path / "a.zip", occurrences, media), tmp_path)
    paths = [row["image_path"] for row in read.rows]
    assert {"d1/1.jpg", "d1/1_1.jpg", "d1/abc.jpg", "no-dataset/4.jpg"} <= set(paths)
    assert len({path.lower() for path in paths}) == len(paths) == len(media)
    for path in paths:
        assert re.fullmatch(r"[A-Za-z0-9~-]+/[A-Za-z0-9~_-]+\.jpg", path)
        assert len(path) < 230


def test_a_larger_cap_contains_the_smaller_ones_images_whatever_the_row_order(tmp_path: Path) -> None:
    occurrences = [occurrence(n, acceptedTaxonKey=str(n % 3)) for n in range(90)]
    media = [medium(n) for n in range(90)]
    archive = gbif(tmp_path / "a.zip", occurrences, media)
    taken = {}
    for cap in (5, 12):
        read = Read(archive, tmp_path, Selection("acceptedTaxonKey", cap=cap, seed=1))
        assert Counter(row["acceptedTaxonKey"] for row in read.rows) == {"0": cap, "1": cap, "2": cap}
        assert read.reasons == {"over-cap": 90 - 3 * cap}
        taken[cap] = {row["image_path"] for row in read.rows}
    assert taken[5] < taken[12]
    shuffled = gbif(tmp_path / "b.zip", occurrences[::-1], media[::-1])
    again = Read(shuffled, tmp_path, Selection("acceptedTaxonKey", cap=5, seed=1))
    assert {row["image_path"] for row in again.rows} == taken[5]
    other = Read(archive, tmp_path, Selection("acceptedTaxonKey", cap=5, seed=2))
    assert {row["image_path"] for row in other.rows} != taken[5]


@pytest.mark.parametrize("content", ['["5WZLF", 12, 6E4]', "5WZLF\n12\n\n 6E4 \n", "\ufeff5WZLF\r\n12\r\n6E4"])
def test_a_subset_list_is_json_or_a_key_a_line_numbers_and_text_alike(tmp_path: Path, content: str) -> None:
    listing = tmp_path / "subset"
    listing.write_text(content, encoding="utf-8", newline="")
    assert read_archive.read_keys(listing) == ("12", "5WZLF", "6E4")
    occurrences = [occurrence(n, acceptedTaxonKey=key) for n, key in enumerate(["5WZLF", "6E4", "60000", "12", ""])]
    archive = gbif(tmp_path / "a.zip", occurrences, [medium(n) for n in range(5)])
    read = Read(archive, tmp_path, Selection("acceptedTaxonKey", read_archive.read_keys(listing)))
    assert sorted(row["acceptedTaxonKey"] for row in read.rows) == ["12", "5WZLF", "6E4"]
    assert read.reasons == {"not-in-subset": 2}


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "[1, ", "[[1]]", "[null]"])
def test_a_subset_list_that_cannot_be_used_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "subset.json").write_text(content)
    with pytest.raises(ParameterError, match=re.escape(str(tmp_path / "subset.json"))):
        read_archive.read_keys(tmp_path / "subset.json")


def test_any_column_of_the_occurrences_may_be_the_subset_key(tmp_path: Path) -> None:
    occurrences = [occurrence(1, occurrenceRemarks="red"), occurrence(2, occurrenceRemarks="blue")]
    archive = gbif(tmp_path / "a.zip", occurrences, [medium(1), medium(2)])
    read = Read(archive, tmp_path, Selection("occurrenceRemarks", ("blue",)))
    assert [(row["coreid"], row["occurrenceRemarks"]) for row in read.rows] == [("2", "blue")]
    with pytest.raises(
        SelectionError, match=r"occurrence.txt has no column acceptedtaxonkey; did you mean acceptedTaxonKey"
    ):
        Read(archive, tmp_path, Selection("acceptedtaxonkey", ("1",)))


def test_an_empty_selection_says_which_filter_emptied_it(tmp_path: Path) -> None:
    archive = gbif(tmp_path / "a.zip", [occurrence(1)], [medium(1), medium(1, "")])
    with pytest.raises(
        SelectionError, match=r"subset_list holds 2 keys, and no image's acceptedTaxonKey is among them"
    ):
        Read(archive, tmp_path, Selection("acceptedTaxonKey", ("a", "b")))
    archive = gbif(tmp_path / "b.zip", [occurrence(1)], [medium(1, ""), medium(2)])
    with pytest.raises(
        SelectionError, match=r"none of its 2 media is left: 1 without a URL, 1 whose occurrence is not"
    ):
        Read(archive, tmp_path)
    with pytest.raises(SelectionError, match="its media file is empty"):
        Read(gbif(tmp_path / "c.zip", [occurrence(1)], []), tmp_path)


def test_lines_that_cannot_be_read_are_rejected_with_their_number_and_text(tmp_path: Path) -> None:
    occurrences = (
        lines(OCCURRENCE, [occurrence(1), occurrence(2)]) + "3\td1\n" + lines(OCCURRENCE, [occurrence(1)])[-30:]
    )
    media = lines(MEDIA, [medium(1), medium(2), medium(3)]) + "\n1\tStillImage\n"
    latin = "2\tStillImage\timage/jpeg\thttps://photos.example/é\t\t\t\n".encode("latin-1")
    members = {
        "meta.xml": meta(OCCURRENCE, MEDIA),
        "occurrence.txt": occurrences,
        "multimedia.txt": media.encode() + latin,
    }
    read = Read(write(tmp_path / "a.zip", members), tmp_path)
    found = {(row["file"], row["line"]): (row["reason"], row["raw"]) for row in read.rejected}
    assert found["occurrence.txt", 4] == ("ragged-line", "3\td1")
    assert found["multimedia.txt", 4][0] == "orphaned"
    assert found["multimedia.txt", 5] == ("blank-line", "")
    assert found["multimedia.txt", 6] == ("ragged-line", "1\tStillImage")
    assert found["multimedia.txt", 7][0] == "invalid-text"
    assert read.counts.media_lines == 6 == len(read.rows) + sum(file == "multimedia.txt" for file, _ in found)


def test_the_second_line_of_an_id_is_rejected_and_the_first_is_used(tmp_path: Path) -> None:
    occurrences = [
        occurrence(1, lifeStage="Adult"),
        occurrence(1, lifeStage="Larva"),
        occurrence(2),
        {"datasetKey": "d1"},
    ]
    read = Read(gbif(tmp_path / "a.zip", occurrences, [medium(1), medium(2)]), tmp_path)
    assert {row["coreid"]: row["lifeStage"] for row in read.rows} == {"1": "Adult", "2": None}
    assert {(row["line"], row["reason"]) for row in read.rejected} == {(3, "duplicate-id"), (5, "no-id")}
    assert read.counts.rejected["records"] == {"duplicate-id": 1, "no-id": 1}


def test_quotes_are_unwrapped_only_where_all_of_the_file_are_well_formed(tmp_path: Path) -> None:
    wrapped = [occurrence(1, occurrenceRemarks='"3mm (1/8"")"'), occurrence(2, occurrenceRemarks="plain")]
    raw = [occurrence(1, occurrenceRemarks='"3mm (1/8"")"'), occurrence(2, occurrenceRemarks='12" trap, "Big Creek')]
    media = [medium(1), medium(2)]
    selection = Selection("acceptedTaxonKey", extra_columns=("occurrenceRemarks",))
    read = Read(gbif(tmp_path / "a.zip", wrapped, media), tmp_path, selection)
    assert {row["coreid"]: row["occurrenceRemarks"] for row in read.rows} == {"1": '3mm (1/8")', "2": "plain"}
    read = Read(gbif(tmp_path / "b.zip", raw, media), tmp_path, selection)
    expected = {"1": '"3mm (1/8"")"', "2": '12" trap, "Big Creek'}
    assert {row["coreid"]: row["occurrenceRemarks"] for row in read.rows} == expected


def test_defaults_fill_what_is_empty_and_never_what_is_there(tmp_path: Path) -> None:
    extra = '<field term="http://rs.tdwg.org/dwc/terms/basisOfRecord" default="HUMAN_OBSERVATION"/>'
    archive = gbif(tmp_path / "a.zip", [occurrence(1)], [medium(1)], extra)
    assert [row["basisOfRecord"] for row in Read(archive, tmp_path).rows] == ["HUMAN_OBSERVATION"]


def test_an_id_may_carry_a_space(tmp_path: Path) -> None:
    archive = gbif(tmp_path / "a.zip", [occurrence(1)], [{**medium(1), "gbifID": "1 "}])
    assert [row["coreid"] for row in Read(archive, tmp_path).rows] == ["1"]


def test_a_damaged_member_is_one_sentence(tmp_path: Path) -> None:
    archive = gbif(tmp_path / "a.zip", [occurrence(n) for n in range(5000)], [medium(n) for n in range(5000)])
    with zipfile.ZipFile(archive) as members:
        offset = members.getinfo("multimedia.txt").header_offset
    data = bytearray(archive.read_bytes())
    data[offset + 2000] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.zip: damaged .*download it again"):
        Read(archive, tmp_path)


def test_a_real_download_keeps_every_medium(tmp_path: Path) -> None:
    archive = SHARED / "gbif-2020-dl.4gbcs6.zip"
    if not archive.exists():
        pytest.skip("the real archives (../shared/archives) are not here")
    with zipfile.ZipFile(archive) as members:
        media = [line.split("\t") for line in members.read("multimedia.txt").decode().split("\n")[1:] if line]
    read = Read(archive, tmp_path)
    assert len(read.rows) == read.counts.media_lines == len(media) == 1362
    assert not read.rejected
    assert Counter(row["identifier"] for row in read.rows) == Counter(fields[3] for fields in media)
    assert {row["coreid"] for row in read.rows} == {fields[0].strip() for fields in media}
    assert json.dumps(read.counts.rejected) == '{"media": {}, "records": {}}'


def pieces_of(chunks: Iterable[int], error: Exception | None = None) -> Iterator[tuple[int, Decided]]:
    """A piece of one image for each, and then an error."""
    names = ["coreid", "identifier", "image_path", "licenseCode"]
    schema = pa.schema([(name, pa.string()) for name in names])
    for place, chunk in enumerate(chunks):
        row = pa.table({**{name: [f"{name} {place}"] for name in names}, "record": [0], "medium": [0], "hash": [place]})
        yield chunk, Decided(schema, pa.table({}), pa.table({}), row)
    if error:
        raise error


def written(folder: Path, chunks: int, pieces: Iterator[tuple[int, Decided]]) -> list[int]:
    [(_, first)] = pieces_of([0])
    return read_archive._write_chunks(folder, chunks, first.schema, pieces)


def test_a_chunk_is_written_while_its_pieces_come(tmp_path: Path) -> None:
    came = []
    pieces = ((came.append(chunk) or (chunk, piece)) for chunk, piece in pieces_of([0] * 40 + [2] * 3))
    assert written(tmp_path, 4, pieces) == [40, 0, 3, 0]
    assert len(came) == 43
    names = [row["image_path"] for row in pq.read_table(tmp_path / "chunk-00000.parquet").to_pylist()]
    assert names == [f"image_path {number}" for number in range(40)]


@pytest.mark.parametrize("before", [0, 1, 7])
def test_where_the_pieces_fail_no_writer_waits_for_more(tmp_path: Path, before: int) -> None:
    with pytest.raises(ArchiveError, match="broken"):
        written(tmp_path, 3, pieces_of([0, 0, 0, 1, 1, 1, 1][:before], ArchiveError("broken")))
    assert not list(tmp_path.glob("chunk-00002*"))


def test_where_a_writer_fails_no_more_pieces_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "chunk-00000.parquet").mkdir()
    (tmp_path / "chunk-00000.parquet" / "in the way").touch()
    with pytest.raises(OSError, match="chunk-00000"):
        written(tmp_path, 2, pieces_of([0] * 5 + [1] * 5))
    (tmp_path / "no folder").touch()
    pieces = pieces_of([0] * 500)
    with pytest.raises(OSError, match="no folder"):
        written(tmp_path / "no folder", 2, pieces)
    assert len(list(pieces)) > 400
