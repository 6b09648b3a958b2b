"""Where the archive comes from: DOI, title and query of the download, its citations and rights.

ReadArchive writes this beside the manifest, so that the dataset can be cited even without the archive.
"""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.parsers import expat

from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.meta_xml import decode_xml
from gbif_webdataset.storage.atomic import atomic_file

NAME = "source.json"
TEXTS = ("citations.txt", "rights.txt")
METADATA = ("metadata.xml", "eml.xml")  # if meta.xml names none
MAX_METADATA_BYTES = 16 << 20
MAX_TEXT_BYTES = 64 << 20
MAX_CHARACTERS = 100_000  # of one element
DIGEST_BYTES = 1 << 20
MAX_CREATORS = 100
DOI = re.compile(r'(?i)\b10\.\d{4,9}/[^\s"<>?#]{1,200}')
DOWNLOAD_KEY = re.compile(r"\d{7}-\d{15,18}")
QUERY = re.compile(r"(?s)matching the query:(.*?)(?:The dataset includes records|$)")
GBIF_DOWNLOAD = "10.15468/dl."
DECLARES_ENTITIES = "the metadata document declares entities"


@dataclass(frozen=True)
class Source:
    """Where an archive comes from; texts are empty if its metadata document does not have them.

    Attributes:
        archive: name of its file.
        sha256: SHA-256 of its file; empty for a folder.
        key: GBIF's key of the download.
        published: a date, such as 2024-11-19.
        query: the query of the download, from its abstract.
        unread: why the metadata document was not used; empty if it was.
        creators: the people, or otherwise the organizations, who made it.
        texts: those of TEXTS that the archive has.
    """

    archive: str
    sha256: str = ""
    title: str = ""
    doi: str = ""
    key: str = ""
    published: str = ""
    query: str = ""
    unread: str = ""
    creators: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def is_gbif_download(self) -> bool:
        """Whether the DOI is that of a GBIF download."""
        return self.doi.lower().startswith(GBIF_DOWNLOAD)


def write_source(archive: Archive, folder: Path, sha256_of_archive: str) -> Source:
    """Write `folder`/source.json, and copies of the archive's citations.txt and rights.txt."""
    texts = []
    for name in TEXTS:
        content = archive.read_document(name, MAX_TEXT_BYTES + 1)
        if content is not None and len(content) <= MAX_TEXT_BYTES:
            with atomic_file(folder / name) as temporary:
                temporary.write_bytes(content)
            texts.append(name)
    source = Source(archive.path.name, sha256_of_archive, **_parse_metadata(archive), texts=tuple(texts))
    with atomic_file(folder / NAME) as temporary:
        temporary.write_text(json.dumps(asdict(source), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return source


def load_source(folder: Path) -> Source:
    """The content of `folder`/source.json."""
    values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    return Source(**{**values, "texts": tuple(values["texts"]), "creators": tuple(values["creators"])})


def copy_texts(source: Source, manifest: Path, folder: Path) -> list[Path]:
    """Copy citations.txt and rights.txt, if the archive has them, from the manifest's folder; the copies' paths."""
    copies = [folder / name for name in source.texts]
    for copy in copies:
        with atomic_file(copy) as temporary:
            shutil.copyfile(manifest / copy.name, temporary)
    return copies


@contextmanager
def digest_in_background(path: Path) -> Iterator["Future[str]"]:
    """The SHA-256 of a file, computed by a thread during the block; empty for a folder."""
    is_over = threading.Event()
    with ThreadPoolExecutor(1, "sha256") as pool:
        try:
            yield pool.submit(_compute_digest, path, is_over)
        finally:
            is_over.set()


def _compute_digest(path: Path, is_over: threading.Event) -> str:
    if path.is_dir():
        return ""
    digest = sha256()
    with path.open("rb") as file:
        while not is_over.is_set() and (block := file.read(DIGEST_BYTES)):
            digest.update(block)
    return digest.hexdigest()


def _parse_metadata(archive: Archive) -> dict[str, Any]:
    """Values of a Source from the metadata document. A document that cannot be used is not an error."""
    names = [archive.metadata] if archive.metadata else METADATA
    documents = (archive.read_document(name, MAX_METADATA_BYTES + 1) for name in names)
    data = next((data for data in documents if data is not None), None)
    if data is None:
        return {"unread": "the archive has no metadata document"}
    if len(data) > MAX_METADATA_BYTES:
        return {"unread": f"the metadata document is larger than {MAX_METADATA_BYTES >> 20} MiB"}
    try:
        text = decode_xml(data)
        return _collect_values(_Document(text)) if text is not None else {"unread": DECLARES_ENTITIES}
    except (expat.ExpatError, ValueError, LookupError) as error:
        return {"unread": f"the metadata document cannot be parsed ({error})"}


class _Document:
    """The texts of some elements of an EML document, by their path in its element `dataset`.

    No tree is built, because elements may be nested without limit.
    """

    ELEMENTS = ("title", "alternateIdentifier", "pubDate", "creator/organizationName")
    WITH_DESCENDANTS = ("abstract", "creator/individualName")
    MAX_DEPTH = 100

    def __init__(self, text: str) -> None:
        self.package = ""
        self.texts: dict[str, list[str]] = {}
        self._path: list[str] = []
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start_element, self._end_element
        parser.CharacterDataHandler = self._add_characters
        parser.Parse(text.encode(), True)

    def _start_element(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) == self.MAX_DEPTH:
            raise ValueError(f"elements are nested more than {self.MAX_DEPTH} deep")
        self._path.append(tag.rpartition(":")[2])
        if len(self._path) == 1:
            self.package = attributes.get("packageId", "")
        if (path := "/".join(self._path[2:])) in (*self.ELEMENTS, *self.WITH_DESCENDANTS):
            self.texts.setdefault(path, []).append("")
        else:
            self._add_characters(" ")  # separates the elements of a name

    def _end_element(self, tag: str) -> None:
        self._path.pop()

    def _add_characters(self, text: str) -> None:
        path = "/".join(self._path[2:])
        path = next((name for name in self.WITH_DESCENDANTS if path.startswith(f"{name}/")), path)
        found = self.texts.get(path)
        if found and len(found[-1]) < MAX_CHARACTERS:
            found[-1] += text


def _collect_values(document: _Document) -> dict[str, Any]:
    def list_texts(name: str) -> list[str]:
        return [stripped for text in document.texts.get(name, []) if (stripped := text.strip())]

    identifiers = [document.package, *list_texts("alternateIdentifier")]
    dois = [found[0].rstrip(".,;)") for text in identifiers if (found := DOI.search(text))]
    keys = [text for text in identifiers if DOWNLOAD_KEY.fullmatch(text)]
    dates = [found[0] for text in list_texts("pubDate") if (found := re.match(r"\d{4}-\d\d-\d\d", text))]
    queries = [found[1].strip() for text in list_texts("abstract") if (found := QUERY.search(text))]
    creators = list_texts("creator/individualName") or list_texts("creator/organizationName")
    return {
        "title": " ".join(next(iter(list_texts("title")), "").split()),
        "doi": next(iter(dois), ""),
        "key": next(iter(keys), ""),
        "published": next(iter(dates), ""),
        "query": next(iter(queries), ""),
        "creators": tuple(dict.fromkeys(" ".join(creator.split()) for creator in creators[:MAX_CREATORS])),
    }
