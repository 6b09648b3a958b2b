import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.read import line_blocks, partition_archives
from gbif_webdataset.read.hash_partitions import HashPartitions
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage import tables
from tests.support.archives import (
    GBIF,
    MEDIA,
    OCCURRENCE,
    PHOTO,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    make_medium,
    write_download,
    write_zip,
)
from tests.support.manifests import EVERYTHING, make_manifest

LICENCES = ("CC0_1_0", "http://creativecommons.org/licenses/by/4.0/", "© all rights reserved", "")
CHOSEN = SelectionOptions(
    "acceptedTaxonKey",
    SubsetList.of(tuple(f"T{n}" for n in range(30))),
    20,
    7,
    (),
    ("cc0", "cc-by"),
    "lifeStage = 'Adult'",
)
KEY = "7ddf754f-d193-4cc9-b351-99906754a03b"
OTHER = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 occurrences with 0 to 3 media each, in random order, some orphaned or without a valid URL."""
    rng = random.Random(1)
    occurrences = [
        {
            "gbifID": str(n),
            "datasetKey": f"d{n % 5}",
            "acceptedTaxonKey": f"T{n % 40}",
            "lifeStage": ("Adult", "")[n // 4 % 2],
        }
        for n in range(2000)
    ]
    media = [
        {"gbifID": str(n), "identifier": f"{PHOTO}{n}/{i}", "license": LICENCES[(n + i) % 4]}
        for n in range(2040)
        for i in range(n % 4)
    ]
    media += [{"gbifID": "1", "identifier": "images/1.jpg"}, {"gbifID": "2"}]
    rng.shuffle(occurrences)
    rng.shuffle(media)
    return write_download(tmp_path_factory.mktemp("archive") / "a.zip", occurrences, media)


@pytest.mark.parametrize("options", [EVERYTHING, CHOSEN], ids=["all", "chosen"])
def test_spilling_and_many_partitions_change_no_byte(
    tmp_path: Path, archive: Path, options: SelectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_manifest(archive, tmp_path, options, 5).files
    spilled: list[int] = []
    spill, open_database = HashPartitions._spill, tables.open_database
    monkeypatch.setattr(HashPartitions, "_spill", lambda self: (spilled.append(1), spill(self)))
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 1 << 13)
    # The database gets enough memory, so that only the partitions spill.
    monkeypatch.setattr(tables, "open_database", lambda scratch, limit: open_database(scratch, "64MB"))
    for partition_bytes, memory in ((1 << 14, 1 << 30), (1 << 15, 1 << 20), (1 << 30, 1 << 20)):
        monkeypatch.setattr(partition_archives, "PARTITION_BYTES", partition_bytes)
        resources = Resources(memory, tmp_path / "scratch")
        assert make_manifest(archive, tmp_path, options, 5, resources).files == expected
    assert spilled


@pytest.mark.parametrize("where", ["datasetKey::INT > 1", "datasetKey = ''"])
def test_an_error_leaves_no_temporary_files(
    tmp_path: Path, archive: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_archives, "PARTITION_BYTES", 1 << 14)
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 1 << 13)
    resources = Resources(64 << 20, tmp_path / "scratch")
    with pytest.raises(DatasetError):
        make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", where=where), resources=resources)
    assert not list((tmp_path / "scratch").iterdir())
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        make_manifest(tmp_path / "damaged.zip", tmp_path, resources=resources)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_file_without_quotes_is_unwrapped_like_a_second_file_of_its_layout(tmp_path: Path) -> None:
    members = make_download(
        [],
        [make_medium(1), make_medium(2)],
        meta_xml=make_gbif_meta_xml().replace("<location>occ", "<location>first.txt</location><location>occ"),
        first_txt=make_lines(OCCURRENCE, [{"gbifID": "1", "lifeStage": "Adult"}]),
        occurrence_txt=make_lines(OCCURRENCE, [{"gbifID": "2", "lifeStage": '"so-called ""adult"""'}]),
    )
    manifest = make_manifest(write_zip(tmp_path / "a.zip", members), tmp_path)
    assert manifest.values("lifeStage") == {"1": "Adult", "2": 'so-called "adult"'}


def write_with_checklists(path: Path, document: str = "", keys: Sequence[str] = (), default: str = "") -> Path:
    """An archive of two occurrences that names its checklist in the metadata document, a column or a default."""
    columns = (*OCCURRENCE[:-1], "checklistKey") if keys else OCCURRENCE
    extra = f'<field term="{GBIF}checklistKey" default="{default}"/>' if default and not keys else ""
    descriptor = make_gbif_meta_xml(columns, MEDIA, extra).replace("<archive ", '<archive metadata="metadata.xml" ')
    if default and keys:
        descriptor = descriptor.replace('checklistKey"/>', f'checklistKey" default="{default}"/>')
    occurrences = [{"gbifID": n, "checklistKey": key} for n, key in zip("12", keys or ("", ""), strict=True)]
    members = make_download(
        [],
        [make_medium(1)],
        meta_xml=descriptor,
        metadata_xml=f"<eml><para>A dataset of all occurrences matching the query:\n{document}</para></eml>",
        occurrence_txt=make_lines(columns, occurrences),
    )
    return write_zip(path, members)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, None),
        ({"document": f'{{"checklistKey" : "{KEY}"}}'}, KEY),
        ({"document": f"{{\n  &quot;checklistKey&quot; : &quot;{KEY}&quot;\n}}"}, KEY),
        ({"document": f"{{&quot;ChecklistKey&quot; : [ &quot;is {KEY}&quot; ]}}"}, KEY),
        ({"document": f"<checklistKey>{KEY}</checklistKey>"}, KEY),
        ({"document": '{"ChecklistKey" : ["is Catalogue of Life"]}'}, None),
        ({"keys": (KEY, KEY)}, KEY),
        ({"keys": (KEY, "")}, KEY),
        ({"keys": (KEY, OTHER)}, None),
        ({"keys": ("", ""), "default": KEY}, KEY),
        ({"keys": ("", OTHER), "default": KEY}, None),
        ({"keys": ("x" * 1000,) * 2}, None),
        ({"default": KEY}, KEY),
        ({"default": KEY, "document": f'"checklistKey": "{OTHER}"'}, KEY),
    ],
)
def test_the_checklist_is_recorded_in_each_chunk_if_the_archive_names_one(
    tmp_path: Path, named: dict[str, Any], expected: str | None
) -> None:
    manifest = make_manifest(write_with_checklists(tmp_path / "a.zip", **named), tmp_path)
    assert manifest.counts.checklist == expected
    for path in manifest.folder.glob("chunk-*.parquet"):
        recorded = pq.read_schema(path).metadata
        assert (recorded or {}).get(b"checklistKey") == (expected.encode() if expected else None)
