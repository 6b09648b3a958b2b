import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gbif_webdataset import __version__
from gbif_webdataset.publish.card_text import escape_markdown
from gbif_webdataset.publish.dataset_card import MAX_CLASSES, find_size_category, write_card
from gbif_webdataset.publish.description import ClassCounts, Publication
from tests.support.published import HOSTILE, Dataset
from tests.support.shard_run import SPLITS


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    for number in range(6):
        dataset.image("train", f"{number}", "cc-by-nc", label=f"moth {number % 2}")
    dataset.image("val", "20", "cc0", label="moth 0")
    dataset.image("test", "30", "all-rights-reserved", label="moth 1")
    return dataset


def header(dataset: Dataset, folder: str = "shards") -> dict[str, Any]:
    text = (dataset.root / folder / "README.md").read_text(encoding="utf-8")
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def body(dataset: Dataset) -> str:
    return (dataset.root / "report" / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]


def test_the_header_lists_the_shards_of_each_split_relative_to_the_folder_of_the_shards(moths: Dataset) -> None:
    moths.publish(max_shard_size=10_240)
    found = header(moths)
    assert found == header(moths, "report")
    assert found["task_categories"] == ["image-classification"]
    assert found["size_categories"] == ["n<1K"]
    [config] = found["configs"]
    names = {"train": "train", "validation": "val", "test": "test"}
    for files in config["data_files"]:
        shards = {path.relative_to(moths.root / "shards") for path in (moths.root / "shards").glob(files["path"])}
        assert shards == {
            path.relative_to(moths.root / "shards")
            for path in moths.shards()
            if path.parent.name == names[files["split"]]
        }
        assert shards


