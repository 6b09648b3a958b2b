"""Python code that loads a dataset: its WebDataset and Hugging Face lines, for the terminal, the card and the page."""

import glob
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from gbif_webdataset.publish.description import Shard
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.terms.splits import HUB_SPLITS, SPLITS, TRAIN

READ_COMMANDS = {
    "s3": "aws s3 cp {address} -",
    "gs": "gcloud storage cat {address}",
    "az": "az storage blob download --container-name {container} --name {name} --no-progress --output none "
    "--file /dev/stdout",
}
"""The command of each cloud's own tools that writes an object to the standard output."""


@dataclass(frozen=True)
class LoadingCode:
    """Code that loads one dataset. It works where the path of the folder of the shards is valid.

    webdataset_line, hugging_face_line: one expression each, for the terminal.
    webdataset: a block that opens all splits with webdataset and reads train.
    hugging_face: a block that loads train from the folder with Hugging Face's `datasets`, with the card's types.
    hugging_face_stream: a block that does the same with `load_dataset("webdataset", ...)`, without a copy in the cache.
        If the shards are at an address, hugging_face is the same.

    If train has no samples, the first split that has some takes its place.
    """

    webdataset_line: str
    hugging_face_line: str
    webdataset: str
    hugging_face: str
    hugging_face_stream: str


def write_loading_code(
    folder: str, shards: Sequence[Shard], extensions: Sequence[str], lists_names: bool = False, address: str = ""
) -> LoadingCode:
    """The code for a dataset with these shards, at least one.

    `folder` is the folder of the shards: absolute, or relative to the folder where the code will run. `extensions` are
    those of the images. If there are several, Hugging Face has a column for each; the code merges them to `image`. With
    `lists_names` the folder may have other shards as well, such as those of an earlier version. With `address` the
    shards are there, and the folder has only their tables and the card.
    """
    by_split = {split: [shard.path for shard in shards if shard.split == split] for split in SPLITS}
    store = StoreAddress.parse(address) if address else None
    paths = {split: collapse_range(paths) for split, paths in by_split.items() if paths}
    place = _escape_braces(folder)
    urls = {split: _read_from(store, path) if store else f"{place}/{path}" for split, path in paths.items()}
    split = next(iter(urls))
    if store:
        place = glob.escape(store.prefix if store.scheme == FOLDER else store.address)
        files = _quote(f"{place}/{split}/{split}-??????.tar")  # names with a digest are longer
        line = f'load_dataset("webdataset", data_files={{"train": {files}}}, split="train")'
        hugging_face = stream = "\n".join(_write_generator(folder, split, urls[split], extensions))
    else:
        line = f"load_dataset({_quote(folder)}, split={_quote(HUB_SPLITS[split])})"
        hugging_face = "\n".join(_write_hugging_face(folder, split, extensions))
        stream = "\n".join(_write_stream(folder, split, extensions, lists_names))
    return LoadingCode(
        webdataset_line=_open_webdataset(split, urls[split]),
        hugging_face_line=line,
        webdataset="\n".join(_write_webdataset(urls, extensions)),
        hugging_face=hugging_face,
        hugging_face_stream=stream,
    )


def _read_from(store: StoreAddress, path: str) -> str:
    """What webdataset opens for a path at an address: a file, or a command of the cloud's own tools."""
    if store.scheme == FOLDER:
        return f"{_escape_braces(store.prefix)}/{path}"
    name = f"{_escape_braces(store.prefix)}/{path}" if store.prefix else path
    values = {"address": f"{_escape_braces(store.address)}/{path}", "container": store.container, "name": name}
    is_plain = shlex.quote(store.address) == store.address  # braces, which webdataset expands, need no quotes then
    quoted = values if is_plain else {name: shlex.quote(value) for name, value in values.items()}
    return f"pipe:{READ_COMMANDS[store.scheme].format(**quoted)}"


def _escape_braces(text: str) -> str:
    """A text that webdataset, which expands braces, reads as it is."""
    return re.sub(r"[\\{}]", r"\\\g<0>", text)


def collapse_range(paths: Sequence[str]) -> str:
    """The paths of a split's shards in the notation of webdataset: `train/train-{000000..000007}.tar`.

    One path stays as it is. Shards whose names have more than a number are listed:
    `train/train-{{000000..000003},000004-1a2b3c4d}.tar`.
    """
    if len(paths) == 1:
        return paths[0]
    stem = paths[0].rpartition("/")[2].partition("-")[0]
    start = f"{paths[0].rpartition('/')[0]}/{stem}-"
    names = [path.removeprefix(start).removesuffix(".tar") for path in paths]
    parts = []
    for _, run in groupby(enumerate(names), key=_find_run):
        first, *_, last = [name for _, name in run] * 2
        parts.append(first if first == last else f"{{{first}..{last}}}")
    return f"{start}{parts[0] if len(parts) == 1 else '{' + ','.join(parts) + '}'}.tar"


