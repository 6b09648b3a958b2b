"""Fetching very many images: descriptors and memory do not grow, and a large chunk needs little memory."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.fetch.journal import Journal, journal_path
from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.read_archive import read_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.terms.downloads import NO_STATEMENT
from tests.support.fetch_run import OPTIONS, FetchRun
from tests.support.load_server import LoadServer
from tests.support.memory_probe import probe_fetching
from tests.support.visits import photo

SAMPLE = Path(__file__).parents[2] / "sample" / "archive.zip"
IN_MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 1_000_000_000
OWN = ("coreid", "occurrenceID", "catalogNumber", "decimalLatitude", "decimalLongitude", "mediaReferences")
pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FetchRun]:
    """A folder in memory if possible: some disks take minutes to delete 100,000 files."""
    has_space = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > MIN_FREE_BYTES
    folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if has_space else tmp_path))
    yield FetchRun(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The sample's manifest, with all its columns."""
    folder = tmp_path_factory.mktemp("sample")
    resources = Resources(1 << 30, folder / "scratch")
    writer = ManifestWriter(folder / "manifest", 1)
    read_archives(
        {SAMPLE: NO_STATEMENT}, writer, SelectionOptions("acceptedTaxonKey"), resources, lambda done, total: None
    )
    return arrow.open_parquet(folder / "manifest" / chunk_name(0)).read()


def write_manifest(run: FetchRun, rows: pa.Table, url: str, chunk: int, numbers: Sequence[int]) -> None:
    """Write a chunk of a manifest with a different image for each number; most other columns are those of `rows`."""
    table = rows.take([number % rows.num_rows for number in numbers])
    own = {name: [f"{name}-{number:012}" for number in numbers] for name in OWN}
    own["identifier"] = [url_of(url, number) for number in numbers]
    own["image_path"] = [path_of(number) for number in numbers]
    for name, values in own.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, pa.field(name, pa.string()), pa.array(values))
    arrow.write_parquet(table.to_batches(), run.manifest / chunk_name(chunk), table.schema)


def url_of(url: str, number: int) -> str:
    return f"{url}/photos/{100_000_000 + number}/original.jpg"


def path_of(number: int) -> str:
    return f"3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2/{4_000_000_000 + number}.jpg"


def photo_of(number: int) -> bytes:
    return photo(url_of("", number))


def write_earlier_images(run: FetchRun, url: str, numbers: Sequence[int]) -> None:
    """Write the journal and the files that a killed run leaves."""
    (run.images / path_of(0)).parent.mkdir(parents=True)
    with Journal(journal_path(run.folder, 0)) as journal:
        for number in numbers:
            path, body, address = path_of(number), photo_of(number), url_of(url, number)
            (run.images / path).write_bytes(body)
            at = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"
            digest = hashlib.sha256(body).hexdigest()
            journal.append(Outcome(path, address, "fetched", "", 200, 1, len(body), digest, "image/jpeg", address, at))


def test_50_000_requests_leak_neither_descriptors_nor_memory(run: FetchRun, rows: pa.Table) -> None:
    chunks, images = 10, 5_000
    with LoadServer() as server:
        for chunk in range(chunks):
            write_manifest(run, rows, server.url, chunk, range(chunk * images, (chunk + 1) * images))
        probe = probe_fetching(run.output, *range(chunks))
    assert probe.counts == [{"fetched": images}] * chunks
    assert server.requests == chunks * images
    assert server.connections <= chunks * OPTIONS.workers, "connections are reused"
    assert len(set(probe.descriptors)) == 1
    allowed = probe.descriptors[0] + 2 * OPTIONS.workers + 2
    assert probe.max_descriptors <= allowed, "a connection and a file per worker, and the journal"
    assert max(probe.memory[1:]) - probe.memory[0] < 20
    for number in range(0, chunks * images, 997):
        assert run.read_image(path_of(number)) == photo_of(number)


def test_a_chunk_of_100_000_images_needs_less_than_300_mb(run: FetchRun, rows: pa.Table) -> None:
    images, earlier = 100_000, 97_000
    with LoadServer() as server:
        write_manifest(run, rows, server.url, 0, range(images))
        write_earlier_images(run, server.url, range(earlier))
        probe = probe_fetching(run.output, 0)
    assert probe.counts == [{"fetched": images}]
    assert probe.max_memory < 300e6 / 2**20
    assert server.requests == images - earlier
    table = arrow.open_parquet(run.folder / chunk_name(0)).read(columns=["image_path", "sha256"])
    for number in (0, earlier - 1, earlier, images - 1):
        assert table["image_path"][number].as_py() == path_of(number)
        assert table["sha256"][number].as_py() == hashlib.sha256(photo_of(number)).hexdigest()
