"""Titles of GBIF datasets, from the documents dataset/<datasetKey>.xml of a download."""

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.parsers import expat

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.containers import open_container

MAX_DOCUMENT_BYTES = 1 << 18  # the title is among the first lines
MAX_EXPANSION = 10_000


def read_titles(archive: Path, keys: Iterable[str]) -> dict[str, str]:
    """The titles of datasets by datasetKey, as far as the archive has a document with a title.

    Empty for a tar, because all of it would have to be read, and for an archive that cannot be read.
    """
    titles: dict[str, str] = {}
    if not archive.is_dir() and not (archive.is_file() and zipfile.is_zipfile(archive)):
        return titles
    with contextlib.suppress(ArchiveError, OSError), open_container(archive, MAX_EXPANSION) as files:
        names = set(files.list_files())
        for key in keys:
            if (name := f"dataset/{key}.xml") in names:
                with contextlib.suppress(ArchiveError, OSError), files.open(name) as file:
                    titles[key] = parse_title(file.read(MAX_DOCUMENT_BYTES))
    return {key: title for key, title in titles.items() if title}


def parse_title(document: bytes) -> str:
    """The title of the dataset in an EML document, or in the beginning of one; empty if it has none."""
    parser = expat.ParserCreate()
    path: list[str] = []
    pieces: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        path.append(tag.rpartition(":")[2])

    def end(_: str) -> None:
        if path[1:] == ["dataset", "title"] and "".join(pieces).strip():
            raise _TitleFoundError
        path.pop()

    def add_characters(text: str) -> None:
        if path[1:] == ["dataset", "title"]:
            pieces.append(text)

    def stop(*_: object) -> None:
        raise _TitleFoundError  # entities may expand without limit

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = add_characters, stop
    with contextlib.suppress(_TitleFoundError, expat.ExpatError, ValueError, LookupError):
        parser.Parse(document, False)
    return " ".join("".join(pieces).split())


class _TitleFoundError(Exception):
    """Ends the parsing once the title is complete."""
