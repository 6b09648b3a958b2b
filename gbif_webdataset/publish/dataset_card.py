"""The dataset card: README.md with a header as the Hugging Face Hub reads it, and a text for people."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import Facts, told
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import MEANINGS
from gbif_webdataset.terms.splits import HUB_SPLITS

CARD = "README.md"
MOST_CLASSES = 50
LONGEST = 2_000  # characters of a text from outside; its file has all of it
TASKS = ("ReadArchive", "FetchChunk", "VerifyChunk", "DeleteImages", "CleanDataset", "SplitDataset", "CreateWebDataset")
# What the Hub knows, https://huggingface.co/docs/hub/repositories-licenses; any other is "other", with a name.
HUB_LICENCES = {
    "cc0-1.0",
    *(f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
    *(f"cc-by-sa-{version}" for version in ("3.0", "4.0")),
    *(f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")),
    *("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
}
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")
# What may mean something to Markdown or its relatives, some of it only where a line begins.
PUNCTUATION = re.compile(r"([\\`*_{}\[\]#!|~$:@^=]|^[-+]|(?<=www)\.)")
NUMBERED = re.compile(r"^(\d+)([.)])")
ADDRESS = re.compile(r"https://doi\.org/[A-Za-z0-9./_%;()-]+")


def write(path: Path, facts: Facts) -> None:
    """Write the card, whose paths are relative to the shards' folder."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gbif_webdataset.publish", "templates"),
        autoescape=False,  # noqa: S701 - this is Markdown; what is from outside goes through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    page = environment.get_template("card.md").render(header=citation.dumped(header(facts)), **_told(facts))
    with atomic_file(path) as temporary:
        temporary.write_text(re.sub("\n{3,}", "\n\n", page), encoding="utf-8")


def header(facts: Facts) -> dict[str, Any]:
    """The card's metadata, https://huggingface.co/docs/hub/datasets-cards."""
    licence = citation.spdx(facts).lower()
    named = {"license": licence}
    if licence not in HUB_LICENCES:
        named = {"license": "other", "license_name": f"each-image-its-own-at-most-{facts.licence}"}
    files = [{"split": HUB_SPLITS[split], "path": f"{split}/{split}-*.tar"} for split in facts.samples]
    return {
        "pretty_name": facts.title,
        **named,
        "task_categories": ["image-classification"],
        "tags": ["biodiversity", "biology", "gbif", "image", "webdataset"],
        "size_categories": [size_category(sum(facts.samples.values()))],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def size_category(samples: int) -> str:
    """The Hub's word for so many."""
    for power, name in enumerate(SIZES):
        if samples < 10 ** (power + 3):
            return f"n<{name}" if not power else f"{SIZES[power - 1]}<n<{name}"
    return f"n>{SIZES[-1]}"


def plain(text: object, links: bool = False) -> str:
    """A text on one line of Markdown that shows what it is and does nothing; with `links` DOIs can be followed."""
    shown = " ".join(str(text).split())
    shown = shown[:LONGEST] + ("…" if len(shown) > LONGEST else "")
    if links and (found := ADDRESS.search(shown)):
        before, after = shown[: found.start()], shown[found.end() :]
        return f"{plain(before)} <{found[0]}> {plain(after)}".strip()
    escaped = NUMBERED.sub(r"\1\\\2", PUNCTUATION.sub(r"\\\1", shown))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _told(facts: Facts) -> dict[str, Any]:
    """What the template wants."""
    samples, source = facts.samples, facts.source
    origin = {"DOI": source.doi, "key": source.key, "published": source.published, "query": source.query}
    origin["SHA-256"] = source.sha256
    return {
        "title": facts.title,
        "samples": samples,
        "classes": facts.classes,
        "named": any(one.name for one in facts.classes),
        "shown": MOST_CLASSES,
        "licence": licences.display_name(facts.licence),
        "conditions": licences.list_obligations(facts.uses.codes),
        "licences": facts.licences,
        "strictest": facts.strictest,
        "shards": {split: [shard for shard in facts.shards if shard.split == split] for split in samples},
        "extension": "/".join(facts.extensions),
        "has_json": bool(facts.settings.get("CreateWebDataset", {}).get("columns_to_json")),
        "citation": citation.text(source),
        "source": source,
        "origin": [(name, value) for name, value in origin.items() if value],
        "datasets": len(facts.uses.occurrences),
        "parameters": _parameters(facts),
        "media": facts.media_lines,
        "dropped": [line for line in facts.lines if not line.kept],
        "meanings": MEANINGS,
    }


def _parameters(facts: Facts) -> Sequence[tuple[str, str, str]]:
    return [(task, name, value) for task in TASKS for name, value in sorted(told(facts.settings.get(task, {})).items())]
