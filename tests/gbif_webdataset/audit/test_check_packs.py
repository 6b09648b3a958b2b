"""The audit of a packed dataset: members against the index, the index against the ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gbif_webdataset.audit.audit_dataset import AuditResult, audit_dataset
from gbif_webdataset.storage.pack_index import PackedImage
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.audited_folder import AuditedFolder
from tests.support.packs import pack_images

PACK, INDEX = "images/chunk-00001/000.tar", "images/chunk-00001.idx"


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    """A dataset whose second chunk is packed."""
    folder = AuditedFolder(tmp_path)
    images = folder.paths.images
    pack_images(images, 1, {f"d1/{number}.jpg": (images / f"d1/{number}.jpg").read_bytes() for number in range(5)})
    shutil.rmtree(images / "d1")
    return folder


def audit(folder: AuditedFolder, repair: bool = False) -> AuditResult:
    return audit_dataset(
        folder.paths, workers=2, repair=repair, is_run_active=lambda: False, progress=lambda count: None
    )


def findings(folder: AuditedFolder) -> list[tuple[str, str, str]]:
    lines = folder.paths.audit_table.read_text().splitlines()[1:]
    return [(file, kind, detail) for file, kind, _, detail in (line.split(",") for line in lines)]


def image_of(folder: AuditedFolder, number: int) -> PackedImage:
    return PackStore(folder.paths.images, 1).index.images[f"d1/{number}.jpg"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_packed_dataset_as_it_was_written_has_no_difference(folder: AuditedFolder) -> None:
    assert audit(folder).counts == {}


def test_after_images_were_replaced_and_deleted_only_these_differ(folder: AuditedFolder) -> None:
    with PackStore(folder.paths.images, 1).writing() as store:
        store.delete(["d1/3.jpg"])
        store.tidy()
    audit(folder)
    assert findings(folder) == [("images/d1/3.jpg", "missing", "")]


def change_bytes(folder: AuditedFolder) -> None:
    flip(folder.paths.output / PACK, image_of(folder, 2).offset)


def change_header(folder: AuditedFolder) -> None:
    flip(folder.paths.output / PACK, image_of(folder, 4).start)


def cut_pack(folder: AuditedFolder) -> None:
    pack = folder.paths.output / PACK
    pack.write_bytes(pack.read_bytes()[: image_of(folder, 4).offset + 1])


def change_line(folder: AuditedFolder) -> None:
    flip(folder.paths.output / INDEX, 3)


def add_bytes(folder: AuditedFolder) -> None:
    with (folder.paths.output / PACK).open("ab") as file:
        file.write(b"x" * 700)


def add_image(folder: AuditedFolder) -> None:
    pack_images(folder.paths.images, 1, {"d1/9.jpg": b"of no ledger"})


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (change_bytes, [("images/d1/2.jpg", "changed", "another SHA-256")]),
        (change_header, [("images/d1/4.jpg", "changed", f"its header in {PACK}")]),
        (cut_pack, [("images/d1/4.jpg", "missing", "")]),
        (
            change_line,
            [
                (INDEX, "unreadable", "lines of the index are damaged or missing"),
                (PACK, "not-recorded", "bytes"),
            ],
        ),
        (add_bytes, [(PACK, "not-recorded", "700 bytes that no line of the index covers")]),
        (add_image, [("images/d1/9.jpg", "not-recorded", "")]),
    ],
)
def test_each_difference_is_found(
    folder: AuditedFolder, damage: Callable[[AuditedFolder], None], expected: list[tuple[str, str, str]]
) -> None:
    damage(folder)
    audit(folder)
    found = sorted(findings(folder))
    assert [(file, kind) for file, kind, _ in found] == [(file, kind) for file, kind, _ in sorted(expected)]
    assert all(text in detail for (*_, text), (*_, detail) in zip(sorted(expected), found, strict=True))


def test_repair_deletes_the_record_so_that_the_next_run_makes_the_index_again(folder: AuditedFolder) -> None:
    change_line(folder)
    assert audit(folder, repair=True).repaired == ["FetchChunk-00001"]
    assert not folder.paths.record("FetchChunk-00001").exists()
    with PackStore(folder.paths.images, 1).writing():
        pass
    assert {f"d1/{number}.jpg" for number in range(5)} == set(PackStore(folder.paths.images, 1).list_paths())


@pytest.mark.parametrize("is_missing", [True, False])
def test_repair_of_an_index_marks_no_image_as_missing(folder: AuditedFolder, is_missing: bool) -> None:
    if is_missing:
        (folder.paths.output / INDEX).unlink()
    else:
        change_line(folder)
    ledger = folder.paths.chunk("fetched", 1).read_bytes()
    assert audit(folder, repair=True).repaired == ["FetchChunk-00001"]
    assert (INDEX, "unreadable", "lines of the index are damaged or missing") in findings(folder)
    assert folder.paths.chunk("fetched", 1).read_bytes() == ledger
