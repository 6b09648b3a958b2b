"""croissant.json: it describes the files that are there, and MLCommons' own library loads records by it."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.publish.attribution import SCHEMA
from gbif_webdataset.publish.croissant import MEANINGS
from gbif_webdataset.publish.dataset_files import Named
from tests.support.published import HOSTILE, Dataset
from tests.support.shard_run import SPLITS, encoded, photo


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    for number, name in enumerate(HOSTILE):
        dataset.image("train", f"{number}", mediaRightsHolder=name, label=f"moth {number % 2}")
    dataset.image("val", "20", "cc0", label="moth 0")
    dataset.image("test", "30", "cc-by-nc", label="moth 1")
    return dataset


def description(dataset: Dataset) -> dict[str, Any]:
    found = json.loads((dataset.root / "shards" / "croissant.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_each_file_lies_where_it_is_said_with_the_hash_that_is_said(moths: Dataset) -> None:
    moths.publish(max_shard_size=20_480)
    files = [file for file in description(moths)["distribution"] if file["@type"] == "cr:FileObject"]
    for file in files:
        data = (moths.root / "shards" / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
    tars = {path.relative_to(moths.root / "shards").as_posix() for path in moths.shards()}
    assert {file["contentUrl"] for file in files} == {*tars, "attribution.parquet"}
    assert len(tars) > 3
    [images] = [file for file in description(moths)["distribution"] if file["@type"] == "cr:FileSet"]
    assert {part["@id"] for part in images["containedIn"]} == tars


def test_the_same_text_lies_in_the_report(moths: Dataset) -> None:
    moths.publish()
    one, other = (moths.root / folder / "croissant.json" for folder in ("report", "shards"))
    assert one.read_bytes() == other.read_bytes()
    assert one.samefile(other)


def test_every_column_has_its_meaning() -> None:
    assert list(MEANINGS) and set(MEANINGS) == set(SCHEMA.names)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_texts(moths: Dataset, name: str) -> None:
    moths.publish(named=Named(title=name, authors=(name,), url="https://x.example/moths"))
    found = description(moths)
    assert (found["name"], found["creator"][0]["name"], found["url"]) == (name, name, "https://x.example/moths")


def test_licences_are_addresses_where_there_is_one(moths: Dataset) -> None:
    moths.publish()
    assert description(moths)["license"] == ["https://creativecommons.org/publicdomain/zero/1.0/", "CC BY", "CC BY-NC"]


def test_images_of_several_formats_are_all_named(moths: Dataset) -> None:
    moths.add("train", "d/9.jpg", encoded(photo(64, 48, 1), "PNG"), "moth 0", coreid="9", licenseCode="cc0")
    moths.publish(settings={"image_format": "original"}, image_format="original")
    [images] = [file for file in description(moths)["distribution"] if file["@type"] == "cr:FileSet"]
    assert images["includes"] == ["*.jpg", "*.png"]
    assert images["encodingFormat"] == ["image/jpeg", "image/png"]


# As MLCommons' own library reads it


def text_of(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_mlcroissant_accepts_it_and_loads_each_sample(
    moths: Dataset, image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="optional: needs pip install -e .[readers]")
    unpacking = importlib.import_module("mlcroissant._src.operation_graph.operations.extract")
    monkeypatch.setattr(
        unpacking, "EXTRACT_PATH", type(unpacking.EXTRACT_PATH)(moths.root / "cache")
    )  # its cache goes by names
    moths.publish(max_shard_size=20_480, image_format=image_format, settings={"image_format": image_format})
    keys = {sample["__key__"] for split in SPLITS for sample in moths.samples(split)}
    dataset = mlcroissant.Dataset(jsonld=moths.root / "shards" / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    rows = [{name: text_of(value) for name, value in row.items()} for row in dataset.records("attribution")]
    assert {row["attribution/key"] for row in rows} == keys
    holders = {row["attribution/coreid"]: row["attribution/rightsHolder"] for row in rows}
    assert [holders[str(number)] for number in range(len(HOSTILE))] == list(HOSTILE)
    images = list(dataset.records("images"))
    assert {text_of(record["images/key"]) for record in images} == keys
    assert {record["images/image"].size for record in images} == {(64, 48)}
