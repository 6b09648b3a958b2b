"""Copies of card, page and metadata for a target, where shards may have other names than in the dataset's folder."""

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import yaml
from markupsafe import escape

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.publish.citation import CFF, dump_yaml
from gbif_webdataset.publish.croissant import CROISSANT
from gbif_webdataset.publish.dataset_card import CARD, SHARDS_FOLDER
from gbif_webdataset.publish.description import Shard, read_shards
from gbif_webdataset.publish.loading_code import LoadingCode, write_loading_code
from gbif_webdataset.remote.local_file import LocalFile, RecordedFile
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.shards.shard_files import ENERGON_INFO, ENERGON_SPLITS, SHARD_LIST, TIMM_INFO
from gbif_webdataset.terms.splits import HUB_SPLITS
from gbif_webdataset.upload.files_to_publish import PAGE

LINKS = {"../shards/": "", "../splits/": "", "../": ""}
"""Folders in the links of the page, which has all files beside it at the target."""

FOLDER_IN_CODE = re.compile(r"= load_dataset\((&#34;.*?&#34;), split=|from_directory\((&#34;.*?&#34;)\)\.values")


@dataclass(frozen=True)
class TargetNames:
    """How a target names the shards.

    `shards` are names by path. With `lists_names` the target may also have shards of other versions or of a killed
    attempt, which a range or a wildcard would match. `public_url` is the address from which the target's files can be
    read; empty if it has none.
    """

    shards: Mapping[str, str]
    lists_names: bool
    public_url: str = ""


def adapt_files(files: Mapping[str, RecordedFile], names: TargetNames) -> dict[str, RecordedFile]:
    """The files, with other contents of those that name shards or link to files.

    Raises:
        DamagedFileError: a file differs from its record, or ReportDataset did not write it.
    """
    adapted = dict(files)
    for path, content in _adapt(files, names):
        adapted[path] = LocalFile.of_content(files[path].path, content)
    return adapted


def _adapt(files: Mapping[str, RecordedFile], names: TargetNames) -> Iterator[tuple[str, bytes]]:
    codes = _LoadingCodes(files, names)
    if PAGE in files:
        yield PAGE, _adapt_page(files[PAGE], names, codes)
    if names.public_url or names.lists_names:
        yield CROISSANT, _adapt_croissant(files[CROISSANT], names)
    if not names.lists_names:
        return
    shard_list = _adapt_shard_list(files[SHARD_LIST], names)
    yield SHARD_LIST, shard_list
    yield CARD, _adapt_card(files[CARD], codes)
    citation = files[CFF].read().decode()
    sha256 = LocalFile.of_content(files[SHARD_LIST].path, shard_list).sha256
    yield CFF, citation.replace(files[SHARD_LIST].sha256, sha256).encode()
    for path in (TIMM_INFO, ENERGON_INFO, ENERGON_SPLITS):
        if path in files:
            renamed = _rename(json.loads(files[path].read()), names.shards)
            yield path, (json.dumps(renamed, ensure_ascii=False, indent=1) + "\n").encode()


class _LoadingCodes:
    """The code of the card and the page, as ReportDataset writes it and as it is for the target."""

    def __init__(self, files: Mapping[str, RecordedFile], names: TargetNames) -> None:
        files[SHARD_LIST].read()  # compares it with its record
        self._shards = read_shards(files[SHARD_LIST].path)
        self.shards = [replace(shard, path=names.shards[shard.path]) for shard in self._shards]
        header = yaml.safe_load(_split_card(files[CARD])[0])
        features = header["dataset_info"]["features"]
        self._extensions = [feature["name"] for feature in features if feature.get("dtype") == "image"]
        self._lists_names = names.lists_names
        addresses = {file.address.address for file in files.values() if isinstance(file, StoredFile)}
        self._address = next(iter(addresses), "")

    @property
    def of_card(self) -> LoadingCode:
        """The code that ReportDataset writes into the card, which goes with the shards."""
        return write_loading_code(SHARDS_FOLDER, self._shards, self._extensions)

    def of_page(self, folder: str) -> LoadingCode:
        """The code that ReportDataset writes into the page; the shards, or only their tables, are in a folder."""
        return write_loading_code(folder, self._shards, self._extensions, address=self._address)

    @property
    def adapted(self) -> LoadingCode:
        """The code for a copy of the target in the folder `shards`."""
        return write_loading_code(SHARDS_FOLDER, self.shards, self._extensions, self._lists_names)

    @property
    def paths(self) -> list[tuple[Shard, Shard]]:
        """Each shard with its path in the dataset, and with its name at the target."""
        return list(zip(self._shards, self.shards, strict=True))


def _split_card(card: RecordedFile) -> tuple[str, str]:
    """The YAML of a card's header, and the text after it."""
    _, header, text = card.read().decode().split("---\n", 2)
    return header, text


def _adapt_card(card: RecordedFile, codes: _LoadingCodes) -> bytes:
    header, text = _split_card(card)
    values = yaml.safe_load(header)
    for config in values["configs"]:
        for files in config["data_files"]:
            files["path"] = [shard.path for shard in codes.shards if HUB_SPLITS[shard.split] == files["split"]]
    old, new = codes.of_card, codes.adapted
    for name in ("webdataset", "hugging_face", "hugging_face_stream"):
        text = _replace(card, text, getattr(old, name), getattr(new, name))
    return f"---\n{dump_yaml(values)}---\n{text}".encode()


def _adapt_page(page: RecordedFile, names: TargetNames, codes: _LoadingCodes) -> bytes:
    """The page with links to the files beside it, and code that does not name a folder of this machine."""
    text = page.read().decode()
    found = FOLDER_IN_CODE.search(text)
    folder = json.loads(html.unescape(found[1] or found[2])) if found else SHARDS_FOLDER
    old, new = codes.of_page(folder), codes.adapted
    for name in ("webdataset", "hugging_face"):
        text = _replace(page, text, str(escape(getattr(old, name))), str(escape(getattr(new, name))))
    for start, replacement in LINKS.items():
        text = text.replace(f'href="{start}', f'href="{replacement}')
    if names.lists_names:
        for shard, renamed in codes.paths:
            text = text.replace(f"<td>{shard.path}</td>", f"<td>{renamed.path}</td>")
    return text.encode()


def _adapt_croissant(croissant: RecordedFile, names: TargetNames) -> bytes:
    content = _rename(json.loads(croissant.read()), names.shards)
    if names.public_url:
        for file in content["distribution"]:
            if "contentUrl" in file:
                file["contentUrl"] = f"{names.public_url.rstrip('/')}/{quote(file['contentUrl'])}"
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _adapt_shard_list(shard_list: RecordedFile, names: TargetNames) -> bytes:
    header, *rows = csv.reader(io.StringIO(shard_list.read().decode()))
    place = header.index("shard")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([*row[:place], names.shards[row[place]], *row[place + 1 :]] for row in rows)
    return text.getvalue().encode()


def _rename(content: Any, names: Mapping[str, str]) -> Any:
    """JSON values with the names of shards in place of their paths, also in keys."""
    if isinstance(content, dict):
        return {names.get(key, key): _rename(value, names) for key, value in content.items()}
    if isinstance(content, list):
        return [_rename(value, names) for value in content]
    return names.get(content, content) if isinstance(content, str) else content


def _replace(file: RecordedFile, text: str, old: str, new: str) -> str:
    if old not in text:
        raise DamagedFileError(f"{file.path}: lacks the code that ReportDataset writes; run `make report` again")
    return text.replace(old, new)
