"""What `--dwca` names: archives on this machine, downloads of GBIF, addresses of zips, requests, and lists of these."""

import codecs
import os.path
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from gbif_webdataset.errors import ParameterError, option_text, shorten_text
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress, is_store_address
from gbif_webdataset.terms.downloads import DOWNLOAD_KEY

OPTION = "--dwca"
ACCEPTED = (
    "give the path of an archive, the key (0001234-260507073636908) or DOI (10.15468/dl.abc123) of a GBIF download, "
    "the https:// or s3:// address of a zip, a request.json, or several of these with commas between them or in a text "
    "file"
)
_DOI = re.compile(r"(?:(?:https?://)?(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_DOWNLOAD_DOI = re.compile(r"10\.\d{4,9}/dl\.[a-z0-9]+")
_GBIF_PAGE = re.compile(
    rf"https?://(?:www|api)\.gbif\.org/(?:[a-z]{{2}}/)?(?:v1/)?occurrence/download/(?:request/)?({DOWNLOAD_KEY.pattern})"
    r"(?:\.zip)?(?:[?#].*)?",
    re.IGNORECASE,
)
_ENDINGS = (".tar.gz", ".tgz", ".zip")
MAX_TEXT_BYTES = 16 << 20
"""The maximum size of a request or a list."""
_HEAD_BYTES = 1 << 16
_MAX_NAME_CHARACTERS = 100
_MAX_QUOTED_CHARACTERS = 200


@dataclass(frozen=True)
class LocalArchive:
    """An archive on this machine: a zip, a tar.gz or a folder."""

    path: Path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def folder_name(self) -> str:
        """The name of the archive without its ending."""
        return _remove_ending(self.path.name)


@dataclass(frozen=True)
class DownloadKey:
    """A download of GBIF by its key, such as 0001234-260507073636908."""

    key: str

    def __str__(self) -> str:
        """Return the key."""
        return self.key

    @property
    def folder_name(self) -> str:
        """The key."""
        return self.key


@dataclass(frozen=True)
class DownloadDoi:
    """A download of GBIF by its DOI in lower case, such as 10.15468/dl.abc123."""

    doi: str

    def __str__(self) -> str:
        """Return the DOI."""
        return self.doi

    @property
    def folder_name(self) -> str:
        """The DOI without its slash."""
        return self.doi.replace("/", "-")


@dataclass(frozen=True)
class ArchiveUrl:
    """The address of a zip: https, or in a bucket or a repository of the Hugging Face Hub."""

    url: str

    def __str__(self) -> str:
        """Return the address."""
        return self.url

    @property
    def folder_name(self) -> str:
        """The last part of the address without `.zip`, or the host, in characters that every file system accepts."""
        parts = urlsplit(self.url)
        name = _remove_ending(unquote(PurePosixPath(parts.path).name)) or parts.hostname or ""
        return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_MAX_NAME_CHARACTERS].strip(".") or "archive"


@dataclass(frozen=True)
class RequestFile:
    """A JSON file with a download request, as `make request` writes it."""

    path: Path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)


RemoteSource = DownloadKey | DownloadDoi | ArchiveUrl | RequestFile
Source = LocalArchive | RemoteSource


def is_download_key(text: str) -> bool:
    """Whether a text has the form of a key that GBIF gives to downloads."""
    return DOWNLOAD_KEY.fullmatch(text) is not None


def parse_sources(value: str) -> tuple[Source, ...]:
    """Return what a value of `--dwca` names, each source once, in the given order.

    An existing path wins over every other reading, also if it contains commas.

    Raises:
        ParameterError: the value, a part of it, or a line of the list that it names is none of these.
    """
    if not value.strip():
        raise ParameterError.at(f'{OPTION} ""', "no archive is named", ACCEPTED)
    found: list[Source] = []
    for part in _split_at_commas(value):
        place = option_text(OPTION, part.strip())
        path = _find_path(part)
        lines = _read_list(path) if path else []
        if path and lines:
            found += _parse_lines(path, lines)
        else:
            found.append(_parse_source(part.strip(), path, place))
    return tuple(dict.fromkeys(found))


def name_folder(value: str) -> str:
    """Return the name of the folder of a dataset for which none is given: that of its archive, key or DOI.

    An archive may be gone: a finished dataset can be audited without it.

    Raises:
        ParameterError: the value names a request or several sources, which name no folder.
    """
    try:
        sources = parse_sources(value)
    except ParameterError:
        return _remove_ending(Path(value).name) or "dataset"
    if len(sources) > 1 or isinstance(sources[0], RequestFile):
        what = "several archives have" if len(sources) > 1 else "a request has"
        problem = f"{what} no default folder for the dataset"
        raise ParameterError.at(option_text(OPTION, value), problem, "add --output FOLDER (with make: OUTPUT=FOLDER)")
    return sources[0].folder_name or "dataset"


