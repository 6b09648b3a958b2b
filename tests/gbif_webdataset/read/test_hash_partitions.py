"""Selection and spilling, from the archive to the manifest's bytes."""

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.read import line_blocks, partition_archive, read_archive
from gbif_webdataset.read.hash_partitions import Buckets, share_of
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read.select_media import Selection
from tests.support.archives import MEDIA, OCCURRENCE, gbif, meta, write
from tests.support.archives import lines as text_of

CHUNKS = 5
Files = dict[str, bytes]
CODES = ("CC0_1_0", "http://creativecommons.org/licenses/by/4.0/", "© all rights reserved", "")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 occurrences with 0 to 3 media each, in no order, some orphaned or odd."""
    rng = random.Random(1)
    occurrences = [
        {
            "gbifID": str(n),
            "datasetKey": f"d{n % 5}",
            "acceptedTaxonKey": f"T{n % 40}",
            "lifeStage": ("Adult", "")[n // 4 % 2],
        }
        for n in range(4000)
    ]
    media = [
        {"gbifID": str(n), "identifier": f"https://photos.example/{n}/{i}", "license": CODES[(n + i) % 4]}
        for n in range(4040)
        for i in range(n % 4)
    ]
    media += [{"gbifID": "1", "identifier": "images/1.jpg"}, {"gbifID": "2"}]
    rng.shuffle(occurrences)
    rng.shuffle(media)
    return gbif(tmp_path_factory.mktemp("archive") / "a.zip", occurrences, media)


def made(
    archive: Path, tmp_path: Path, selection: Selection, memory: int = 1 << 30
) -> tuple[Files, read_archive.Counts]:
    folder, scratch = tmp_path / "manifest", tmp_path / "scratch"
    counts = read_archive.build(archive, folder, CHUNKS, selection, Resources(memory, scratch), lambda a, b: None)
    assert not list(scratch.iterdir())
    assert counts.media_lines == sum(counts.images) + sum(counts.rejected["media"].values())
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}, counts


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        row
        for n in range(CHUNKS)
        for row in pq.read_table(tmp_path / "manifest" / f"chunk-{n:05d}.parquet").to_pylist()
    ]


EVERYTHING = Selection("acceptedTaxonKey")
CHOSEN = Selection(
    "acceptedTaxonKey", tuple(f"T{n}" for n in range(30)), 20, 7, (), ("cc0", "cc-by"), "lifeStage = 'Adult'"
)


@pytest.mark.parametrize("selection", [EVERYTHING, CHOSEN], ids=["all", "chosen"])
def test_spilling_and_many_buckets_change_no_byte(
    tmp_path: Path, archive: Path, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = made(archive, tmp_path, selection)
    spilled: list[int] = []
    spill = Buckets._spill
    monkeypatch.setattr(Buckets, "_spill", lambda self: (spilled.append(1), spill(self)))
    monkeypatch.setattr(line_blocks, "BLOCK", 1 << 13)
    for bucket_bytes, memory in ((1 << 13, 1 << 30), (1 << 15, 64 << 20), (1 << 16, 1 << 20), (1 << 30, 1 << 20)):
        monkeypatch.setattr(partition_archive, "BUCKET_BYTES", bucket_bytes)
        monkeypatch.setattr(partition_archive, "READ_AT_ONCE", bucket_bytes, raising=False)
        if memory < 8 << 20:
            monkeypatch.setattr(read_archive.tables, "database", small_database(read_archive.tables.open_database))
        assert made(archive, tmp_path, selection, memory)[0] == expected
    assert spilled


def small_database(database: Any) -> Any:
    """The database keeps a memory that it can live in; what is tried is the spilling of the buckets."""
    return lambda scratch, limit: database(scratch, "64MB")


def test_a_selection_of_a_hundred_thousand_keys_licences_a_condition_and_a_cap_go_together(
    tmp_path: Path, archive: Path
) -> None:
    keys = (*(f"T{n}" for n in range(30)), *(f"X{n}" for n in range(100_000)))
    selection = Selection("acceptedTaxonKey", keys, 20, 7, (), ("cc0", "cc-by"), "lifeStage = 'Adult'")
    _, counts = made(archive, tmp_path, selection)
    expected: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for n in range(4040):
        for i in range(n % 4):
            if n >= 4000:
                expected["orphaned"] += 1
            elif n % 40 >= 30:
                expected["not-in-subset"] += 1
            elif n // 4 % 2:
                expected["not-where"] += 1
            elif (n + i) % 4 > 1:
                expected["unusable-licence"] += 1
            else:
                taken[f"T{n % 40}"] += 1
    expected["over-cap"] = sum(max(0, count - 20) for count in taken.values())
    assert counts.rejected["media"] == {**expected, "not-http": 1, "no-url": 1}
    images = rows(tmp_path)
    assert Counter(row["acceptedTaxonKey"] for row in images) == {key: min(20, count) for key, count in taken.items()}
    assert {row["lifeStage"] for row in images} == {"Adult"}
    assert {(row["mediaLicense"], row["licenseCode"]) for row in images} == {(CODES[0], "cc0"), (CODES[1], "cc-by")}


def test_licences_that_are_unknown_or_reserved_are_left_out_once_any_is_asked_for(
    tmp_path: Path, archive: Path
) -> None:
    made(archive, tmp_path, EVERYTHING)
    assert {row["licenseCode"] for row in rows(tmp_path)} == {"cc0", "cc-by", "all-rights-reserved", "unknown"}
    made(archive, tmp_path, Selection("acceptedTaxonKey", licenses=("cc0", "cc-by", "cc-by-nc")))
    assert {row["licenseCode"] for row in rows(tmp_path)} == {"cc0", "cc-by"}


def test_a_where_may_name_any_column_of_the_occurrences(tmp_path: Path) -> None:
    occurrences = [
        {"gbifID": str(n), "datasetKey": "d1", "countryCode": "NA", "occurrenceRemarks": str(n)} for n in range(4)
    ]
    media = [{"gbifID": str(n), "identifier": f"https://photos.example/{n}"} for n in range(4)]
    small = gbif(tmp_path / "a.zip", occurrences, media)
    for where in ("occurrenceRemarks = '2'", "COUNTRYCODE = 'NA' AND occurrenceremarks = '2'"):
        _, counts = made(small, tmp_path, Selection("acceptedTaxonKey", where=where))
        assert [row["coreid"] for row in rows(tmp_path)] == ["2"]
        assert counts.rejected["media"] == {"not-where": 3}


def test_a_where_may_name_the_records_id_though_the_archive_gives_it_no_term(tmp_path: Path) -> None:
    occurrences = [{"gbifID": key} for key in ("1", " 2 ", "3")]
    media = [{"gbifID": key, "identifier": f"https://photos.example/{key}"} for key in "123"]
    small = gbif(tmp_path / "a.zip", occurrences, media)
    _, counts = made(small, tmp_path, Selection("acceptedTaxonKey", where="coreid IN ('2', '3') AND CoreID <> '3'"))
    assert [row["coreid"] for row in rows(tmp_path)] == ["2"]
    assert counts.rejected["media"] == {"not-where": 2}
    with pytest.raises(DatasetError, match="the occurrences have no column gbifID"):
        made(small, tmp_path, Selection("acceptedTaxonKey", where="gbifID = '2'"))


@pytest.mark.parametrize("where", ["datasetKey::INT > 1", "datasetKey = ''"])
def test_nothing_stays_in_the_scratch_folder_after_an_error(
    tmp_path: Path, archive: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_archive, "BUCKET_BYTES", 1 << 13)
    monkeypatch.setattr(line_blocks, "BLOCK", 1 << 13)
    with pytest.raises(DatasetError):
        made(archive, tmp_path, Selection("acceptedTaxonKey", where=where), 64 << 20)
    assert not list((tmp_path / "scratch").iterdir())
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        made(tmp_path / "damaged.zip", tmp_path, EVERYTHING, 64 << 20)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("memory", [0, 1 << 10, 1 << 30])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_what_is_put_in_comes_out_once_by_ranges_of_the_hash(tmp_path: Path, count: int, memory: int) -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, 1000, dtype=np.uint64)
    hashes[:4] = [0, 1, 2**64 - 1, 2**63]
    table = pa.table({"hash": hashes, "n": np.arange(1000)})
    with Buckets(tmp_path / "buckets", table.schema, count, memory) as buckets:
        for begin in range(0, 1000, 90):
            buckets.add(table.slice(begin, 90), hashes[begin : begin + 90])
        buckets.close()
        found = [buckets.take(bucket) for bucket in range(count)]
    assert sorted(n for part in found for n in part.column("n").to_pylist()) == list(range(1000))
    ends = [
        (min(part.column("hash").to_pylist()), max(part.column("hash").to_pylist())) for part in found if part.num_rows
    ]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    for bucket, part in enumerate(found):
        assert set(share_of(part.column("hash").to_numpy(), count).tolist()) <= {bucket}
        assert part.column("n").to_pylist() == sorted(part.column("n").to_pylist())


def test_a_wrapped_file_is_unwrapped_though_another_of_the_same_rows_holds_no_quote(tmp_path: Path) -> None:
    """Two locations, of which one happens to hold no quote."""
    descriptor = meta(OCCURRENCE, MEDIA).replace("<location>occ", "<location>first.txt</location><location>occ")
    members = {
        "meta.xml": descriptor,
        "first.txt": text_of(OCCURRENCE, [{"gbifID": "1", "lifeStage": "Adult"}]),
        "occurrence.txt": text_of(OCCURRENCE, [{"gbifID": "2", "lifeStage": '"so-called ""adult"""'}]),
        "multimedia.txt": text_of(MEDIA, [{"gbifID": n, "identifier": f"https://photos.example/{n}"} for n in "12"]),
    }
    made(write(tmp_path / "a.zip", members), tmp_path, EVERYTHING)
    assert {row["lifeStage"] for row in rows(tmp_path)} == {"Adult", 'so-called "adult"'}


