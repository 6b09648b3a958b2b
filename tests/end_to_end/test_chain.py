"""The whole chain: from an archive to shards that a trainer reads, every line of the archive accounted for."""

import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import webdataset
from PIL import Image

from sample.plan import photos_by_path
from sample.server import PhotoServer
from tests.support.datasets import Dataset, lines_of, with_lines

SPLITS = ("train", "val", "test")
REAL = Path(__file__).parents[3] / "shared" / "archives" / "gbif-2020-dl.4gbcs6.zip"
REAL_MEDIA = 1_362


def _samples(dataset: Dataset) -> Iterator[tuple[str, dict]]:
    """Each sample of the shards with its split, decoded as a trainer does."""
    for split in SPLITS:
        tars = [str(path) for path in sorted((dataset.output / "shards" / split).glob("*.tar"))]
        reader = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("pil")
        yield from ((split, sample) for sample in reader)


def _adds_up(dataset: Dataset) -> tuple[int, Counter[tuple[str, str]]]:
    """The media lines of the archive, and how many went where; they have to add up."""
    first, *others = dataset.rows("accounting.csv")
    assert (first["stage"], first["reason"]) == ("archive", "media-lines")
    counts = Counter({(line["stage"], line["reason"]): int(line["images"]) for line in others})
    assert counts.total() == int(first["images"])
    return int(first["images"]), counts


def _in_tars(dataset: Dataset) -> Counter[str]:
    """The samples of each split, counted by the members of its tars."""
    counts: Counter[str] = Counter()
    for path in (dataset.output / "shards").glob("*/*.tar"):
        with tarfile.open(path) as tar:
            counts[path.parent.name] += sum(name.endswith(".jpg") for name in tar.getnames())
    return counts


def test_the_accounting_adds_up_and_equals_a_count_by_other_means(made: Dataset) -> None:
    media_lines, counts = _adds_up(made)
    assert media_lines == len(lines_of(made.archive, "multimedia.txt")) - 1
    assert {split: counts["sample", split] for split in SPLITS} == _in_tars(made)

    rejected = Counter(
        row["reason"] for row in made.rows("manifest/rejected.parquet") if row["file"] == "multimedia.txt"
    )
    assert {reason: number for (stage, reason), number in counts.items() if stage == "read"} == rejected
    assert media_lines == rejected.total() + len(made.rows("manifest"))
    failed = Counter(row["error"] for row in made.rows("fetched") if row["status"] == "failed")
    assert {reason: number for (stage, reason), number in counts.items() if stage == "fetch"} == failed
    bad = Counter(row["error"] for row in made.rows("errors.csv"))
    assert {reason: number for (stage, reason), number in counts.items() if stage == "verify"} == bad
    kept = {split: made.rows(f"splits/{split}.csv") for split in SPLITS}
    dropped = made.rows("splits/dropped.csv") + made.rows("shards/dropped.csv")
    assert sum(map(len, kept.values())) + len(made.rows("splits/dropped.csv")) == len(made.rows("clean.parquet"))
    assert len(made.rows("fetched")) - failed.total() == len(made.rows("verified.parquet"))
    assert sum(number for (stage, _), number in counts.items() if stage in ("split", "shards")) == len(dropped)


def test_each_photo_with_a_fault_is_where_its_fault_belongs(made: Dataset, photos: PhotoServer) -> None:
    faults = {path: photo.fault for path, photo in photos_by_path().items()}
    ended = {row["identifier"]: row["error"] for row in made.rows("fetched") if row["status"] == "failed"}
    found: dict[str, set[str]] = {}
    for identifier, error in ended.items():
        found.setdefault(faults[identifier.removeprefix(photos.url)], set()).add(error)
    assert found == {
        "missing": {"not-found"}, "gone": {"gone"}, "html": {"not-an-image"}, "empty": {"empty"},
        "broken": {"server-error"}, "opted-out": {"opted-out"},
    }  # fmt: skip
    dropped = {
        faults[row["identifier"].removeprefix(photos.url)]: (row["stage"], row["reason"])
        for row in made.rows("clean-dropped.parquet")
    }
    assert dropped["truncated"] == ("verify", "truncated")
    assert dropped["thumbnail"] == ("clean", "thumbnail")
    in_shards = {
        row["identifier"].removeprefix(photos.url) for split in SPLITS for row in made.rows(f"splits/{split}.csv")
    }
    assert {"png", "grey", "cmyk", "rotated", "busy", "moved"} <= {faults[path] for path in in_shards}


def test_every_sample_decodes_and_has_the_class_of_its_row(made: Dataset) -> None:
    classes = json.loads((made.output / "shards" / "category_map.json").read_text())
    wanted = Counter(
        (split, classes[row["acceptedTaxonKey"]]) for split in SPLITS for row in made.rows(f"splits/{split}.csv")
    )
    found: Counter[tuple[str, int]] = Counter()
    keys = set()
    for split, sample in _samples(made):
        assert isinstance(sample["jpg"], Image.Image)
        assert sample["jpg"].mode == "RGB"
        assert min(sample["jpg"].size) >= 64
        found[split, sample["cls"]] += 1
        keys.add(sample["__key__"])
    assert found == wanted
    assert len(keys) == wanted.total()


