"""Images that changed or disappeared after they were verified."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_store import restore_indexes
from gbif_webdataset.terms.outcomes import Defect
from gbif_webdataset.terms.splits import split_paths

READERS = 4
BATCH_ROWS = 50_000


def find_changed_images(splits: Path, images: Path) -> dict[str, str]:
    """The Defect of each image of the splits that is missing or differs from what was downloaded, by its path."""
    restore_indexes(images)
    changed: dict[str, str] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for rows in _read_batches(splits):
            reader = ImageReader(images)
            reader.find_places([path for path, _, _ in rows])
            defects = pool.map(partial(_check_image, reader), rows)
            changed |= {path: defect for (path, _, _), defect in zip(rows, defects, strict=True) if defect}
    return changed


def changed_images_error(images: Path, changed: Mapping[str, str]) -> MissingPieceError:
    """The error for images that changed or disappeared after they were verified."""
    counts = Counter(changed.values())
    number = f"{counts[Defect.CHANGED_FILE]:,} changed and {counts[Defect.MISSING_FILE]:,} missing images"
    return MissingPieceError(
        f"{images}: {number} since they were verified, the first is {min(changed)}. They are marked in the ledger, "
        "and no shard was written with them; run the same command again to download them"
    )


def _read_batches(splits: Path) -> Iterator[list[tuple[str, str, str]]]:
    """Path, size and SHA-256 of the images in the splits, in batches."""
    for path in split_paths(splits).values():
        with tables.open_csv(path) as lines:
            rows = ((line["image_path"], line["file_size"], line.get("sha256") or "") for line in lines)
            while batch := list(islice(rows, BATCH_ROWS)):
                yield batch


def _check_image(images: ImageReader, row: tuple[str, str, str]) -> str:
    image_path, size, sha256 = row
    try:
        data = images.read(image_path)
    except FileNotFoundError:
        return Defect.MISSING_FILE
    is_same = len(data) == int(size) and (not sha256 or hashlib.sha256(data).hexdigest() == sha256)
    return "" if is_same else Defect.CHANGED_FILE
