"""List and copy the images of a dataset, whichever store it has."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.export.select_images import leads_out, select_images
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import ImageStore, open_store
from gbif_webdataset.storage.paths import DatasetPaths


@dataclass(frozen=True)
class StoredImage:
    """An image of a dataset: its path below images/, its size in bytes, and the store that has it."""

    path: str
    bytes: int
    store: ImageStore


def list_images(paths: DatasetPaths, where: str = "") -> Iterator[StoredImage]:
    """The images that the dataset has and for which `where` is true; see `select_images`."""
    for chunk, batches in groupby(select_images(paths, where), itemgetter(0)):
        store = open_store(paths.images, chunk)
        for name in chain.from_iterable(names for _, names in batches):
            size = store.size(name)
            if size is not None:
                yield StoredImage(name, size, store)


def read_image(paths: DatasetPaths, image_path: str) -> bytes:
    """The bytes of an image.

    Raises:
        ParameterError: the dataset has no image with this path.
    """
    name = image_path.removeprefix("images/")
    try:
        if leads_out(name):
            raise FileNotFoundError(name)
        return ImageReader(paths.images).read(name)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        problem = "the dataset has no such image"
        raise ParameterError.at(image_path, problem, "see the column image_path of the ledgers in fetched/") from None


def export_images(paths: DatasetPaths, folder: Path, where: str = "") -> Iterator[StoredImage]:
    """Copy images to files below `folder`, with their paths below images/; each image, once its copy is complete.

    Raises:
        ParameterError: `folder` is inside the dataset.
    """
    if folder.resolve().is_relative_to(paths.output.resolve()):
        raise ParameterError.at(str(folder), "this folder is inside the dataset", "choose a folder outside it")
    for image in list_images(paths, where):
        with atomic_file(folder / image.path) as temporary:
            temporary.write_bytes(image.store.read(image.path))
        yield image
