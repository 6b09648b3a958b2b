"""What holds of very many images: descriptors and memory stay flat, and a large chunk takes little of either."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.fetch.ledger import Journal, Outcome, journal_path
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.read_archive import read_archive
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.chunks import chunk_name
from tests.support.faulty_server import photo
from tests.support.fetch_run import PLAN, Fetching
from tests.support.load_server import TirelessServer
from tests.support.memory_probe import endured

SAMPLE = Path(__file__).parents[3] / "sample" / "archive.zip"
IN_MEMORY = Path("/dev/shm")
ROOM = 1_000_000_000
OWN = ("coreid", "occurrenceID", "catalogNumber", "decimalLatitude", "decimalLongitude", "mediaReferences")


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Fetching]:
    """A folder in memory where there is one: some disks take minutes to delete 100,000 files."""
    is_roomy = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if is_roomy else tmp_path))
    yield Fetching(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The sample's manifest, with all the columns that one has."""
    folder = tmp_path_factory.mktemp("sample")
    resources = Resources(1 << 30, folder / "scratch")
    writer, options = ManifestWriter(folder / "manifest", 1), SelectionOptions("acceptedTaxonKey")
    read_archive(SAMPLE, writer, options, resources, lambda done, total: None)
    return arrow.open_parquet(folder / "manifest" / chunk_name(0)).read()


def ask_for(fetching: Fetching, rows: pa.Table, url: str, chunk: int, numbers: Sequence[int]) -> None:
    """Write a chunk of a manifest: an image of its own for each number, most other columns as in `rows`."""
    table = rows.take([number % rows.num_rows for number in numbers])
    own = {name: [f"{name}-{number:012}" for number in numbers] for name in OWN}
    own["identifier"] = [url_of(url, number) for number in numbers]
    own["image_path"] = [path_of(number) for number in numbers]
    for name, values in own.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, pa.field(name, pa.string()), pa.array(values))
    arrow.write_parquet(table.to_batches(), fetching.manifest / chunk_name(chunk), table.schema)


def url_of(url: str, number: int) -> str:
    return f"{url}/photos/{100_000_000 + number}/original.jpg"


def path_of(number: int) -> str:
    return f"3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2/{4_000_000_000 + number}.jpg"


def photo_of(number: int) -> bytes:
    return photo(url_of("", number))


def fetched_before(fetching: Fetching, url: str, numbers: Sequence[int]) -> None:
    """A journal, and files, as a run that was killed leaves them."""
    (fetching.images / path_of(0)).parent.mkdir(parents=True)
    with Journal(journal_path(fetching.folder, 0)) as journal:
        for number in numbers:
            path, body, address = path_of(number), photo_of(number), url_of(url, number)
            (fetching.images / path).write_bytes(body)
            at = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"
            digest = hashlib.sha256(body).hexdigest()
            journal.append(Outcome(path, address, "fetched", "", 200, 1, len(body), digest, "image/jpeg", address, at))


def test_50_000_requests_leave_no_descriptor_and_no_memory_behind(fetching: Fetching, rows: pa.Table) -> None:
    chunks, images = 10, 5_000
    with TirelessServer() as server:
        for chunk in range(chunks):
            ask_for(fetching, rows, server.url, chunk, range(chunk * images, (chunk + 1) * images))
        took = endured(fetching.output, *range(chunks))
    assert took.counts == [{"fetched": images}] * chunks
    assert server.asked == chunks * images
    assert server.connections <= chunks * PLAN.workers, "connections are used again"
    assert len(set(took.descriptors)) == 1
    assert took.most_descriptors <= took.descriptors[0] + PLAN.workers + 8, "one a worker, and the files in hand"
    assert max(took.memory[1:]) - took.memory[0] < 20
    for number in range(0, chunks * images, 997):
        assert fetching.bytes_of(path_of(number)) == photo_of(number)


def test_a_chunk_of_100_000_images_takes_less_than_300_mb(fetching: Fetching, rows: pa.Table) -> None:
    images, known = 100_000, 97_000
    with TirelessServer() as server:
        ask_for(fetching, rows, server.url, 0, range(images))
        fetched_before(fetching, server.url, range(known))
        took = endured(fetching.output, 0)
    assert took.counts == [{"fetched": images}]
    assert took.peak < 300e6 / 2**20
    assert server.asked == images - known
    table = arrow.open_parquet(fetching.folder / chunk_name(0)).read(columns=["image_path", "sha256"])
    for number in (0, known - 1, known, images - 1):
        assert table["image_path"][number].as_py() == path_of(number)
        assert table["sha256"][number].as_py() == hashlib.sha256(photo_of(number)).hexdigest()
