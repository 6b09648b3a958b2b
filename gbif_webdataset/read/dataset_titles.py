"""Titles of GBIF datasets, from the documents dataset/<datasetKey>.xml of a download."""

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.archive_xml import BoundedXml, XmlError, decode_xml
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
    beginning = _Beginning()
    with contextlib.suppress(_TitleFoundError, XmlError):
        beginning.parse(decode_xml(document, is_complete=False), is_complete=False)
    return " ".join("".join(beginning.pieces).split())


class _Beginning(BoundedXml):
    """The pieces of the title in an EML document."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def end_element(self) -> None:
        """Stop once the title is complete."""
        if self.path[1:] == ["dataset", "title"] and "".join(self.pieces).strip():
            raise _TitleFoundError

    def add_characters(self, text: str) -> None:
        """Add to the title."""
        if self.path[1:] == ["dataset", "title"]:
            self.pieces.append(text)


class _TitleFoundError(Exception):
    """Ends the parsing once the title is complete."""
