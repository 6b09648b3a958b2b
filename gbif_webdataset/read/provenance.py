"""Where the archive is from: what its metadata document says of the download, and its citations and rights.

ReadArchive keeps this beside the manifest, so that what is made later can be cited when the archive has gone.
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

from gbif_webdataset.read.dwca import Archive, xml_text
from gbif_webdataset.storage.atomic import atomic_file

NAME, SOURCE = "source.json", "manifest/source.json"
AS_THEY_CAME = ("citations.txt", "rights.txt")
METADATA = ("metadata.xml", "eml.xml")  # where meta.xml names none
LARGEST_METADATA = 16 << 20
LARGEST_TEXT = 64 << 20
LONGEST = 100_000  # characters of a text that are kept
AT_ONCE = 1 << 20
MOST_CREATORS = 100
DOI = re.compile(r'(?i)\b10\.\d{4,9}/[^\s"<>?#]{1,200}')
DOWNLOAD_KEY = re.compile(r"\d{7}-\d{15,18}")
QUERY = re.compile(r"(?s)matching the query:(.*?)(?:The dataset includes records|$)")
GBIF_DOWNLOAD = "10.15468/dl."


@dataclass(frozen=True)
class Source:
    """An archive: its file's name and SHA-256 (none of a folder), and what its metadata says; empty where it doesn't.

    `creators` are the people, or else the organizations, who made it; `key` is GBIF's of the download, `published` a
    date (2024-11-19), `query` the predicates as the download's abstract lists them, `unread` why the metadata could not
    be used, `texts` those of AS_THEY_CAME that were there.
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
        """Whether the DOI is one of GBIF's downloads."""
        return self.doi.lower().startswith(GBIF_DOWNLOAD)


def keep(archive: Archive, folder: Path, digest: str) -> Source:
    """Write `folder`/source.json, and citations.txt and rights.txt as the archive has them."""
    texts = []
    for name in AS_THEY_CAME:
        content = archive.document(name, LARGEST_TEXT + 1)
        if content is not None and len(content) <= LARGEST_TEXT:
            with atomic_file(folder / name) as temporary:
                temporary.write_bytes(content)
            texts.append(name)
    source = Source(archive.path.name, digest, **_described(archive), texts=tuple(texts))
    with atomic_file(folder / NAME) as temporary:
        temporary.write_text(json.dumps(asdict(source), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return source


def load(folder: Path) -> Source:
    """What `keep` wrote."""
    values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    return Source(**{**values, "texts": tuple(values["texts"]), "creators": tuple(values["creators"])})


def copy_texts(source: Source, manifest: Path, folder: Path) -> list[Path]:
    """Copy citations.txt and rights.txt, as far as the archive has them, from the manifest's folder; the copies."""
    copies = [folder / name for name in source.texts]
    for copy in copies:
        with atomic_file(copy) as temporary:
            shutil.copyfile(manifest / copy.name, temporary)
    return copies


@contextmanager
def digested(path: Path) -> Iterator["Future[str]"]:
    """The SHA-256 of a file, taken while the block reads it; empty for a folder."""
    given_up = threading.Event()
    with ThreadPoolExecutor(1, "sha256") as pool:
        try:
            yield pool.submit(_digest, path, given_up)
        finally:
            given_up.set()


def _digest(path: Path, given_up: threading.Event) -> str:
    if path.is_dir():
        return ""
    digest = sha256()
    with path.open("rb") as file:
        while not given_up.is_set() and (block := file.read(AT_ONCE)):
            digest.update(block)
    return digest.hexdigest()


def _described(archive: Archive) -> dict[str, Any]:
    """What the metadata document says; `unread` where it can't be used, which stops nothing."""
    names = [archive.metadata] if archive.metadata else METADATA
    data = next((data for name in names if (data := archive.document(name, LARGEST_METADATA + 1)) is not None), None)
    if data is None:
        return {"unread": "the archive has no metadata document"}
    if len(data) > LARGEST_METADATA:
        return {"unread": f"the metadata document is larger than {LARGEST_METADATA >> 20} MiB; it is not trusted"}
    try:
        text = xml_text(data)
        return _facts(_Document(text)) if text is not None else {"unread": "the metadata document declares entities"}
    except (expat.ExpatError, ValueError, LookupError) as error:
        return {"unread": f"the metadata document can't be understood ({error})"}


class _Document:
    """The texts of an EML document that are of use, by the path of their elements within its dataset.

    No tree is built: elements may be nested as deep as a document of its size can.
    """

    WANTED = ("title", "alternateIdentifier", "pubDate", "creator/organizationName")
    WITHIN = ("abstract", "creator/individualName")  # with all elements in them
    DEEPEST = 100

    def __init__(self, text: str) -> None:
        self.package = ""
        self.texts: dict[str, list[str]] = {}
        self._path: list[str] = []
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(text.encode(), True)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) == self.DEEPEST:
            raise ValueError(f"elements are nested more than {self.DEEPEST} deep")
        self._path.append(tag.rpartition(":")[2])
        if len(self._path) == 1:
            self.package = attributes.get("packageId", "")
        if (path := "/".join(self._path[2:])) in (*self.WANTED, *self.WITHIN):
            self.texts.setdefault(path, []).append("")
        else:
            self._characters(" ")  # between the elements of a name

    def _end(self, tag: str) -> None:
        self._path.pop()

    def _characters(self, text: str) -> None:
        path = "/".join(self._path[2:])
        path = next((name for name in self.WITHIN if path.startswith(f"{name}/")), path)
        found = self.texts.get(path)
        if found and len(found[-1]) < LONGEST:
            found[-1] += text


def _facts(document: _Document) -> dict[str, Any]:
    def all_of(name: str) -> list[str]:
        return [told for text in document.texts.get(name, []) if (told := text.strip())]

    identifiers = [document.package, *all_of("alternateIdentifier")]
    dois = [found[0].rstrip(".,;)") for text in identifiers if (found := DOI.search(text))]
    keys = [text for text in identifiers if DOWNLOAD_KEY.fullmatch(text)]
    dates = [found[0] for text in all_of("pubDate") if (found := re.match(r"\d{4}-\d\d-\d\d", text))]
    queries = [found[1].strip() for text in all_of("abstract") if (found := QUERY.search(text))]
    creators = all_of("creator/individualName") or all_of("creator/organizationName")
    return {
        "title": " ".join(next(iter(all_of("title")), "").split()),
        "doi": next(iter(dois), ""),
        "key": next(iter(keys), ""),
        "published": next(iter(dates), ""),
        "query": next(iter(queries), ""),
        "creators": tuple(dict.fromkeys(" ".join(creator.split()) for creator in creators[:MOST_CREATORS])),
    }