@pytest.mark.parametrize("name", ["line", "part", "hash", "coreid", "record", "category"])
def test_a_column_may_bear_any_name(tmp_path: Path, name: str) -> None:
    """Names that the manifest's own tables use, too."""
    columns = (*OCCURRENCE, name)
    members = {
        "meta.xml": meta(columns, MEDIA),
        "occurrence.txt": text_of(columns, [{"gbifID": n, name: f"v{n}"} for n in "12"]),
        "multimedia.txt": text_of(MEDIA, [{"gbifID": n, "identifier": f"https://photos.example/{n}"} for n in "12"]),
    }
    made(write(tmp_path / "a.zip", members), tmp_path, Selection("acceptedTaxonKey", where=f"{name} = 'v2'"))
    assert [row["coreid"] for row in rows(tmp_path)] == ["2"]


def test_an_empty_selection_blames_the_subset_only_where_none_of_it_is_there(tmp_path: Path) -> None:
    occurrences = [{"gbifID": n, "acceptedTaxonKey": f"T{n}", "lifeStage": "Larva"} for n in "123"]
    media = [{"gbifID": n, "identifier": f"https://photos.example/{n}"} for n in "123"]
    selection = Selection("acceptedTaxonKey", ("T1", "T2"), where="lifeStage = 'Adult'")
    with pytest.raises(DatasetError, match=r"2 of occurrences that where leaves out") as raised:
        made(gbif(tmp_path / "a.zip", occurrences, media), tmp_path, selection)
    assert "no image's acceptedTaxonKey is among them" not in str(raised.value)


def test_lines_that_cannot_be_read_are_not_all_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK", 1 << 13)
    media = text_of(MEDIA, [{"gbifID": "1", "identifier": "https://photos.example/1"}]) + "1\tshort\n" * 20_000
    members = {
        "meta.xml": meta(OCCURRENCE, MEDIA),
        "occurrence.txt": text_of(OCCURRENCE, [{"gbifID": "1"}]),
        "multimedia.txt": media,
    }
    most = 0
    unreadable = RowReader._readable

    def watched(self: RowReader, block: bytes, first: int) -> Any:
        nonlocal most
        most = max(most, len(self.unreadable))
        return unreadable(self, block, first)

    monkeypatch.setattr(RowReader, "_readable", watched)
    _, counts = made(write(tmp_path / "a.zip", members), tmp_path, EVERYTHING)
    assert counts.rejected["media"] == {"ragged-line": 20_000}
    assert most < 10_000
