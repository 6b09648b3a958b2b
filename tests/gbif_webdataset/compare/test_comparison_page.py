import re
from collections import Counter
from pathlib import Path

from gbif_webdataset.compare.comparison import Comparison, compare
from gbif_webdataset.compare.comparison_page import ComparedDataset, draw_flows, summarize_comparison, write_page
from tests.support.output_folder import OutputFolder
from tests.support.published import HOSTILE

Folders = tuple[OutputFolder, OutputFolder]


def compare_folders(folders: Folders) -> Comparison:
    old, new = (folder.write() for folder in folders)
    return compare(old, new)


def write(comparison: Comparison, path: Path, old_column: str = "species", new_column: str = "species") -> str:
    write_page(path, ComparedDataset(Path("old"), old_column), ComparedDataset(Path("new"), new_column), comparison,
               "comparison.csv")  # fmt: skip
    return path.read_text(encoding="utf-8")


def test_the_drawing_has_a_node_for_each_split_and_a_flow_for_each_change(old_and_new: Folders, tmp_path: Path) -> None:
    nodes, flows, height = draw_flows(compare_folders(old_and_new))
    assert [node.name for node in nodes] == ["train", "test", "added", "train", "val", "test", "dropped"]
    assert {flow.text for flow in flows} == {
        "still in train: 2", "moved from train to test: 1", "moved from train to val: 1", "dropped from test: 3",
        "added to val: 3",
    }  # fmt: skip
    assert Counter(flow.kind for flow in flows) == {"moved": 2, "unchanged": 1, "dropped": 1, "added": 1}
    assert all(node.y > 0 and node.y + node.height < height for node in nodes)


def test_two_empty_datasets_give_an_empty_drawing(tmp_path: Path) -> None:
    comparison = compare_folders((OutputFolder(tmp_path / "old"), OutputFolder(tmp_path / "new")))
    assert draw_flows(comparison)[:2] == ([], [])
    assert "<svg" in write(comparison, tmp_path / "page.html")


def test_the_page_explains_why_images_were_added_or_dropped(old_and_new: Folders, tmp_path: Path) -> None:
    page = write(compare_folders(old_and_new), tmp_path / "page.html")
    for explanation in (
        "in the new dataset: the shorter side of the image is below thumb_size",
        "in the old dataset: the shorter side of the image is below thumb_size",
        "the image is not in the archive of the new dataset",
        "the image is not in the archive of the old dataset",
    ):
        assert page.count(f">{explanation}</td>") == 1


def test_hostile_labels_and_column_names_do_not_become_elements(tmp_path: Path) -> None:
    old, new = OutputFolder(tmp_path / "old", HOSTILE[2]), OutputFolder(tmp_path / "new", HOSTILE[0])
    for number, name in enumerate(HOSTILE):
        old.add("train", f"{number}", name)
        new.add("train", f"{number}", f"{name}!")
    page = write(compare_folders((old, new)), tmp_path / "page.html", HOSTILE[2], HOSTILE[0])
    assert not re.search(r"<(script|img|a|link)\b", page)


def test_the_summary_has_changes_reasons_and_moves(old_and_new: Folders, tmp_path: Path) -> None:
    comparison = compare_folders(old_and_new)
    lines = summarize_comparison(comparison, Path("page.html"), Path("table.csv")).splitlines()
    assert lines[0] == "7 images in the old dataset, 7 in the new one"
    assert "          3 added" in lines
    assert "  added: 1 because in the old dataset: clean thumbnail" in lines
    assert "  dropped: 1 because in the new dataset: fetch not-found" in lines
    assert "  moved from train to val: 1" in lines
    assert lines[-2:] == ["  page   page.html", "  table  table.csv"]
