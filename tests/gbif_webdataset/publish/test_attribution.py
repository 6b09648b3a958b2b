import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.publish.attribution import write_attribution
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms import licences
from tests.support.published import BIRDS, HOSTILE, MOTHS, Dataset


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    """Eleven images with hostile names, one without a label, and some under other licences."""
    dataset = Dataset(tmp_path)
    for number, name in enumerate(HOSTILE):
        names = {
            "mediaRightsHolder": name,
            "mediaCreator": name[::-1],
            "mediaReferences": f"https://x.example/?{number}",
        }
        dataset.image("train", f"{number}", **names)
    dataset.image("train", "unlabelled", label=None)
    dataset.image("val", "20", "cc-by-nc", mediaRightsHolder="", rightsHolder="The record's", publisher="The museum")
    dataset.image("val", "20", "cc0", number=1)
    dataset.image("test", "30", "all-rights-reserved", datasetKey=BIRDS)
    dataset.image("test", "31", "unknown", datasetKey="no key of GBIF's")
    return dataset


def rows(dataset: Dataset, folder: str = "report") -> list[dict]:
    return pq.read_table(dataset.root / folder / "attribution.parquet").to_pylist()


def test_each_sample_of_the_shards_has_exactly_one_row(moths: Dataset) -> None:
    moths.publish()
    keys = {(split, sample["__key__"]) for split in ("train", "val", "test") for sample in moths.samples(split)}
    found = rows(moths)
    assert {(row["split"], row["key"]) for row in found} == keys
    assert len(found) == len(keys)
    assert all(row["label"] == "moth" and row["image_path"].startswith(row["key"]) for row in found)


def test_hostile_names_are_written_unchanged(moths: Dataset) -> None:
    moths.publish()
    by_id = {row["coreid"]: row for row in rows(moths)}
    for number, name in enumerate(HOSTILE):
        assert by_id[str(number)]["rightsHolder"] == name
        assert by_id[str(number)]["creator"] == name[::-1]
    schema = pq.read_schema(moths.root / "report" / "attribution.parquet")
    assert all(field.type == pa.string() for field in schema)


def test_rights_holder_and_publisher_but_not_the_licence_default_to_those_of_the_record(
    moths: Dataset,
) -> None:
    moths.publish()
    [row] = [row for row in rows(moths) if row["key"] == f"{MOTHS}/20"]
    assert (row["rightsHolder"], row["publisher"]) == ("The record's", "The museum")
    assert row["license"] == "http://creativecommons.org/licenses/by-nc/4.0/"
    [row] = [row for row in rows(moths) if row["coreid"] == "31"]
    assert (row["licenseCode"], row["license"], row["creator"]) == ("unknown", None, None)


def test_columns_that_the_archive_does_not_have_are_empty(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.columns = [name for name in dataset.columns if not name.startswith("media") and name != "rightsHolder"]
    row = {name: "" for name in dataset.columns if name not in ("licenseCode", "datasetKey")}
    dataset.image("train", "1")
    dataset.rows["train"][0] = {name: dataset.rows["train"][0].get(name, row.get(name)) for name in dataset.columns}
    dataset.publish()
    [found] = rows(dataset)
    assert [found[name] for name in ("license", "rightsHolder", "creator", "references")] == [None] * 4
    assert found["licenseCode"] == "cc-by"


def test_licences_are_counted_by_split_with_the_most_restrictive_last(moths: Dataset, tmp_path: Path) -> None:
    moths.publish()
    counts = {"train": len(HOSTILE), "val": 2, "test": 2}
    summary = write_attribution(DatasetPaths.under(moths.root), "label", counts, [Source("a.zip")])
    assert summary.licences == {
        "train": {"cc-by": len(HOSTILE)}, "val": {"cc0": 1, "cc-by-nc": 1}, "test": {"unknown": 1, "all-rights-reserved": 1}
    }  # fmt: skip
    assert summary.codes == ("cc0", "cc-by", "cc-by-nc", "unknown", "all-rights-reserved")
    assert licences.find_strictest(summary.licences["val"]) == "cc-by-nc"
    assert summary.versions == ("", "1.0", "4.0")
    assert summary.occurrences == {MOTHS: len(HOSTILE) + 1, "no key of GBIF's": 1, BIRDS: 1}
    assert summary.unknown_texts == {"": 1}


def test_the_derived_dataset_has_the_format_of_gbifs_form(moths: Dataset) -> None:
    """GBIF splits each line at commas and reads the second part as a number, so there is no header and no quotes."""
    moths.publish()
    lines = (moths.root / "report" / "derived_dataset.csv").read_text().splitlines()
    assert lines == [f"{MOTHS},{len(HOSTILE) + 1}", f"{BIRDS},1"]  # two images of occurrence 20 count once


def test_occurrences_of_several_archives_with_equal_ids_count_by_themselves(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    for name in ("7", "7~2", "7~3"):
        for number in range(2):
            dataset.image("train", name, number=number)
            dataset.rows["train"][-1]["coreid"] = "7"
    dataset.publish()
    assert (tmp_path / "report" / "derived_dataset.csv").read_text() == f"{MOTHS},3\n"


def test_splits_without_the_samples_of_the_shards_are_an_error(moths: Dataset, tmp_path: Path) -> None:
    moths.publish()
    with pytest.raises(MissingPieceError, match=r"splits: 15 rows have a label, but the shards have 16 samples; run"):
        write_attribution(DatasetPaths.under(moths.root), "label", {"train": 16}, [Source("a.zip")])


def test_names_and_licences_are_in_a_samples_json_if_columns_to_json_names_them(moths: Dataset) -> None:
    columns = ("licenseCode", "mediaLicense", "mediaRightsHolder", "mediaCreator", "mediaReferences", "datasetKey")
    moths.publish(columns_to_json=columns)
    by_key = {sample["__key__"]: json.loads(sample["json"]) for sample in moths.samples("train")}
    for number, name in enumerate(HOSTILE):
        values = by_key[f"{MOTHS}/{number}"]
        assert list(values) == list(columns)
        assert (values["mediaRightsHolder"], values["mediaCreator"], values["licenseCode"]) == (
            name,
            name[::-1],
            "cc-by",
        )


def test_the_table_has_the_same_bytes_each_time(moths: Dataset) -> None:
    def digest() -> str:
        return hashlib.sha256((moths.root / "report" / "attribution.parquet").read_bytes()).hexdigest()

    moths.publish()
    first = digest()
    moths.publish()
    assert digest() == first


def test_a_dataset_without_keys_of_gbif_gives_an_empty_derived_dataset(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1", datasetKey="no key of GBIF's")
    dataset.publish()
    assert (tmp_path / "report" / "derived_dataset.csv").read_bytes() == b""


def test_the_derived_dataset_has_only_keys_of_gbif_datasets(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1")
    dataset.image("train", "4", datasetKey="1,2\n3")
    dataset.publish()
    assert (tmp_path / "report" / "derived_dataset.csv").read_text() == f"{MOTHS},1\n"