def _find_run(numbered: tuple[int, str]) -> tuple[int, str]:
    """A key that is the same for neighbours whose names are consecutive numbers."""
    place, name = numbered
    return (int(name) - place, "") if name.isdigit() else (place, name)


def _quote(text: str) -> str:
    """A text as a string of Python in double quotes."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _open_webdataset(split: str, url: str) -> str:
    return f"wds.WebDataset({_quote(url)}, shardshuffle={100 if split == TRAIN else False})"


def _write_webdataset(urls: dict[str, str], extensions: Sequence[str]) -> Iterator[str]:
    yield "import webdataset as wds"
    yield ""
    yield from (f"{split} = {_open_webdataset(split, url)}" for split, url in urls.items())
    split = next(iter(urls))
    shuffle = ".shuffle(1000)" if split == TRAIN else ""
    yield f'for image, label in {split}{shuffle}.decode("pil").to_tuple({_quote(";".join(extensions))}, "cls"):'
    yield "    ..."


def _write_hugging_face(folder: str, split: str, extensions: Sequence[str]) -> Iterator[str]:
    yield f"from datasets import {_list_names(extensions, 'load_dataset')}"
    yield ""
    yield f"{split} = load_dataset({_quote(folder)}, split={_quote(HUB_SPLITS[split])})"
    yield from _write_merge(split, extensions, is_stored=True)


def _write_stream(folder: str, split: str, extensions: Sequence[str], lists_names: bool) -> Iterator[str]:
    files = _quote(f"{glob.escape(folder)}/{split}/{split}-*.tar")
    if lists_names:
        files = f'[f"{{folder}}/{{row[\'shard\']}}" for row in rows if row["split"] == "{split}"]'
        yield "import csv"
        yield ""
    yield f"from datasets import {_list_names(extensions, 'load_dataset, load_dataset_builder')}"
    yield ""
    if lists_names:
        yield f"folder = {_quote(folder)}"
        yield 'rows = csv.DictReader(open(f"{folder}/shards.csv"))'
    yield f"features = load_dataset_builder({_quote(folder)}).info.features  # types, from the header of README.md"
    yield f"{split} = load_dataset("
    yield f'    "webdataset", data_files={{"train": {files}}},'
    yield '    split="train", features=features, streaming=True,'
    yield ")"
    yield from _write_merge(split, extensions, is_stored=False)


def _write_generator(folder: str, split: str, url: str, extensions: Sequence[str]) -> Iterator[str]:
    """Lines that let webdataset read: `datasets` cannot stream tars of s3:// (5.2 gives s3fs an option it lacks)."""
    yield "import webdataset as wds"
    yield f"from datasets import {_list_names(extensions, 'IterableDataset')}"
    yield "from datasets.info import DatasetInfosDict"
    yield ""
    yield f"[info] = DatasetInfosDict.from_directory({_quote(folder)}).values()"
    yield "features = info.features  # types, from the header of README.md"
    yield f"samples = {_open_webdataset(split, url)}.decode()"
    yield f"{split} = IterableDataset.from_generator("
    yield "    lambda: ({name: sample.get(name) for name in features} for sample in samples), features=features"
    yield ")"
    yield from _write_merge(split, extensions, is_stored=False)


def _list_names(extensions: Sequence[str], names: str) -> str:
    return f"Features, Image, {names}" if len(extensions) > 1 else names


def _write_merge(split: str, extensions: Sequence[str], is_stored: bool) -> Iterator[str]:
    """Lines that merge the columns of images, of which each row fills one.

    A dataset that is stored in the cache would encode decoded images again, so it merges their bytes.
    """
    if len(extensions) == 1:
        return
    values = " or ".join(f"row[{_quote(extension)}]" for extension in extensions)
    yield f"formats = {json.dumps(list(extensions))}  # each row has its image in one of these columns"
    yield f"types = {{name: type for name, type in {split}.features.items() if name not in formats}}"
    if is_stored:
        yield "for name in formats:"
        yield f"    {split} = {split}.cast_column(name, Image(decode=False))"
    yield f"{split} = {split}.map("
    yield f'    lambda row: {{"image": {values}}},'
    yield "    remove_columns=formats,"
    yield '    features=Features({"image": Image(), **types}),'
    yield ")"
