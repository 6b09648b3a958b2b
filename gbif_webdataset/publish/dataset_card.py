"""The dataset card: README.md with a header for the Hugging Face Hub and a text for people."""

import re
from pathlib import Path
from typing import Any

import jinja2

from gbif_webdataset import __version__
from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.formatting import format_count, join_words
from gbif_webdataset.publish import citation
from gbif_webdataset.publish.card_text import (
    describe_groups,
    describe_limitations,
    describe_organisms,
    describe_properties,
    describe_shared,
    escape_markdown,
    mark_name,
)
from gbif_webdataset.publish.description import DatasetDescription, list_public_parameters
from gbif_webdataset.publish.hub_header import describe_for_hub
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.read.provenance import Source, list_texts
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import explain_reason

CARD = "README.md"
SHARDS_FOLDER = "shards"  # for the code in the card, which runs where this folder is
MAX_CLASSES = 50
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
OPTION = re.compile(r"(--[A-Z]\w*-[\w-]+(?: [^\s(]+)?)")


def write_card(path: Path, description: DatasetDescription) -> None:
    """Write the card. Its paths are relative to the folder of the shards."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.publish", "templates"),
        autoescape=False,  # noqa: S701 - this is Markdown; texts of the archive go through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "capitalise": lambda text: text[:1].upper() + text[1:],
        "count": "{:,}".format,
        "name": mark_name,
        "noun": format_count,
        "options": _mark_options,
        "percent": lambda share: f"{100 * share:g} %",
        "plain": escape_markdown,
    }
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
    return {
        "pretty_name": description.title,
        **licence_fields,
        "task_categories": ["image-classification"],
        "tags": ["biodiversity", "biology", "gbif", "image", "webdataset"],
        "size_categories": [find_size_category(sum(description.samples.values()))],
        **describe_for_hub(description),
    }


def find_size_category(samples: int) -> str:
    """The Hub's name for a number of samples, such as `1K<n<10K`."""
    for power, name in enumerate(SIZES):
        if samples < 10 ** (power + 3):
            return f"n<{name}" if not power else f"{SIZES[power - 1]}<n<{name}"
    return f"n>{SIZES[-1]}"


def _describe_members(description: DatasetDescription) -> str:
    """What a sample consists of, in words."""
    members = [f"`<key>.{'/'.join(description.extensions)}`, the image", "`<key>.cls`, the number of its class"]
    if description.json_columns:
        members.append("`<key>.json` with columns of the archive")
    if description.has_captions:
        members.append("`<key>.txt`, its caption")
    return f"{', '.join(members[:-1])}, and {members[-1]}"


def _mark_options(text: str) -> str:
    """A text in which options that users type are code."""
    parts = OPTION.split(text)
    marked = [f"`{part}`" if place % 2 else escape_markdown(part) for place, part in enumerate(parts) if part.strip()]
    return " ".join(marked)


def _list_chosen_parameters(description: DatasetDescription, task: str) -> dict[str, str]:
    """The public parameters of a task that differ from their defaults, without the one that the card begins with."""
    parameters, defaults = description.settings.get(task, {}), description.defaults.get(task, {})
    chosen = {
        name: value
        for name, value in parameters.items()
        if name != "label_column" and (name not in defaults or value != defaults[name])
    }
    emptied = {name: "(empty)" for name, value in chosen.items() if name in defaults and value in ("", None, [])}
    return list_public_parameters({**chosen, **emptied})


def _collect_values(description: DatasetDescription) -> dict[str, Any]:
    """The values in the template."""
    samples, sources = description.samples, description.sources
    dropped = [(line, explain_reason(line.reason)) for line in description.lines if not line.kept]
    return {
        **_collect_contents(description),
        **_collect_origin(description),
        "title": description.title,
        "samples": samples,
        "total": sum(samples.values()),
        "classes": description.classes,
        "taxonomy": description.taxonomy,
        "has_names": any(one.name for one in description.classes),
        "max_classes": MAX_CLASSES,
        "shards": {split: [shard for shard in description.shards if shard.split == split] for split in samples},
        "members": _describe_members(description),
        "code": write_loading_code(SHARDS_FOLDER, description.shards, description.extensions),
        "media": description.media_lines,
        "dropped": dropped,
        "is_of_several": len(sources) > 1,
        "archives": join_words([_name_archive(source) for source in sources]),
        "notes": [note for source in sources for note in source.notes],
        "texts": list_texts(sources),
        "is_of_gbif": description.is_of_gbif,
    }


def _name_archive(source: Source) -> str:
    """The name of an archive with its DOI, in Markdown."""
    doi = f" (DOI {escape_markdown(source.doi)})" if source.doi else ""
    return f"{escape_markdown(source.name)}{doi}"


def _list_origin(source: Source) -> list[tuple[str, str]]:
    """What is known about where an archive comes from."""
    values = {"file": source.archive, "DOI": source.doi, "key": source.key, "published": source.published}
    values |= {"query": source.query, "SHA-256": source.sha256}
    return [(name, value) for name, value in values.items() if value]


def _collect_contents(description: DatasetDescription) -> dict[str, Any]:
    """What the images show, their splits and their licences."""
    coverage, attribution = description.coverage, description.attribution
    not_downloaded = sum(line.images for line in description.lines if line.stage == "fetch" and not line.kept)
    by_trait: dict[str, list[SharedImages]] = {}
    for row in description.shared:
        by_trait.setdefault(row.name, []).append(row)
    split_options = description.settings.get("SplitDataset", {})
    return {
        "findings": description.findings,
        "organisms": describe_organisms(coverage),
        "label_column": description.settings["CreateWebDataset"]["label_column"],
        "properties": list(describe_properties(coverage)),
        "limitations": list(describe_limitations(coverage, not_downloaded)),
        "leakage": [(name, [describe_shared(row) for row in rows]) for name, rows in by_trait.items()],
        "leakage_splits": list(dict.fromkeys(row.split for row in description.shared)),
        "fractions": {
            name: split_options[f"{name}_frac"] for name in ("val", "test") if f"{name}_frac" in split_options
        },
        "groups": describe_groups(split_options.get("group_by", ""), split_options.get("split_by_occurrence", True)),
        "licence": licences.display_name(description.licence),
        "conditions": licences.list_obligations(attribution.codes),
        "licences": description.licence_table,
        "strictest": description.strictest_licences,
        "unknown_texts": attribution.unknown_texts,
        "needs_permission": sum(
            counts.get(code, 0)
            for counts in attribution.licences.values()
            for code in (licences.Licence.UNKNOWN, licences.Licence.ALL_RIGHTS_RESERVED)
        ),
    }


def _collect_origin(description: DatasetDescription) -> dict[str, Any]:
    """The archives, how the dataset was made, and how to cite it."""
    return {
        "version": description.version,
        "published": description.published,
        "software": __version__,
        "last_download": description.coverage.last_download,
        "authors": description.authors,
        "url": description.url,
        "citations": list(map(citation.cite_source, description.sources)),
        "origin": [value for source in description.sources for value in _list_origin(source)],
        "datasets": len(description.attribution.occurrences),
        "parameters": [
            (task, *parameter)
            for task in TASKS
            for parameter in sorted(_list_chosen_parameters(description, task).items())
        ],
    }
