"""The dataset card: README.md with a header for the Hugging Face Hub and a text for people."""

import re
from pathlib import Path
from typing import Any

import jinja2

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import DatasetDescription, list_public_parameters
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import explain_reason
from gbif_webdataset.terms.splits import HUB_SPLITS

CARD = "README.md"
MAX_CLASSES = 50
MAX_TEXT_CHARACTERS = 2_000  # of a text of the archive or the user
TASKS = ("ReadArchive", "FetchChunk", "VerifyChunk", "DeleteImages", "CleanDataset", "SplitDataset", "CreateWebDataset")
HUB_LICENCES = {
    "cc0-1.0",
    *(f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
    *(f"cc-by-sa-{version}" for version in ("3.0", "4.0")),
    *(f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")),
    *("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
}
"""Licences of https://huggingface.co/docs/hub/repositories-licenses; all others are "other" with a name."""
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")
# Characters with a meaning in Markdown or its dialects, some of them only at the start of a line.
PUNCTUATION = re.compile(r"([\\`*_{}\[\]#!|~$:@^=]|^[-+]|(?<=www)\.)")
NUMBERED = re.compile(r"^(\d+)([.)])")
DOI_URL = re.compile(r"https://doi\.org/[A-Za-z0-9./_%;()-]+")


def write_card(path: Path, description: DatasetDescription) -> None:
    """Write the card. Its paths are relative to the folder of the shards."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.publish", "templates"),
        autoescape=False,  # noqa: S701 - this is Markdown; texts of the archive go through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": escape_markdown, "count": "{:,}".format}
    header = citation.dump_yaml(build_header(description))
    card = environment.get_template("card.md").render(header=header, **_collect_values(description))
    with atomic_file(path) as temporary:
        temporary.write_text(re.sub("\n{3,}", "\n\n", card), encoding="utf-8")


def build_header(description: DatasetDescription) -> dict[str, Any]:
    """The card's metadata, as in https://huggingface.co/docs/hub/datasets-cards."""
    licence = citation.find_spdx_licence(description).lower()
    licence_fields = {"license": licence}
    if licence not in HUB_LICENCES:
        name = f"each-image-its-own-at-most-{description.licence}"
        licence_fields = {"license": "other", "license_name": name}
    files = [{"split": HUB_SPLITS[split], "path": f"{split}/{split}-*.tar"} for split in description.samples]
    return {
        "pretty_name": description.title,
        **licence_fields,
        "task_categories": ["image-classification"],
        "tags": ["biodiversity", "biology", "gbif", "image", "webdataset"],
        "size_categories": [find_size_category(sum(description.samples.values()))],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def find_size_category(samples: int) -> str:
    """The Hub's name for a number of samples, such as `1K<n<10K`."""
    for power, name in enumerate(SIZES):
        if samples < 10 ** (power + 3):
            return f"n<{name}" if not power else f"{SIZES[power - 1]}<n<{name}"
    return f"n>{SIZES[-1]}"


def escape_markdown(text: object, links: bool = False) -> str:
    """A text as one line of Markdown without any formatting; with `links`, URLs of DOIs stay links."""
    line = " ".join(str(text).split())
    line = line[:MAX_TEXT_CHARACTERS] + ("…" if len(line) > MAX_TEXT_CHARACTERS else "")
    if links and (url := DOI_URL.search(line)):
        before, after = line[: url.start()], line[url.end() :]
        return f"{escape_markdown(before)} <{url[0]}> {escape_markdown(after)}".strip()
    escaped = NUMBERED.sub(r"\1\\\2", PUNCTUATION.sub(r"\\\1", line))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _collect_values(description: DatasetDescription) -> dict[str, Any]:
    """The values in the template."""
    samples, source = description.samples, description.source
    origin = {"DOI": source.doi, "key": source.key, "published": source.published, "query": source.query}
    origin["SHA-256"] = source.sha256
    dropped = [(line, explain_reason(line.reason)) for line in description.lines if not line.kept]
    return {
        "title": description.title,
        "samples": samples,
        "classes": description.classes,
        "taxonomy": description.taxonomy,
        "has_names": any(one.name for one in description.classes),
        "max_classes": MAX_CLASSES,
        "licence": licences.display_name(description.licence),
        "conditions": licences.list_obligations(description.attribution.codes),
        "licences": description.licence_table,
        "strictest": description.strictest_licences,
        "unknown_texts": description.attribution.unknown_texts,
        "shards": {split: [shard for shard in description.shards if shard.split == split] for split in samples},
        "extension": "/".join(description.extensions),
        "has_json": bool(description.settings.get("CreateWebDataset", {}).get("columns_to_json")),
        "citation": citation.cite_source(source),
        "source": source,
        "origin": [(name, value) for name, value in origin.items() if value],
        "datasets": len(description.attribution.occurrences),
        "parameters": [
            (task, *parameter)
            for task in TASKS
            for parameter in sorted(list_public_parameters(description.settings.get(task, {})).items())
        ],
        "media": description.media_lines,
        "dropped": dropped,
    }