def _split_at_commas(value: str) -> Iterator[str]:
    """Yield the parts of a comma-separated list. Parts that form an existing path with their commas are one part."""
    parts = value.split(",")
    first = 0
    while first < len(parts):
        ends = range(len(parts), first + 1, -1)
        joined = (",".join(parts[first:end]) for end in ends)
        end = next((end for end, text in zip(ends, joined, strict=True) if _find_path(text)), first + 1)
        if (part := ",".join(parts[first:end])).strip():
            yield part
        first = end


def _find_path(text: str) -> Path | None:
    """Return the existing path that a text names. Spaces around it do not count unless they are part of the name."""
    for name in (text, text.strip()):
        expanded = os.path.expanduser(name)  # noqa: PTH111  # Path.expanduser raises for an unknown user
        if expanded and os.path.exists(expanded):  # noqa: PTH110  # Path.exists raises for a list that is too long for a name
            return Path(expanded)
    return None


def _is_request(path: Path) -> bool:
    """Whether a file begins as a JSON object, whatever its size. No archive does."""
    head = _read_head(path)
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") and b"\0" not in head


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a file; of a folder, and of a file with the name of an archive, none."""
    if not path.is_file() or path.name.lower().endswith(_ENDINGS):
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _read_list(path: Path) -> list[str]:
    """Return the lines of a text file that lists sources; none for an archive, a request and every other file."""
    head = _read_head(path)
    if not head.strip() or b"\0" in head or path.stat().st_size > MAX_TEXT_BYTES or _is_request(path):
        return []
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return []


def _parse_lines(path: Path, lines: list[str]) -> list[Source]:
    """Return the sources of a list. Empty lines and lines that begin with # do not count."""
    found = [
        _parse_line(text, path.parent, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if (text := line.strip()) and not text.startswith("#")
    ]
    if not found:
        raise ParameterError.at(str(path), "the file lists no archive", ACCEPTED)
    return found


def _parse_line(text: str, folder: Path, place: str) -> Source:
    """Return the source in a line of a list, whose paths are relative to the list's folder."""
    path = _find_path(text) if text.startswith("~") else _find_path(str(folder / text))
    return _parse_source(text, path, f"{place}, {shorten_text(text, _MAX_QUOTED_CHARACTERS)}")


def _parse_source(text: str, path: Path | None, place: str) -> Source:
    """Return the source that a text names; `path` is the existing path that it names."""
    if path:
        return RequestFile(path) if _is_request(path) else LocalArchive(path)
    if page := _GBIF_PAGE.fullmatch(text):
        text = page[1]
    if is_download_key(text):
        return DownloadKey(text)
    if found := _DOI.fullmatch(text):
        return _parse_doi(found[1].lower(), place)
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", text, re.IGNORECASE)
    if scheme and scheme[1].lower() == "https" and _has_plain_host(text):
        return ArchiveUrl(text)
    if is_store_address(text):
        return _parse_store_address(text, place)
    if scheme:
        shown = re.sub("//[^/]*@", "//...@", place)
        raise ParameterError.at(shown, "not an https:// address without a password", ACCEPTED)
    problem = "there is no such file or folder"
    if is_download_key(_remove_ending(text)):
        problem += f" (the key of the download is {_remove_ending(text)}, without .zip)"
    raise ParameterError.at(place, problem, ACCEPTED)


def _parse_doi(doi: str, place: str) -> DownloadDoi:
    if not _DOWNLOAD_DOI.fullmatch(doi):
        problem = "not the DOI of a GBIF download, which looks like 10.15468/dl.abc123"
        remedy = "give the DOI on the page of your download, not that of a dataset or an article"
        raise ParameterError.at(place, problem, remedy)
    return DownloadDoi(doi)


def _parse_store_address(text: str, place: str) -> LocalArchive | ArchiveUrl:
    address = StoreAddress.parse(text, option_name=OPTION)
    if address.scheme != FOLDER and address.prefix:
        return ArchiveUrl(address.address)
    path = Path(address.prefix)
    if address.scheme != FOLDER or not path.exists():
        raise ParameterError.at(place, "there is no such file or folder", ACCEPTED)
    return LocalArchive(path)


def _has_plain_host(url: str) -> bool:
    """Whether an address has a host, and no user or password: everything in `--dwca` is shown and recorded."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and "@" not in parts.netloc and not re.search(r"\s", url)
    except ValueError:
        return False


def _remove_ending(name: str) -> str:
    """Return the name of an archive without its ending."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name
