import sys
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.export import select_images
from gbif_webdataset.export.export_images import export_images, list_images, read_image
from tests.support.audited_folder import AuditedFolder
from tests.support.packs import pack_images


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    """A dataset with the images d0/0.jpg to d1/4.jpg, of which one is deleted."""
    folder = AuditedFolder(tmp_path / "dataset")
    (folder.paths.images / "d0/3.jpg").unlink()
    return folder


def test_images_that_exist_are_listed_with_their_sizes(folder: AuditedFolder) -> None:
    listed = {image.path: image.bytes for image in list_images(folder.paths)}
    files = {path.relative_to(folder.paths.images).as_posix(): path for path in folder.paths.images.glob("*/*")}
    assert listed == {name: path.stat().st_size for name, path in files.items()}
    assert len(listed) == 9


def test_one_image_is_read_by_its_path(folder: AuditedFolder) -> None:
    expected = (folder.paths.images / "d1/2.jpg").read_bytes()
    assert read_image(folder.paths, "d1/2.jpg") == read_image(folder.paths, "images/d1/2.jpg") == expected


@pytest.mark.parametrize("name", ["d0/3.jpg", "d0", "d0/1.jpg/x", "../clean.parquet", "/etc/passwd", ""])
def test_a_path_that_is_no_image_gives_one_sentence(folder: AuditedFolder, name: str) -> None:
    with pytest.raises(ParameterError, match="the dataset has no such image"):
        read_image(folder.paths, name)


def test_the_selected_images_become_files_with_the_same_bytes(folder: AuditedFolder, tmp_path: Path) -> None:
    target = tmp_path / "copies"
    exported = [image.path for image in export_images(folder.paths, target, "image_path LIKE 'd1/%'")]
    assert exported == [f"d1/{number}.jpg" for number in range(5)]
    files = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert files == exported
    assert all((target / name).read_bytes() == (folder.paths.images / name).read_bytes() for name in files)


def test_images_are_not_exported_into_the_dataset(folder: AuditedFolder) -> None:
    before = folder.snapshot()
    with pytest.raises(ParameterError, match="this folder is inside the dataset"):
        list(export_images(folder.paths, folder.paths.images))
    assert folder.snapshot() == before


def test_the_index_of_a_chunk_is_read_once(folder: AuditedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder.paths.images
    pack_images(images, 1, {f"d1/{number}.jpg": (images / f"d1/{number}.jpg").read_bytes() for number in range(5)})
    monkeypatch.setattr(select_images, "BATCH_ROWS", 2)
    opened: list[str] = []
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" else None)
    assert len(list(list_images(folder.paths))) == 9
    assert opened.count(str(images / "chunk-00001.idx")) == 1
