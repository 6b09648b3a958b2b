"""Where the archive comes from: DOI, title and query of the download, its citations and rights.

ReadArchive writes this beside the manifest, so that the dataset can be cited even without the archive.
"""

import html
import json
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gbif_webdataset.read.archive_xml import BoundedXml, XmlError, decode_xml
from gbif_webdataset.read.dwca import MAX_METADATA_BYTES, Archive
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.downloads import DOWNLOAD_KEY

NAME = "source.json"
TEXTS = ("citations.txt", "rights.txt")
METADATA = ("metadata.xml", "eml.xml")  # if meta.xml names none
MAX_TEXT_BYTES = 64 << 20
MAX_CHARACTERS = 100_000  # of one element
DIGEST_BYTES = 1 << 20
MAX_CREATORS = 100
DOI = re.compile(r'(?i)\b10\.\d{4,9}/[^\s"<>?#]{1,200}')
DOWNLOAD_DOI = re.compile(r"(?i)\b10\.15468/dl\.[a-z0-9]{4,12}\b")
CITED_DOWNLOAD = re.compile(
    r"(?i)occurrence download\s{1,9}(?:https?://(?:dx\.)?doi\.org/|doi:\s?)?(10\.15468/dl\.[a-z0-9]{4,12})\b"
)
BARE_AMPERSAND = re.compile(r"&(?!#\d{1,7};|#x[0-9A-Fa-f]{1,6};|(?:amp|lt|gt|quot|apos);)")
NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
QUERY = re.compile(r"(?s)matching the query:(.*?)(?:The dataset includes records|$)")
GBIF_DOWNLOAD = "10.15468/dl."
NO_DOI = "the DOI of the archive is not known, so the dataset cannot be cited by it; set it with --ReportDataset-doi"


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
        label: what distinguishes the archive from others of the dataset; empty if there is only one.
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
    label: str = ""

    @property
    def notes(self) -> list[str]:
        """What the user has to know of it: that its DOI is missing, and why."""
        if self.doi:
            return []
        name = f"{self.label}: " if self.label else ""
        return [f"{name}{self.unread}; {NO_DOI}" if self.unread else f"{name}{NO_DOI}"]

    @property
    def name(self) -> str:
        """The label, or the name of the file."""
        return self.label or self.archive

    @property
    def is_gbif_download(self) -> bool:
        """Whether the DOI is that of a GBIF download."""
        return self.doi.lower().startswith(GBIF_DOWNLOAD)


