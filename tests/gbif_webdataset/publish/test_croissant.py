import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.publish.attribution import ATTRIBUTION
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.terms import columns
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


def read_croissant(dataset: Dataset) -> dict[str, Any]:
    content = json.loads((dataset.root / "shards" / "croissant.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_each_file_is_at_its_url_with_its_size_and_hash(moths: Dataset) -> None:
    moths.publish(max_shard_size=20_480)
    files = [file for file in read_croissant(moths)["distribution"] if file["@type"] == "cr:FileObject"]
    for file in files:
        data = (moths.root / "shards" / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
    tars = {path.relative_to(moths.root / "shards").as_posix() for path in moths.shards()}
    assert {file["contentUrl"] for file in files} == {*tars, "attribution.parquet"}
    assert len(tars) > 3
    [images] = [file for file in read_croissant(moths)["distribution"] if file["@type"] == "cr:FileSet"]
    assert {part["@id"] for part in images["containedIn"]} == tars


def test_report_and_shards_have_the_same_file(moths: Dataset) -> None:
    moths.publish()
    one, other = (moths.root / folder / "croissant.json" for folder in ("report", "shards"))
    assert one.read_bytes() == other.read_bytes()
    assert one.samefile(other)


def test_each_column_of_the_attribution_is_a_field_with_a_description(moths: Dataset) -> None:
    moths.publish()
    [rows] = [records for records in read_croissant(moths)["recordSet"] if records["@id"] == "attribution"]
    assert [field["source"]["extract"]["column"] for field in rows["field"]] == [
        column.name for column in columns.ATTRIBUTION
    ]
    assert all(field["description"] and field["source"]["fileObject"]["@id"] == ATTRIBUTION for field in rows["field"])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_written_unchanged(moths: Dataset, name: str) -> None:
    moths.publish(publication=Publication(title=name, authors=(name,), url="https://x.example/moths"))
    content = read_croissant(moths)
    assert (content["name"], content["creator"][0]["name"], content["url"]) == (name, name, "https://x.example/moths")


def test_version_and_date_are_those_of_the_user_and_of_the_last_download(moths: Dataset) -> None:
    moths.columns = (*moths.columns, "fetched_at")
    moths.image("train", "99", fetched_at="2026-03-05T10:00:00Z")
    moths.publish(publication=Publication(version="2.1.0"))
    content = read_croissant(moths)
    assert (content["version"], content["datePublished"]) == ("2.1.0", "2026-03-05")
    before = (moths.root / "shards" / "croissant.json").read_bytes()
    moths.publish(publication=Publication(version="2.1.0"))
    assert (moths.root / "shards" / "croissant.json").read_bytes() == before


def test_an_unknown_date_is_left_out(moths: Dataset) -> None:
    moths.publish()
    content = read_croissant(moths)
    assert content["version"] == "1.0.0"
    assert "datePublished" not in content


def test_a_licence_is_its_url_if_its_version_is_certain_and_its_name_if_not(moths: Dataset) -> None:
    moths.publish()
    assert read_croissant(moths)["license"] == [
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "CC BY",
        "CC BY-NC",
    ]


def test_all_formats_of_the_images_are_listed(moths: Dataset) -> None:
    moths.add("train", "d/9.jpg", encoded(photo(64, 48, 1), "PNG"), "moth 0", coreid="9", licenseCode="cc0")
    moths.publish(settings={"image_format": "original"}, image_format="original")
    [images] = [file for file in read_croissant(moths)["distribution"] if file["@type"] == "cr:FileSet"]
    assert images["includes"] == ["*.jpg", "*.png"]
    assert images["encodingFormat"] == ["image/jpeg", "image/png"]


# Read by MLCommons' own library


def text_of(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_mlcroissant_accepts_the_file_and_loads_each_sample(
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
