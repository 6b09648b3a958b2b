"""Small datasets with records, ready to be published, and what a target has afterwards."""

import atexit
import copy
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from markupsafe import escape

from gbif_webdataset.publish.description import Publication
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.remote.store import Store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord
from gbif_webdataset.upload import publish_dataset
from gbif_webdataset.upload.publish_options import PublishOptions
from gbif_webdataset.upload.published_version import NAME, PublishedVersion
from tests.support.published import Dataset
from tests.support.stored_shards import move_shards

TITLE = "Moths of the tests"
QUICK = PublishOptions(retry_pause=0.01)
MAX_SHARD = 20_480


class Publishable(Dataset):
    """A dataset of a few small shards with what PublishDataset reads: the records of three tasks, and a page."""

    @classmethod
    def made(cls, root: Path, samples: int = 24) -> "Publishable":
        """A dataset with so many samples and version 1.0.0; it is made once, and copied."""
        template, dataset = _make_template(samples), cls(root)
        shutil.copytree(template.root, root)
        dataset.rows, dataset.description = copy.deepcopy(template.rows), template.description
        return dataset

    @property
    def paths(self) -> DatasetPaths:
        return DatasetPaths.under(self.root)

    def fill(self, samples: int = 24) -> "Publishable":
        """Add samples of three classes, most of them in train."""
        for number in range(samples):
            split = ("train", "train", "val", "test")[number % 4]
            self.image(split, f"occurrence{number:03}", number=number, label=f"moth {number % 3}")
        return self

    def make(self, version: str = "1.0.0", title: str = TITLE) -> "Publishable":
        """Write shards, published files, page and records."""
        publication = Publication(title=title, version=version)
        published = self.publish(None, publication, max_shard_size=MAX_SHARD, shuffle=False)
        paths = self.paths
        self.write_page()
        paths.accounting.write_text("stage,reason,images\n")
        (paths.splits / "balance.csv").write_text("label,images\n")
        report = [*published, paths.report_page, paths.accounting]
        shards = [path for path in paths.shards.rglob("*") if path.is_file() and path not in published]
        self.write_record("SplitDataset", [paths.splits / "balance.csv", *paths.splits.glob("*.csv")])
        self.write_record("CreateWebDataset", shards)
        self.write_record("ReportDataset", report, version=version)
        return self

    def move_shards(self, address: StoreAddress) -> Store:
        """Move the tars to an address, as if CreateWebDataset had written them there; the open store."""
        store, paths = move_shards(self.paths, address), self.paths
        self.write_page(address.address)
        record = TargetRecord.load(paths.record("ReportDataset"))
        assert record is not None
        page = {paths.report_page.relative_to(self.root).as_posix(): FileRecord.of(paths.report_page)}
        replace(record, files={**record.files, **page}).save(paths.record("ReportDataset"))
        return store

    def write_page(self, address: str = "") -> None:
        """Write a page with the links and the code of the real one."""
        paths, description = self.paths, self.description
        code = write_loading_code(str(paths.shards), description.shards, description.extensions, address=address)
        blocks = f"<pre>{escape(code.webdataset)}</pre><pre>{escape(code.hugging_face)}</pre>"
        rows = "".join(f"<td>{shard.path}</td>" for shard in description.shards)
        links = (
            '<a href="../shards/shards.csv">x</a><a href="../accounting.csv">y</a><a href="../splits/balance.csv">z</a>'
        )
        paths.report_page.write_text(f"<!doctype html>{blocks}{rows}{links}")

    def write_record(self, task: str, files: list[Path], **parameters: str) -> None:
        """Write the record of a task."""
        records = {path.relative_to(self.root).as_posix(): FileRecord.of(path) for path in files}
        TargetRecord(task, Fingerprint(1, parameters), records).save(self.paths.record(task))

    def send(self, target: StoreAddress, options: PublishOptions = QUICK) -> str:
        """Publish it; the summary."""
        return publish_dataset.Publication(self.paths, target, options).run()


@functools.cache
def _make_template(samples: int) -> Publishable:
    folder = Path(tempfile.mkdtemp(prefix="publishable-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Publishable(folder / "dataset").fill(samples).make()


Read = Callable[[str], bytes | None]


def read_version(read: Read) -> PublishedVersion:
    """The version that a target's dataset.json lists."""
    data = read(NAME)
    assert data is not None
    return PublishedVersion.of_json(data)


def check_complete(read: Read) -> PublishedVersion:
    """The version that a target has, whose objects and copies are all as dataset.json lists them."""
    version = read_version(read)
    for name, sha256 in [(one.name, one.sha256) for one in version.objects]:
        data = read(name)
        assert data is not None, name
        assert hashlib.sha256(data).hexdigest() == sha256, name
    return version


def list_samples(version: PublishedVersion, read: Read) -> dict[str, int]:
    """The samples of each shard in a target's shards.csv, all of which the version lists."""
    text = read("shards.csv")
    assert text is not None
    rows = [line.split(",") for line in text.decode().splitlines()[1:]]
    names = {one.name for one in version.objects}
    assert {row[1] for row in rows} <= names
    return {row[1]: int(row[2]) for row in rows}


def load_record(dataset: Publishable, target: StoreAddress) -> dict[str, object]:
    """publish/<target>.json."""
    found: dict[str, object] = json.loads(dataset.paths.publish_record(target.name).read_text())
    return found