def test_each_sample_is_the_photo_of_its_row(made: Dataset) -> None:
    """A JPEG that needs no change passes through, so its bytes say which row a sample is of."""
    classes = json.loads((made.output / "shards" / "category_map.json").read_text())
    rows = {row["sha256"]: (split, row) for split in SPLITS for row in made.rows(f"splits/{split}.csv")}
    recognised = 0
    for path in (made.output / "shards").glob("*/*.tar"):
        with tarfile.open(path) as tar:
            members = {name: tar.extractfile(name).read() for name in tar.getnames()}
        for name, data in members.items():
            if name.endswith(".jpg") and (row := rows.get(sha256(data).hexdigest())):
                assert row[0] == path.parent.name
                assert int(members[name.removesuffix(".jpg") + ".cls"]) == classes[row[1]["acceptedTaxonKey"]]
                recognised += 1
    assert recognised > 0.8 * len(rows)


def test_no_occurrence_is_in_two_splits(made: Dataset) -> None:
    occurrences = {split: {row["coreid"] for row in made.rows(f"splits/{split}.csv")} for split in SPLITS}
    assert all(occurrences.values())
    assert sum(map(len, occurrences.values())) == len(set().union(*occurrences.values()))


def test_the_summary_says_what_there_is_and_where(made: Dataset) -> None:
    printed = (made.output.parent / "stdout").read_text()
    total = sum(_in_tars(made).values())
    assert f"{total} samples of" in printed
    assert printed.splitlines()[0] == made.archive.name
    for path in ("shards/train/train-000000.tar", "report/index.html"):
        assert str(made.output / path) in printed
        assert (made.output / path).exists()


def test_the_same_command_again_has_nothing_to_do(made: Dataset, photos: PhotoServer) -> None:
    before = len(photos.requests)
    times = {path: path.stat().st_mtime_ns for path in made.output.rglob("*") if path.is_file()}
    assert "Nothing new" in made.make()
    assert len(photos.requests) == before
    assert {path: path.stat().st_mtime_ns for path in made.output.rglob("*") if path.is_file()} == times


def test_the_shards_are_the_same_for_three_workers_and_seven_chunks(made: Dataset, tmp_path: Path) -> None:
    other = Dataset(made.archive, tmp_path / "dataset", chunks=7)
    other.make("--workers", "3", "--CreateWebDataset-num-workers", "3")
    assert len(list((other.output / "fetched").glob("chunk-*.parquet"))) == 7
    assert other.shards() == made.shards()
    assert other.rows("accounting.csv") == made.rows("accounting.csv")


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_a_real_download_goes_end_to_end_and_loses_no_row(tmp_path: Path) -> None:
    with _Pictures() as pictures:
        head, *lines = lines_of(REAL, "multimedia.txt")
        column = head.split(b"\t").index(b"identifier")
        numbers: dict[bytes, int] = {}
        for number, line in enumerate(lines):
            fields = line.split(b"\t")
            host = urlsplit(fields[column].decode()).netloc
            picture = numbers.setdefault(fields[column], len(numbers))
            fields[column] = f"{pictures.url}/{host}/{picture}.jpg".encode()
            lines[number] = b"\t".join(fields)
        archive = with_lines(REAL, tmp_path / "real.zip", {"multimedia.txt": [head, *lines]})
        dataset = Dataset(archive, tmp_path / "dataset")
        dataset.make("--SplitDataset-category-key", "speciesKey", "--CreateWebDataset-label-column", "speciesKey")

    media_lines, counts = _adds_up(dataset)
    assert media_lines == len(lines) == REAL_MEDIA
    assert sum(counts["sample", split] for split in SPLITS) == sum(_in_tars(dataset).values()) > 1_000
    manifest = dataset.rows("manifest")
    assert {row["status"] for row in dataset.rows("fetched")} == {"fetched"}
    usual = Counter((line.split(b"\t")[0].strip().decode(), line.split(b"\t")[column].decode()) for line in lines)
    assert set(usual) == {(row["coreid"], row["identifier"]) for row in manifest}
    _keys_are_as_written(lines_of(REAL, "occurrence.txt"), manifest)


def _keys_are_as_written(occurrences: list[bytes], manifest: list[dict[str, str | None]]) -> None:
    """The manifest's fields are the archive's, letter for letter; an empty field is None."""
    names = occurrences[0].decode().split("\t")
    rows = {}
    for line in occurrences[1:]:
        fields = line.decode().split("\t")
        rows[fields[0]] = dict(zip(names, fields, strict=True))
    asked = ("datasetKey", "acceptedTaxonKey", "speciesKey", "countryCode", "decimalLatitude", "eventDate", "year")
    for row in manifest:
        occurrence = rows[str(row["coreid"])]
        assert {name: row[name] or "" for name in asked} == {name: occurrence[name] for name in asked}
        assert all(value is None or type(value) is str for value in row.values())


class _Pictures:
    """A server on loopback whose paths end in a number, which chooses one of a few JPEGs."""

    def __init__(self, different: int = 16) -> None:
        bodies = [_jpeg(number) for number in range(different)]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                body = bodies[int(self.path.rsplit("/", 1)[1].removesuffix(".jpg")) % different]
                name = self.path.encode()  # in a comment: the same bytes under two URLs would be duplicates
                body = body[:2] + b"\xff\xfe" + (len(name) + 2).to_bytes(2, "big") + name + body[2:]
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "_Pictures":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _jpeg(number: int) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize((96, 80)).rotate(20 * number).convert("RGB").save(file, "JPEG")
    return file.getvalue()
