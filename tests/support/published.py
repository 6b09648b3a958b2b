"""Datasets written by hand for publishing: shards, an archive with metadata, and hostile names."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.dataset_numbers import DatasetNumbers
from gbif_webdataset.publish.dataset_files import write_dataset_files
from gbif_webdataset.publish.description import DatasetDescription, Publication
from gbif_webdataset.read import dwca, provenance
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import BALANCE, DROPPED, LEAKAGE
from tests.support import archives, shard_run
from tests.support.shard_run import RECIPE, encoded, photo

MOTHS, BIRDS = "3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2", "c95a0e18-2b47-4f6d-a3d9-71e8f04b6c3d"
HOSTILE = (
    'She said "no"',
    "two\nlines\r\nand\ttabs",
    "<script>alert(1)</script>",
    "- a: b # c",
    "&anchor *alias !!python/object:os.system {a: [b]} | > % @ `",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "x" * 2_000,
    "yes",
    "=HYPERLINK(1), 'quoted'",
    "](https://evil.example) **bold** <img src=x onerror=alert(1)>",
    "NEL\u0085 and LS\u2028 and BOM\ufeff",
)
LICENCES = {
    "cc0": "http://creativecommons.org/publicdomain/zero/1.0/",
    "cc-by": "http://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc": "http://creativecommons.org/licenses/by-nc/4.0/",
    "all-rights-reserved": "© all rights reserved",
    "unknown": "",
}
EML = """<?xml version="1.0" encoding="utf-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="{doi}" system="http://gbif.org"><dataset>
  <alternateIdentifier>{key}</alternateIdentifier><title>{title}</title>
  <creator><individualName><givenName>Ada</givenName><surName>Moth</surName></individualName></creator>
  <pubDate>
    2024-11-19
  </pubDate>
  <abstract><para>A dataset containing all occurrences available in GBIF matching the query:
{query}
The dataset includes records from the following constituent datasets.</para></abstract>
</dataset></eml:eml>"""
DOI, KEY = "10.15468/dl.npd2js", "0022407-241107131044228"
LINES = (
    AccountLine("read", "no-url", 3),
    AccountLine("clean", "thumbnail", 2),
    AccountLine("sample", "train", 1, kept=True),
)


class Dataset(shard_run.ShardRun):
    """Shards whose rows have the columns of a GBIF archive."""

    columns: Sequence[str] = (
        *shard_run.COLUMNS, "datasetKey", "publisher", "rightsHolder", "mediaLicense", "licenseCode", "mediaRightsHolder",
        "mediaCreator", "mediaPublisher", "mediaReferences",
    )  # fmt: skip
    description: DatasetDescription  # of what `publish` published

    def image(self, split: str, coreid: str, code: str = "cc-by", number: int = 0, **more: Any) -> None:
        """Add an image of an occurrence under a licence."""
        names = {"datasetKey": MOTHS, "coreid": coreid, "licenseCode": code, "mediaLicense": LICENCES[code]}
        data = encoded(photo(64, 48, len(coreid) + number))
        self.add(split, f"{MOTHS}/{coreid}{f'_{number}' if number else ''}.jpg", data, **{**names, **more})

    def publish(
        self,
        archive: Path | None = None,
        publication: Publication | None = None,
        settings: Mapping[str, Any] | None = None,
        **recipe: Any,
    ) -> list[Path]:
        """Make the shards and the files that go with them; the paths of these files."""
        self.write()
        self.create(replace(RECIPE, **recipe))
        write_clean(self)
        keep(archive or download(self.root / "archive.zip"), self.root / "manifest")
        parameters = {"CreateWebDataset": {"label_column": "label", "image_format": "jpg", **(settings or {})}}
        publication, numbers = publication or Publication(), DatasetNumbers(20, LINES)
        self.description, paths = write_dataset_files(DatasetPaths.under(self.root), publication, numbers, parameters)
        return paths


def write_stages(dataset: Dataset, failed: int = 1) -> None:
    """Write what the stages before the shards leave behind: `failed` images were not downloaded, all others are clean.

    The archive has as many media as there are images.
    """
    paths, rows = DatasetPaths.under(dataset.root), write_clean(dataset)
    lost = [
        {**rows[0], "image_path": f"lost/{number}.jpg", "status": "failed", "error": "not-found"}
        for number in range(failed)
    ]
    fetched = [{**row, "status": "fetched", "error": "", "bytes": row["file_size"]} for row in rows]

    paths.fetched.mkdir()
    write_table(paths.rejected, [], ("file", "reason"))
    for path, lines in zip(paths.chunks("fetched", 2), (lost, fetched), strict=True):
        write_table(path, lines, (*dataset.columns, "status", "error", "bytes"))
    write_table(paths.clean_dropped, [], [column.name for column in DROPPED])
    for path, columns in ((paths.balance, BALANCE), (paths.leakage, LEAKAGE)):
        path.write_text(",".join(column.name for column in columns) + "\n")


def write_clean(dataset: Dataset) -> list[dict[str, Any]]:
    """Write clean.parquet with all images, and a list of dropped images without any; the rows of clean.parquet."""
    paths = DatasetPaths.under(dataset.root)
    rows = [{name: row.get(name) for name in dataset.columns} for split in dataset.rows.values() for row in split]
    write_table(paths.clean, rows, dataset.columns)
    paths.split_dropped.write_text(",".join(column.name for column in DROPPED) + "\n")
    return rows


def write_table(path: Path, lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a Parquet table of texts, and of numbers in the columns that have them."""
    numbers = {"width": pa.int64(), "height": pa.int64(), "file_size": pa.int64(), "bytes": pa.int64()}
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in columns])
    pq.write_table(pa.Table.from_pylist([dict(line) for line in lines], schema), path)


def download(
    path: Path,
    title: str = f"GBIF Occurrence Download {DOI}",
    doi: str = DOI,
    members: Mapping[str, str | bytes | None] | None = None,
) -> Path:
    """A GBIF download with its metadata. `members` replace its own files; a member that is None is left out."""
    eml = EML.format(doi=escape(doi), key=KEY, title=escape(title), query='{ "TaxonKey" : [ "is Moths &amp; more" ] }')
    row = {"gbifID": "1", "datasetKey": MOTHS}
    archives.write_download(path, [row], [{"gbifID": "1", "identifier": "https://photos.example/1.jpg"}])
    texts = {"citations.txt": "Ada (2024). Moths.\r\n", "rights.txt": b"Dataset: Moths\n\xff"}
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in {"metadata.xml": eml, **texts, **(members or {})}.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def keep(archive: Path, folder: Path) -> provenance.Source:
    """Write what ReadArchive writes about the archive into the folder of the manifest."""
    folder.mkdir(exist_ok=True)
    with dwca.open_archive(archive) as opened, provenance.digest_in_background(archive) as digest:
        [source] = provenance.write_sources([opened], folder, [digest.result()])
        return source
