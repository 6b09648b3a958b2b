"""Changes of the packs of a chunk and their index, each in an order in which a kill loses no image."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence

from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.index_file import IndexFile
from gbif_webdataset.storage.pack_files import PackFiles, scan_spans
from gbif_webdataset.storage.pack_index import ADDED, REMOVED, PackedImage, format_line, parse_line

REWRITTEN_SHARE = 0.25
"""Part of a pack that has to be deleted before the pack is written again without it."""


class PackWriter:
    """Adds images to the packs of a chunk, and removes them."""

    def __init__(self, files: PackFiles, index: IndexFile) -> None:
        self._files, self._index = files, index

    def add(self, image_path: str, data: bytes, sha256: str) -> None:
        """Append an image to the last pack. It exists once the index lists it."""
        image = self._files.append(image_path, data, sha256)
        try:
            self._index.add(image)
        except OSError:  # such as a full disk
            self._files.take_back(image)
            raise

    def erase(self, images: Sequence[PackedImage]) -> None:
        """Overwrite the bytes of images, and remove them from the index once this is on the disk."""
        self._index.reserve(images)  # on a full disk, no bytes are overwritten
        for image in sorted(images, key=lambda image: (image.pack, image.offset)):
            self._files.erase(image)
        self._files.sync()
        self._index.remove(images)
        self._index.sync()

    def tidy(self) -> None:
        """Overwrite images that were replaced, and write packs again of which a quarter is deleted."""
        content = self._index.content
        self.erase([image for replaced in content.replaced.values() for image in replaced])
        live: dict[int, list[PackedImage]] = {pack: [] for pack in self._files.list_packs()}
        for image in content.images.values():
            live[image.pack].append(image)
        sizes = {pack: self._files.measure(pack) for pack in live}
        used = {pack: sum(image.end - image.start for image in images) for pack, images in live.items()}
        rewritten = [
            pack for pack in live if not used[pack] or sizes[pack] - used[pack] >= REWRITTEN_SHARE * sizes[pack]
        ]
        for pack in rewritten:
            self._files.leave_pack(pack)  # none of them gets the images of another one
        for pack in rewritten:
            self._rewrite(pack, live[pack])

    def discard(self, image_paths: Iterable[str]) -> None:
        """Remove images that are stored elsewhere. A pack of which a quarter would be overwritten is written again."""
        content = self._index.content
        gone: dict[int, list[PackedImage]] = {}
        for path in image_paths:
            for image in content.find_all(path):
                gone.setdefault(image.pack, []).append(image)
        for pack, images in gone.items():
            if sum(image.end - image.start for image in images) < REWRITTEN_SHARE * self._files.measure(pack):
                self.erase(images)
            else:
                self._rewrite(pack, [image for image in content.images.values() if image.pack == pack], set(images))
        self.tidy()

    def delete_pack(self, pack: int) -> None:
        """Delete a pack whose images are all stored elsewhere."""
        self._index.remove([image for image in self._index.content.list_all() if image.pack == pack])
        self._index.sync()
        self._files.delete(pack)

    def sync(self) -> None:
        """Write everything to the disk."""
        self._files.sync()
        self._index.sync()

    def _rewrite(self, pack: int, images: Iterable[PackedImage], without: Container[PackedImage] = frozenset()) -> None:
        """Append images of a pack to another pack, and delete the pack once this is on the disk."""
        self._files.leave_pack(pack)
        for image in sorted(images, key=lambda image: image.offset):
            if image not in without:
                self.add(image.path, self._files.read(image), image.sha256)
        self.sync()
        self.delete_pack(pack)


def restore_index(files: PackFiles, index: IndexFile) -> None:
    """Write an index again: its intact lines, and the images in the packs whose lines are damaged or missing."""
    listed = {(image.pack, image.start): (image, action) for image, action in _read_lines(files, index)}
    for pack in files.list_packs():
        for span in scan_spans(files.path(pack)):
            if span.is_deleted:
                listed.pop((pack, span.start), None)
            elif (pack, span.start) not in listed:
                image = PackedImage(span.name, pack, span.offset, span.size, "")
                sha256 = hashlib.sha256(files.read(image)).hexdigest()
                listed[pack, span.start] = image._replace(sha256=sha256), ADDED
    with atomic_file(index.path) as temporary, temporary.open("wb") as file:
        for _, (image, action) in sorted(listed.items()):
            file.write(format_line(image, ADDED))
            if action == REMOVED:  # its bytes may still be in the pack
                file.write(format_line(image, REMOVED))
    index.forget()


def _read_lines(files: PackFiles, index: IndexFile) -> Iterator[tuple[PackedImage, str]]:
    """The images and actions of the intact lines about images within their packs, in their order."""
    sizes = files.list_packs()
    with index.path.open("rb") as lines:
        for line in lines:
            if (parsed := parse_line(line)) and parsed[0].offset + parsed[0].size <= sizes.get(parsed[0].pack, 0):
                yield parsed
