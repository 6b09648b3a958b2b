"""A dataset of three archives that overlap: a real download, an older and a newer one made of its lines."""

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sample.server import Answer, PhotoServer
from tests.support.archives import find_real_archive, read_zip, write_zip
from tests.support.datasets import Dataset

REAL_DOI, OLDER_DOI, NEWER_DOI = DOIS = ("10.15468/dl.4gbcs6", "10.15468/dl.older1", "10.15468/dl.newer1")
OPTIONS = (
    *("--CleanDataset-category-key", "scientificName", "--SplitDataset-category-key", "scientificName"),
    *("--CreateWebDataset-label-column", "scientificName", "--CleanDataset-remove-duplicate-content", "none"),
)
OVERLAP, OLDER_ONLY, NEWER_ONLY = 200, 30, 40

pytestmark = pytest.mark.slow


class EveryPhoto(PhotoServer):
    """Serves one of the sample's photos for each URL, by its number."""

    def answer(self, path: str) -> Answer:
        """The photo of `/photo/<number>.jpg`."""
        with self._lock:
            self._requests.append((path, 200))
        good = [photo.path for photo in self._photos.values() if not photo.fault]
        return Answer(200, "image/jpeg", self._files[good[int(re.findall(r"\d+", path)[0]) % len(good)]])


@pytest.fixture(scope="module")
def server() -> Iterator[EveryPhoto]:
    with EveryPhoto() as server:
        yield server