def write_sources(archives: Sequence[Archive], folder: Path, digests: Sequence[str]) -> list[Source]:
    """Write `folder`/source.json, citations.txt and rights.txt; where each archive comes from.

    The texts are those of the archives, of several one after another, each below a line with the archive's name.
    `digests` are the SHA-256 of the archives.
    """
    texts = {name: _write_text(archives, folder / name) for name in TEXTS}
    sources = []
    for archive, digest in zip(archives, digests, strict=True):
        own = tuple(name for name in TEXTS if archive in texts[name])
        sources.append(Source(archive.path.name, digest, **_parse_metadata(archive), texts=own, label=archive.label))
    values = [{name: value for name, value in asdict(each).items() if name != "label" or value} for each in sources]
    with atomic_file(folder / NAME) as temporary:
        text = json.dumps(values if len(values) > 1 else values[0], ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    return sources


def note_dois(archives: Sequence[Archive], sources: Sequence[Source]) -> list[str]:
    """Notes on archives without a DOI, and on those of which GBIF states another DOI. `sources` describe them."""
    notes = [note for source in sources for note in source.notes]
    for archive, source in zip(archives, sources, strict=True):
        if (stated := archive.statement.doi) and stated.lower() != source.doi.lower():
            problem = f"it names the DOI {source.doi}, but GBIF states {stated} of this download"
            notes += archive.name_itself([f"{problem}; the dataset cites the first"])
    return notes


def _write_text(archives: Sequence[Archive], path: Path) -> list[Archive]:
    """Write the text with this name of all archives; the archives that have it, not too large."""
    contents = [(archive, archive.read_document(path.name, MAX_TEXT_BYTES + 1)) for archive in archives]
    found = [(archive, text) for archive, text in contents if text is not None and len(text) <= MAX_TEXT_BYTES]
    if found:
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            for archive, text in found:
                file.write(f"# {archive.label}\n\n".encode() + text + b"\n" if archive.label else text)
    return [archive for archive, _ in found]


def list_texts(sources: Iterable[Source]) -> list[str]:
    """Those of TEXTS that an archive has."""
    return [name for name in TEXTS if any(name in source.texts for source in sources)]


def find_download_date(archive: Archive) -> str:
    """The date of the download, such as 2024-11-19, from the metadata document; empty if it states none."""
    return str(_parse_metadata(archive).get("published", ""))


def load_sources(folder: Path) -> tuple[Source, ...]:
    """The content of `folder`/source.json: a description of the archive, or a list of descriptions."""
    content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    return tuple(
        Source(**{**values, "texts": tuple(values["texts"]), "creators": tuple(values["creators"])})
        for values in (content if isinstance(content, list) else [content])
    )


def copy_texts(sources: Iterable[Source], manifest: Path, folder: Path) -> list[Path]:
    """Copy citations.txt and rights.txt, if an archive has them, from the manifest's folder; the copies' paths."""
    copies = [folder / name for name in list_texts(sources)]
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
    """Values of a Source from the metadata document; the DOI otherwise from citations.txt or rights.txt,
    or as GBIF states it.

    A document that cannot be used is not an error.
    """
    names = [archive.metadata] if archive.metadata else METADATA
    documents = (archive.read_document(name, MAX_METADATA_BYTES + 1) for name in names)
    data = next((data for data in documents if data is not None), None)
    if data is None:
        values: dict[str, Any] = {"unread": "the archive has no metadata document"}
    elif len(data) > MAX_METADATA_BYTES:
        values = {"unread": f"the metadata document is larger than {MAX_METADATA_BYTES >> 20} MiB"}
    else:
        values = _parse_document(data)
    if values.get("doi"):
        return values
    texts = [data.decode(errors="replace") if data and "unread" in values else values.get("title", "")]
    texts += [(archive.read_document(name, MAX_METADATA_BYTES) or b"").decode(errors="replace") for name in TEXTS]
    doi = next((doi for text in texts if (doi := find_download_doi(text))), archive.statement.doi)
    return {**values, "doi": doi} if doi else values


def _parse_document(data: bytes) -> dict[str, Any]:
    """Values of a Source from an EML document, as far as it can be parsed."""
    document = _Document()
    try:
        text = decode_xml(data)
    except XmlError as error:
        return {"unread": f"the metadata document {error}"}
    try:
        document.parse(text)
    except XmlError as error:
        problem = f"the metadata document {error}"
        document = _Document()
        try:
            document.parse(NOT_IN_XML.sub(" ", BARE_AMPERSAND.sub("&amp;", text)))
        except XmlError:
            return {"unread": problem, **_search_text(text)}
    return _collect_values(document)


def find_download_doi(text: str) -> str:
    """The DOI of a GBIF download in a text; empty if there is none, or several and none is cited as the download."""
    if cited := CITED_DOWNLOAD.search(text):
        return cited[1]
    dois = {found[0].lower(): found[0] for found in DOWNLOAD_DOI.finditer(text)}
    return next(iter(dois.values())) if len(dois) == 1 else ""


def _search_text(text: str) -> dict[str, Any]:
    """Values of a Source from the text of an EML document that cannot be parsed."""

    def search(pattern: str) -> str:
        found = re.search(pattern, text)
        return " ".join(html.unescape(found[1]).split()) if found else ""

    title = search(r"(?s)<title\b[^<>]{0,300}>([^<]{1,5000})</title>")
    package = search(r"""\bpackageId\s{0,9}=\s{0,9}["']([^"'<>]{1,300})["']""")
    key = DOWNLOAD_KEY.search(text)
    query = QUERY.search(text[:MAX_CHARACTERS])
    return {
        "title": "" if re.search(r"&\w+;", title) else title,
        "doi": _find_doi([package]) or find_download_doi(text),
        "key": key[0] if key else "",
        "published": search(r"<pubDate>\s{0,99}(\d{4}-\d\d-\d\d)"),
        "query": re.split(r"</?(?:para|abstract)\b", html.unescape(query[1]))[0].strip() if query else "",
    }


class _Document(BoundedXml):
    """The texts of some elements of an EML document, by their path in its element `dataset`.

    No tree is built, because elements may be nested without limit.
    """

    ELEMENTS = ("title", "alternateIdentifier", "pubDate", "creator/organizationName")
    WITH_DESCENDANTS = ("abstract", "creator/individualName")

    def __init__(self) -> None:
        super().__init__()
        self.package = ""
        self.texts: dict[str, list[str]] = {}

    def start_element(self, attributes: dict[str, str]) -> None:
        """Start a text, or separate the elements of a name."""
        if len(self.path) == 1:
            self.package = attributes.get("packageId", "")
        if (path := "/".join(self.path[2:])) in (*self.ELEMENTS, *self.WITH_DESCENDANTS):
            self.texts.setdefault(path, []).append("")
        else:
            self.add_characters(" ")

    def add_characters(self, text: str) -> None:
        """Add to the text of the element."""
        path = "/".join(self.path[2:])
        path = next((name for name in self.WITH_DESCENDANTS if path.startswith(f"{name}/")), path)
        found = self.texts.get(path)
        if found and len(found[-1]) < MAX_CHARACTERS:
            found[-1] += text


def _collect_values(document: _Document) -> dict[str, Any]:
    def list_texts(name: str) -> list[str]:
        return [stripped for text in document.texts.get(name, []) if (stripped := text.strip())]

    identifiers = [document.package, *list_texts("alternateIdentifier")]
    keys = [text for text in identifiers if DOWNLOAD_KEY.fullmatch(text)]
    dates = [found[0] for text in list_texts("pubDate") if (found := re.match(r"\d{4}-\d\d-\d\d", text))]
    queries = [found[1].strip() for text in list_texts("abstract") if (found := QUERY.search(text))]
    creators = list_texts("creator/individualName") or list_texts("creator/organizationName")
    return {
        "title": " ".join(next(iter(list_texts("title")), "").split()),
        "doi": _find_doi(identifiers),
        "key": next(iter(keys), ""),
        "published": next(iter(dates), ""),
        "query": next(iter(queries), ""),
        "creators": tuple(dict.fromkeys(" ".join(creator.split()) for creator in creators[:MAX_CREATORS])),
    }


def _find_doi(identifiers: Iterable[str]) -> str:
    return next((found[0].rstrip(".,;)") for text in identifiers if (found := DOI.search(text))), "")
