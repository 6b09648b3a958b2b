"""Compare the packs of a chunk with their index, and the images in them with what was downloaded."""

import hashlib
from collections.abc import Iterator

from gbif_webdataset.audit.check_file import Expected, Finding
from gbif_webdataset.storage.chunks import index_name, pack_folder_name
from gbif_webdataset.storage.pack_files import END, scan_spans
from gbif_webdataset.storage.pack_store import PackStore
from gbif_webdataset.terms.differences import Difference


def check_packed_image(store: PackStore, expected: Expected) -> Finding | None:
    """The difference of an image in a pack from what was downloaded; None if it has the same bytes."""
    image = store.index.images.get(expected.file.removeprefix("images/"))
    if image is None:
        return expected.differs(Difference.MISSING)
    if expected.bytes is not None and image.size != expected.bytes:
        return expected.differs(Difference.CHANGED, f"{image.size} of {expected.bytes} bytes")
    if expected.sha256 is not None and hashlib.sha256(store.files.read(image)).hexdigest() != expected.sha256:
        return expected.differs(Difference.CHANGED, "another SHA-256")
    return None


def check_packs(store: PackStore, chunk: int, record: str) -> Iterator[Finding]:
    """What is wrong with the packs of a chunk: damaged or missing lines of the index, and bytes that no line covers.

    `record` is the label of the task that writes the index again.
    """
    if store.is_index_damaged():
        detail = "lines of the index are damaged or missing"
        yield Finding(f"images/{index_name(chunk)}", str(Difference.UNREADABLE), record, detail)
    listed = {(image.pack, image.start): image for image in store.index.list_all()}
    for pack, size in store.files.list_packs().items():
        name = f"images/{pack_folder_name(chunk)}/{store.files.path(pack).name}"
        covered = 0
        headers: set[tuple[str, int]] = set()
        for span in scan_spans(store.files.path(pack)):
            image = listed.get((pack, span.start))
            if span.is_deleted or (image and image.end == span.end):
                covered += span.end - span.start
                headers.add((span.name, span.start))
        for (of, start), image in listed.items():
            if of == pack and (image.path, start) not in headers:
                covered += image.end - start
                yield Finding(f"images/{image.path}", str(Difference.CHANGED), record, f"its header in {name}")
        if size - covered > len(END):
            detail = f"{size - covered - len(END)} bytes that no line of the index covers"
            yield Finding(name, str(Difference.NOT_RECORDED), "", detail)