def test_a_split_without_samples_is_left_out(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1")
    dataset.publish()
    assert [files["split"] for files in header(dataset)["configs"][0]["data_files"]] == ["train"]


def test_the_licence_is_named_if_all_images_have_it_in_one_version_and_is_other_if_not(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1", "cc-by")
    dataset.publish()
    assert header(dataset)["license"] == "cc-by-4.0"
    assert "license_name" not in header(dataset)
    dataset.image("test", "2", "cc-by", mediaLicense="http://creativecommons.org/licenses/by/3.0/")
    dataset.publish()
    assert (header(dataset)["license"], header(dataset)["license_name"]) == (
        "other",
        "each-image-its-own-at-most-cc-by",
    )
    dataset.image("val", "3", "unknown")
    dataset.publish()
    assert header(dataset)["license_name"] == "each-image-its-own-at-most-unknown"


def test_the_card_states_the_most_restrictive_licence_of_all_images_and_of_each_split(moths: Dataset) -> None:
    moths.publish()
    text = body(moths)
    assert "**The most restrictive licence of an image in this dataset is: all rights reserved.**" in text
    assert "| **most restrictive** | CC BY-NC | CC0 | all rights reserved |" in text
    assert "| CC BY-NC | 6 | 0 | 0 |" in text
    assert "permission, attribution, no commercial use." in text.replace("\n", " ")


def test_the_card_lists_the_texts_of_unknown_licences(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    for number in range(3):
        dataset.image("train", str(number), "unknown", mediaLicense="Ask | the *museum*" if number else "")
    dataset.publish()
    expected = "Most frequent texts of unknown licences: Ask \\| the \\*museum\\* (2); (no text) (1)."
    assert expected in body(dataset)


def test_the_text_has_splits_classes_citation_parameters_and_dropped_images(moths: Dataset) -> None:
    settings = {"columns_to_json": "country", "resize_min_size": 0, "cache_path": "/home/me/photos"}
    moths.publish(settings=settings, columns_to_json=("country",))
    text = body(moths)
    assert re.search(r"\| train \| 6 \| 1 \| [\d,]+ \|", text)
    assert "| moth 1 | 1 | 3 | 0 | 1 |" in text
    assert "GBIF.org (19 November 2024) GBIF Occurrence Download <https://doi.org/10.15468/dl.npd2js>" in text
    assert "| CreateWebDataset | resize_min_size | 0 |" in text
    assert "/home/me" not in text
    assert "| clean | thumbnail | 2 |" in text
    assert "The archive has 20 media. 8 of them are samples." in text
    assert "and `<key>.json`" in text


def test_counts_of_one_have_the_singular(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1", "unknown")
    dataset.publish()
    text = body(dataset).replace("\n", " ")
    assert "1 image of 1 class" in text
    assert "1 image has an unknown licence or all rights reserved: ask the rights holder before you use it" in text
    assert not re.search(r"\b1 (images|classes|samples|shards)\b", text)


def test_no_section_is_empty_and_unknown_is_said(moths: Dataset) -> None:
    moths.publish()
    sections = re.split(r"^## ", body(moths), flags=re.MULTILINE)[1:]
    assert all(len(section.partition("\n")[2].strip()) > 60 for section in sections)
    titles = [section.partition("\n")[0] for section in sections]
    assert titles == [
        "Before you train", "What the images show", "Limitations, and what not to conclude", "Licences",
        "Splits and leakage", "How to load it", "Classes", "How to cite it", "How to request removal",
        "Images that were dropped", "How it was made",
    ]  # fmt: skip
    assert "| coordinates | 0 | unknown |" in body(moths)
    assert "The observers are unknown" in body(moths)


def test_the_card_says_who_made_the_dataset_with_which_software_and_where_to_request_removal(moths: Dataset) -> None:
    publication = Publication("Moths", ("Ada Moth", "B. [x](y)"), "https://x.example/moths", version="1.2.0")
    moths.publish(publication=publication)
    text = body(moths)
    assert r"Ada Moth, B. \[x\](y). Moths. Version 1.2.0. <https://x.example/moths>." in text
    assert f"gbif-webdataset {__version__} read the archive" in text
    assert "the publisher of this dataset at\n<https://x.example/moths>" in text
    assert "Version 1.2.0" in text


def test_of_a_path_only_the_last_part_and_the_sha256_of_the_file_are_published(moths: Dataset) -> None:
    settings = {"category_map_json": "/home/me/secret/map.json", "category_map_json sha256": "ab" * 32}
    moths.publish(settings=settings)
    assert f"| CreateWebDataset | category_map_json | map.json (SHA-256 {'ab' * 32}) |" in body(moths)
    assert "secret" not in body(moths)


def test_parameters_that_have_their_defaults_are_left_out(moths: Dataset) -> None:
    settings = {"resize_min_size": 0, "jpeg_quality": 90, "label_name": "", "previous sha256": "ab", "older": 1}
    defaults = {
        "CreateWebDataset": {"resize_min_size": 0, "jpeg_quality": 95, "label_name": "species", "label_column": ""}
    }
    moths.publish(settings=settings, publication=Publication(defaults=defaults))
    rows = re.findall(r"^\| CreateWebDataset \| (.*) \|$", body(moths), re.MULTILINE)
    assert rows == [
        "image_format | jpg", "jpeg_quality | 90", "label_name | (empty)", "older | 1",
    ]  # fmt: skip


def write_hostile_card(dataset: Dataset, name: str) -> None:
    """Write the card with a hostile title, label and name of a class."""
    [source] = dataset.description.sources
    classes = [ClassCounts(name, 0, name, {**dataset.description.classes[0].samples})]
    description = replace(dataset.description, title=name, sources=[replace(source, title=name)], classes=classes)
    for folder in ("report", "shards"):
        write_card(dataset.root / folder / "README.md", description)


def test_hostile_titles_and_labels_do_not_become_markup(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1")
    dataset.publish()
    for name in HOSTILE:
        write_hostile_card(dataset, name)
        assert header(dataset)["pretty_name"] == name
        text = body(dataset)
        assert "<script" not in text
        assert "<img" not in text
        assert "\n- a:" not in text
        assert not re.search(r"(?<!\\)\]\(https://evil", text)
        [line] = [line for line in text.splitlines() if line.startswith("# ")]
        assert unescaped(line[2:]) in (" ".join(name.split()), " ".join(name.split())[:2000])
        [row] = [line for line in text.splitlines() if re.search(r"\| 0 \| 1 \|$", line)]
        assert [
            unescaped(cell.strip().replace("*She said*", "She said")) for cell in re.split(r"(?<!\\)\|", row)[1:3]
        ] == [" ".join(name.split())] * 2


def unescaped(text: str) -> str:
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@pytest.mark.parametrize(
    ("samples", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (377_000, "100K<n<1M"), (40_000_000, "10M<n<100M")],
)
def test_the_size_category_is_one_of_the_hubs(samples: int, category: str) -> None:
    assert find_size_category(samples) == category


def test_escaping_leaves_plain_texts_as_they_are_and_shortens_long_ones() -> None:
    assert escape_markdown("Biston betularia (Linnaeus, 1758)") == "Biston betularia (Linnaeus, 1758)"
    assert escape_markdown("2019. A") == r"2019\. A"
    assert escape_markdown("- a") == r"\- a"
    assert escape_markdown("# a: b-c. d_e & f = -5 > 3 (@g)!") == r"\# a: b-c. d_e & f = -5 > 3 (@g)!"
    assert escape_markdown("-5") == "-5"
    assert escape_markdown("10.15468/dl.x") == "10.15468/dl.x"
    assert escape_markdown("_a_ __b &lt; <c> #") == r"\_a\_ \_\_b &amp;lt; &lt;c> \#"
    assert escape_markdown("---") == r"\---"
    assert escape_markdown("> a") == r"\> a"
    assert escape_markdown("x" * 3_000) == "x" * 2_000 + "…"
    assert escape_markdown("a https://doi.org/10.1/x b", links=True) == "a <https://doi.org/10.1/x> b"


def test_a_card_of_many_classes_lists_those_with_most_images(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    for number in range(60):
        dataset.image("train", f"{number}", label=f"moth {number:02}")
    dataset.image("train", "extra", label="moth 59")
    dataset.publish()
    shown = re.findall(r"^\| (moth \d\d) \|", body(dataset), re.MULTILINE)
    assert len(shown) == MAX_CLASSES
    assert shown[0] == "moth 59"
    assert "The 50 classes with most images:" in body(dataset)


# Read by the Hub's own tools


def test_the_library_of_the_hub_reads_the_header(moths: Dataset) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[readers]")
    moths.publish()
    for name in HOSTILE:
        write_hostile_card(moths, name)
        found = hub.DatasetCard.load(moths.root / "shards" / "README.md").data
        assert (found.pretty_name, found.license) == (name, "other")
        assert found.configs == header(moths)["configs"]


def test_the_folder_of_the_shards_is_loaded_as_the_card_says(moths: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    moths.publish()
    found = datasets.load_dataset(str(moths.root / "shards"), streaming=True)
    hub_name = {"train": "train", "val": "validation", "test": "test"}
    for split in SPLITS:
        samples = list(found[hub_name[split]])
        assert {sample["__key__"] for sample in samples} == {sample["__key__"] for sample in moths.samples(split)}
        names = json.loads((moths.root / "shards" / "category_map.json").read_text())
        assert {sample["cls"] for sample in samples} <= set(names.values())
