import json
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.adapt_files import TargetNames, adapt_files
from gbif_webdataset.upload.files_to_publish import list_files
from tests.support.publishable import Publishable

CHANGED = "train/train-000001"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, LocalFile]:
    return list_files(Publishable.made(tmp_path / "dataset").paths)


def names(files: dict[str, LocalFile], lists_names: bool) -> TargetNames:
    """Names at a target, one of them with a digest if `lists_names`."""
    shards = {path: path for path in files if find_shard(path)}
    if lists_names:
        shards |= {path: path.replace("000001", "000001-1a2b3c4d") for path in shards if find_shard(path) == CHANGED}
    return TargetNames(shards, lists_names)


def test_only_the_page_differs_if_the_shards_have_their_own_names(files: dict[str, LocalFile]) -> None:
    adapted = adapt_files(files, names(files, lists_names=False))
    assert {path for path in files if adapted[path].sha256 != files[path].sha256} == {"index.html"}


def test_what_names_shards_has_their_names_at_the_target(files: dict[str, LocalFile]) -> None:
    adapted = adapt_files(files, names(files, lists_names=True))
    changed = {path for path in files if adapted[path].sha256 != files[path].sha256}
    assert changed == {
        "index.html", "README.md", "CITATION.cff", "croissant.json", "shards.csv", "_info.json", ".nv-meta/.info.json",
        ".nv-meta/split.yaml",
    }  # fmt: skip
    old, new = f"{CHANGED}.tar", "train/train-000001-1a2b3c4d.tar"
    for path in changed - {"CITATION.cff", "README.md", "index.html"}:
        text = adapted[path].read().decode()
        assert new in text
        assert old not in text
    card = adapted["README.md"].read().decode()
    header = yaml.safe_load(card.split("---\n")[1])
    train = header["configs"][0]["data_files"][0]["path"]
    assert train[:2] == ["train/train-000000.tar", new]
    assert "000001-1a2b3c4d" in card.split("```python")[1]
    assert "shards.csv" in card.split("```python")[3]
    page = adapted["index.html"].read().decode()
    assert f"<td>{new}</td>" in page
    assert "000001-1a2b3c4d" in page.split("<pre>")[1]
    citation = adapted["CITATION.cff"].read().decode()
    assert adapted["shards.csv"].sha256 in citation


def test_equal_names_give_equal_bytes(files: dict[str, LocalFile]) -> None:
    one, other = (adapt_files(files, names(files, lists_names=True)) for _ in range(2))
    assert {path: file.sha256 for path, file in one.items()} == {path: file.sha256 for path, file in other.items()}


def test_croissant_keeps_its_references(files: dict[str, LocalFile]) -> None:
    croissant = json.loads(adapt_files(files, names(files, lists_names=True))["croissant.json"].read())
    ids = {one["@id"] for one in croissant["distribution"]}
    [images] = [one for one in croissant["distribution"] if one["@id"] == "images" or "containedIn" in one]
    assert {one["@id"] for one in images["containedIn"]} <= ids


def test_a_card_without_the_code_of_the_report_is_refused(files: dict[str, LocalFile]) -> None:
    text = files["README.md"].read().decode().replace("wds.WebDataset(", "WebDataset(")
    files["README.md"] = LocalFile.of_content(files["README.md"].path, text.encode())
    with pytest.raises(
        DamagedFileError, match=r"README\.md: lacks the code that ReportDataset writes; run `make report`"
    ):
        adapt_files(files, names(files, lists_names=True))
