"""Files beside the shards for loaders: timm's _info.json, Megatron Energon's .nv-meta/ and indexes, and class weights.

They are made from the tables beside the shards and from each shard's index, without reading a shard.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import Any

import numpy as np

from gbif_webdataset.shards.categories import count_classes
from gbif_webdataset.shards.category_map import write_json
from gbif_webdataset.shards.sample_classes import CATEGORY_MAP, CLASSES
from gbif_webdataset.shards.shard_files import (
    CLASS_WEIGHTS,
    ENERGON_INFO,
    ENERGON_SPLITS,
    ENERGON_TYPE,
    SHARD_LIST,
    TIMM_INFO,
)
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms.splits import TRAIN

BETA = 0.999
"""Of the effective number of samples, (1 - beta^n) / (1 - beta); the value that its authors chose for iNaturalist."""
NO_IMAGES = ("cls", "json", "txt")  # extensions
MAX_CLASSES = 1_000_000
"""A user's category map can have any number, such as a key of GBIF: a list up to it would not fit in memory."""
WEIGHT_DIGITS = 6  # so that the last digit does not depend on the machine


def write_loader_files(shards: Path) -> list[Path]:
    """Write LOADER_FILES and an index <shard>.tar.idx of each shard into the folder of finished shards; their paths."""
    with open_csv(shards / SHARD_LIST) as lines:
        listed = [(line["split"], line["shard"], int(line["samples"])) for line in lines]
    extensions: set[str] = set()
    indexes = []
    for _, name, _ in listed:
        offsets, found = read_index((shards / name).with_suffix(".idx"))
        extensions |= found
        indexes.append((shards / name).with_suffix(".tar.idx"))
        with atomic_file(indexes[-1]) as temporary:
            temporary.write_bytes(np.array(offsets, "<u8").tobytes())
    splits = dict.fromkeys(split for split, _, _ in listed)
    by_split = {split: [(name, samples) for own, name, samples in listed if own == split] for split in splits}
    contents = {
        TIMM_INFO: _describe_for_timm(by_split),
        CLASS_WEIGHTS: _weigh_classes(shards),
        ENERGON_INFO: {"shard_counts": {name: samples for _, name, samples in listed}},
        ENERGON_SPLITS: {"split_parts": {split: [name for name, _ in own] for split, own in by_split.items()}},
        ENERGON_TYPE: {
            "sample_type": {"__module__": "megatron.energon", "__class__": "ImageClassificationSample"},
            "field_map": {"image": ",".join(sorted(extensions.difference(NO_IMAGES))), "label": "cls"},
        },
    }
    for name, content in contents.items():
        write_json(content, shards / name)  # JSON is YAML as well
    return [*indexes, *(shards / name for name in contents)]


def read_index(path: Path) -> tuple[list[int], set[str]]:
    """Where each sample starts in a shard, and where the last one ends, in bytes; and the extensions of the members.

    `path` is the shard's index as tar_writer writes it. Headers precede the data of a member, so a sample starts where
    the one before it ends.
    """
    offsets, extensions = [0], set()
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split(" ")
        extensions.update(fields[::4])
        start, size = int(fields[-3]), int(fields[-2])
        offsets.append(start + -(-size // BLOCKSIZE) * BLOCKSIZE)
    return offsets, extensions


def weigh_classes(samples: Sequence[int]) -> dict[str, list[float]]:
    """Weights of classes with so many samples, by method; their mean is 1, and a class without samples has 0.

    inverse_frequency: 1 / n. effective_number: (1 - beta) / (1 - beta^n), of Cui et al. 2019, arXiv:1901.05555.
    """
    weights = {
        "inverse_frequency": [1 / count if count else 0.0 for count in samples],
        "effective_number": [1 / -math.expm1(count * math.log(BETA)) if count else 0.0 for count in samples],
    }
    return {method: _normalize(values) for method, values in weights.items()}


def _normalize(weights: Sequence[float]) -> list[float]:
    mean = sum(weights) / max(1, sum(weight > 0 for weight in weights))
    return [float(f"{weight / mean:.{WEIGHT_DIGITS}g}") if weight else 0.0 for weight in weights]


def _weigh_classes(shards: Path) -> dict[str, Any]:
    """The weights of the classes 0, 1, 2 and so on for their samples in train; 0 for numbers without a label.

    With more than MAX_CLASSES, only numbers that have a label are listed.
    """
    numbers = sorted(json.loads((shards / CATEGORY_MAP).read_text(encoding="utf-8")).values())
    count = count_classes(shards, numbers)
    if count <= MAX_CLASSES:
        numbers = list(range(count))
    with open_csv(shards / CLASSES) as lines:
        in_train = {int(line["class"]): int(line["samples"]) for line in lines if line["split"] == TRAIN}
    samples = [in_train.get(number, 0) for number in numbers]
    return {"beta": BETA, "classes": numbers, "samples": samples, **weigh_classes(samples)}


def _describe_for_timm(by_split: Mapping[str, Sequence[tuple[str, int]]]) -> dict[str, Any]:
    splits = {
        split: {
            "name": split,
            "num_samples": sum(samples for _, samples in shards),
            "filenames": [name for name, _ in shards],
            "shard_lengths": [samples for _, samples in shards],
        }
        for split, shards in by_split.items()
    }
    return {"splits": splits}
