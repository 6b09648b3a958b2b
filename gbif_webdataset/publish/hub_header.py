"""The part of the card's header that Hugging Face's `datasets` reads: files, types and numbers of samples.

Without it, `datasets` infers the types from the first five samples of a split, and fails or loses images where others
differ. It caches a dataset by the name of its configuration and of its folder only, so the name has digests of both.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

from gbif_webdataset.publish.description import DatasetDescription
from gbif_webdataset.terms.columns import INT64, REAL, TEXT, TRUTH
from gbif_webdataset.terms.splits import HUB_SPLITS
from gbif_webdataset.terms.value_types import find_value_type

MAX_NAMED_CLASSES = 10_000
"""The header has 0.7 MB for 20,000 classes. The Hub refuses large ones with HTTP 413 (huggingface/datasets#7392)."""
HUB_TYPES = {TEXT: "string", INT64: "int64", REAL: "float64", TRUTH: "bool"}


def describe_for_hub(description: DatasetDescription) -> dict[str, Any]:
    """The fields `configs` and `dataset_info` of the header; paths are relative to the folder of the shards."""
    features = _list_features(description)
    digest = hashlib.sha256(json.dumps(features, sort_keys=True).encode()).hexdigest()
    name = f"shards-{description.shards_sha256[:16]}-{digest[:8]}"
    splits = [split for split in HUB_SPLITS if split in description.samples]
    sizes = {split: sum(shard.bytes for shard in description.shards if shard.split == split) for split in splits}
    return {
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": HUB_SPLITS[split], "path": f"{split}/{split}-*.tar"} for split in splits],
            }
        ],
        "dataset_info": {
            "config_name": name,
            "features": features,
            "splits": [
                {"name": HUB_SPLITS[split], "num_bytes": sizes[split], "num_examples": description.samples[split]}
                for split in splits
            ],
        },
    }


def name_classes(categories: Mapping[str, int], names: Mapping[str, str], classes: int) -> list[str]:
    """The names of the classes 0 to `classes` - 1: the name of the label in `names` or, without one, the label.

    A name of several classes is followed by the label. A number without a label has a name such as `unused 7`. The list
    is empty if there are more than MAX_NAMED_CLASSES: then the classes are numbers without names.
    """
    if classes > MAX_NAMED_CLASSES:
        return []
    counts = Counter(names.get(label, label) for label in categories)
    chosen = {
        label: name if counts[name := names.get(label, label)] == 1 else f"{name} ({label})" for label in categories
    }
    if len(set(chosen.values())) < len(categories):
        chosen = {label: label for label in categories}
    named = {number: chosen[label] for label, number in categories.items()}
    taken = set(chosen.values())
    return [named[number] if number in named else _name_unused(number, taken) for number in range(classes)]


def _name_unused(number: int, taken: Set[str]) -> str:
    """A name for a number without a label that is no name of a class."""
    name = f"unused {number}"
    while name in taken:
        name += " (no label)"
    return name


def _list_features(description: DatasetDescription) -> list[dict[str, Any]]:
    """The columns of `datasets` with their types. Any of them may be null, except the class."""
    class_label = {"names": {str(number): name for number, name in enumerate(description.class_names)}}
    columns: dict[str, dict[str, Any]] = {extension: {"dtype": "image"} for extension in description.extensions}
    columns["cls"] = {"dtype": {"class_label": class_label} if description.class_names else "int64"}
    if description.json_columns:
        fields = [{"name": name, "dtype": HUB_TYPES[find_value_type(name)]} for name in description.json_columns]
        columns["json"] = {"struct": fields}
    if description.has_captions:
        columns["txt"] = {"dtype": "string"}
    columns |= {"__key__": {"dtype": "string"}, "__url__": {"dtype": "string"}}
    return [{"name": name, **kind} for name, kind in columns.items()]