@pytest.fixture(scope="module")
def archives(server: EveryPhoto, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The real download, and two others with some of its occurrences and some of their own."""
    members, folder = read_zip(find_real_archive("gbif-2020-dl.4gbcs6.zip")), tmp_path_factory.mktemp("three")
    (head, *records), (media_head, *media) = (
        split_lines(members[f"{name}.txt"]) for name in ("occurrence", "multimedia")
    )
    url = media_head.index("identifier")
    for number, row in enumerate(media):
        row[url] = f"{server.url}/photo/{number}.jpg"
    with_photos = {row[0].strip() for row in media}
    shared = [row for row in records if row[0].strip() in with_photos]
    life_stage = head.index("lifeStage")

    def write(name: str, date: str, doi: str, rows: list[list[str]], photos: list[list[str]]) -> Path:
        metadata = members["metadata.xml"].decode().replace("2020-07-16", date).replace(REAL_DOI, doi)
        tables = {"occurrence.txt": join_lines([head, *rows]), "multimedia.txt": join_lines([media_head, *photos])}
        return write_zip(folder / f"{name}.zip", {**members, "metadata.xml": metadata, **tables})

    def select(rows: list[list[str]], own: int, first: int) -> tuple[list[list[str]], list[list[str]]]:
        """These rows and their media; and copies of the first of them as `own` further occurrences."""
        keys = {row[0].strip() for row in rows}
        photos = [row for row in media if row[0].strip() in keys]
        further = [[f"{first + number}", *row[1:]] for number, row in enumerate(rows[:own])]
        of_further = [
            [
                value if n != url else f"{server.url}/photo/{first + number}.jpg"
                for n, value in enumerate([row[0], *photos[0][1:]])
            ]
            for number, row in enumerate(further)
        ]
        return rows + further, photos + of_further

    older, of_older = select([[*row] for row in shared[:OVERLAP]], OLDER_ONLY, 9_000_000_000)
    of_older.append([shared[0][0], *of_older[0][1:]])
    of_older[-1][url] = f"{server.url}/photo/8000000.jpg"
    newer, of_newer = select([[*row] for row in shared[OVERLAP // 2 : OVERLAP * 2]], NEWER_ONLY, 9_100_000_000)
    for row in newer:
        row[life_stage] = "ADULT"
    return [
        write("real", "2020-07-16", REAL_DOI, records, media),
        write("older", "2019-05-01", OLDER_DOI, older, of_older),
        write("newer", "2021-09-30", NEWER_DOI, newer, of_newer),
    ]


def split_lines(data: bytes) -> list[list[str]]:
    return [line.split("\t") for line in data.decode().split("\n") if line]


def join_lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def count_media(archive: Path) -> int:
    return len(split_lines(read_zip(archive)["multimedia.txt"])) - 1


def test_three_archives_give_the_same_shards_in_any_order_and_nothing_is_downloaded_twice(
    archives: list[Path], server: EveryPhoto, tmp_path: Path
) -> None:
    real, older, newer = archives
    one = Dataset(real, tmp_path / "one", chunks=2)
    one.make(*OPTIONS)
    downloaded = Counter(path for path, _ in server.requests)
    listed = Dataset(Path(f"{older},{real},{newer}"), one.output, chunks=2)
    [reason] = [line for line in listed.plan(*OPTIONS) if line.startswith("ReadArchive")]
    assert reason == "ReadArchive: the archives changed"
    listed.make(*OPTIONS)
    requests = Counter(path for path, _ in server.requests)
    assert len(requests) == len(downloaded) + OLDER_ONLY + 1 + NEWER_ONLY
    assert set(requests.values()) == {1}

    names = tmp_path / "archives.txt"
    names.write_text(f"{newer}\n{older}\n{real}\n")
    other = Dataset(names, tmp_path / "other", chunks=3)
    other.make(*OPTIONS)
    assert other.shards() == listed.shards()
    assert (other.output / "accounting.csv").read_bytes() == (listed.output / "accounting.csv").read_bytes()
    swapped = Dataset(names, one.output, chunks=2)
    assert "Nothing new" in swapped.make(*OPTIONS)

    check_accounting(listed, archives)
    check_citations(listed)


def test_all_orders_of_three_archives_give_the_same_shards(
    archives: list[Path], server: EveryPhoto, tmp_path: Path
) -> None:
    found = []
    for number, order in enumerate(itertools.permutations(archives)):
        dataset = Dataset(Path(",".join(map(str, order))), tmp_path / f"{number}", chunks=2)
        dataset.make(*OPTIONS, task="CreateWebDataset")
        found.append(dataset.shards())
    assert len(found) == 6
    assert any(name.endswith(".tar") for name in found[0])
    assert all(shards == found[0] for shards in found)


def check_accounting(dataset: Dataset, archives: list[Path]) -> None:
    lines = dataset.rows("accounting.csv")
    total = sum(map(count_media, archives))
    assert int(lines[0]["images"]) == total == sum(int(line["images"]) for line in lines[1:])
    manifest, rejected = dataset.rows("manifest"), dataset.rows("manifest/rejected.parquet")
    assert len({(row["coreid"], row["identifier"]) for row in manifest}) == len(manifest)
    repeated = Counter(row["file"] for row in rejected if row["reason"] == "in-another-archive")
    distinct = {
        (row[0].strip(), row[3]) for path in archives for row in split_lines(read_zip(path)["multimedia.txt"])[1:]
    }
    assert len(manifest) == len(distinct)
    assert sum(count for file, count in repeated.items() if file.endswith("multimedia.txt")) == total - len(distinct)
    for archive in archives:
        own = sum(row["archive"] == archive.name for row in manifest)
        assert own + sum(row["file"] == f"{archive.name}/multimedia.txt" for row in rejected) == count_media(archive)
    newest = {row["coreid"] for row in manifest if row["archive"] == "newer.zip"}
    assert {row["lifeStage"] for row in manifest if row["coreid"] in newest} == {"ADULT"}


def check_citations(dataset: Dataset) -> None:
    for name in ("README.md", "CITATION.cff", "croissant.json", "index.html"):
        text = (dataset.output / "report" / name).read_text(encoding="utf-8")
        assert all(doi in text for doi in DOIS), name
    sources = json.loads((dataset.output / "manifest" / "source.json").read_text())
    assert [source["doi"] for source in sources] == [NEWER_DOI, REAL_DOI, OLDER_DOI]
    attribution = pq.read_table(dataset.output / "report" / "attribution.parquet").to_pylist()
    assert {(row["archive"], row["archiveDOI"]) for row in attribution} == {
        ("real.zip", REAL_DOI), ("older.zip", OLDER_DOI), ("newer.zip", NEWER_DOI)
    }  # fmt: skip
    with (dataset.output / "report" / "derived_dataset.csv").open(newline="") as file:
        derived = {key: int(count) for key, count in csv.reader(file)}
    assert derived == dict(Counter(key for key, _ in {(row["datasetKey"], row["coreid"]) for row in attribution}))
    texts = (dataset.output / "report" / "citations.txt").read_text(encoding="utf-8")
    assert [line for line in texts.splitlines() if line.startswith("# ")] == [
        "# newer.zip",
        "# real.zip",
        "# older.zip",
    ]


def test_archives_of_different_taxonomies_stop_before_anything_is_downloaded(
    archives: list[Path], tmp_path: Path
) -> None:
    keys = ("d7dddbf4-2cf0-4f39-9b2a-bb099caae36c", "7ddf754f-d193-4cc9-b351-99906754a03b")
    paths = []
    for archive, key in zip(archives, keys, strict=False):
        members = read_zip(archive)
        abstract = f"<para>checklistKey: {key}</para><para>".encode()
        members["metadata.xml"] = members["metadata.xml"].replace(b"<para>", abstract, 1)
        paths.append(str(write_zip(tmp_path / archive.name, members)))
    dataset = Dataset(Path(",".join(paths)), tmp_path / "dataset", chunks=2)
    printed = dataset.fail(*OPTIONS)
    assert "their taxon keys belong to different checklists" in printed
    assert "make crosswalk OLD=... NEW=..." in printed
    assert not (dataset.output / "fetched").exists()
