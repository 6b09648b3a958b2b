"""What datasets are called, by the documents on them that GBIF puts into a download."""

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.parsers import expat

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.containers import opened

MOST_BYTES = 1 << 18  # of a document that are read; the title is among the first lines
MAX_EXPANSION = 10_000


def titles(archive: Path, keys: Iterable[str]) -> dict[str, str]:
    """The titles of datasets by datasetKey, as far as the archive has dataset/<key>.xml.

    None of a tar, which would have to be read as a whole, nor of an archive, or a document, that can't be read.
    """
    found: dict[str, str] = {}
    if not archive.is_dir() and not (archive.is_file() and zipfile.is_zipfile(archive)):
        return found
    with contextlib.suppress(ArchiveError, OSError), opened(archive, MAX_EXPANSION) as files:
        names = set(files.names())
        for key in keys:
            if (name := f"dataset/{key}.xml") in names:
                with contextlib.suppress(ArchiveError, OSError), files.open(name) as file:
                    found[key] = title(file.read(MOST_BYTES))
    return {key: told for key, told in found.items() if told}


def title(document: bytes) -> str:
    """The title of the dataset that an EML document, or the beginning of one, is on; empty where it tells none."""
    parser = expat.ParserCreate()
    path: list[str] = []
    pieces: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        path.append(tag.rpartition(":")[2])

    def end(_: str) -> None:
        if path[1:] == ["dataset", "title"] and "".join(pieces).strip():
            raise _FoundError
        path.pop()

    def characters(text: str) -> None:
        if path[1:] == ["dataset", "title"]:
            pieces.append(text)

    def entity(*_: object) -> None:
        raise _FoundError  # entities may expand without end

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = characters, entity
    with contextlib.suppress(_FoundError, expat.ExpatError, ValueError, LookupError):
        parser.Parse(document, False)
    return " ".join("".join(pieces).split())


class _FoundError(Exception):
    """The title is read."""
