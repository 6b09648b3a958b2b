"""How the dataset is cited, from what the archive says of itself."""

import re
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from gbif_webdataset.publish.description import Facts
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.storage.atomic import atomic_file, file_sha256
from gbif_webdataset.terms import licences

CFF = "CITATION.cff"
GBIF = "GBIF.org"
EVERYONE = "The creators and rights holders of the images, who are named in attribution.parquet"
RESOLVER = "https://doi.org/"
CFF_DOI = re.compile(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")  # as the schema of CITATION.cff has it


def address(doi: str) -> str:
    """The URL of a DOI."""
    return RESOLVER + quote(doi, safe="/.-_;()")


def text(source: Source) -> str:
    """The citation of an archive; of a download of GBIF's as https://www.gbif.org/citation-guidelines has it."""
    if source.is_gbif_download:
        day = f" ({_in_words(source.published)})" if source.published else ""
        return f"{GBIF}{day} GBIF Occurrence Download {address(source.doi)}"
    makers = ", ".join(source.creators)
    year = f"({source.published[:4]})" if source.published else ""
    head = " ".join(part for part in (makers, year) if part)
    parts = [head, source.title, address(source.doi) if source.doi else ""]
    if not any((source.title, source.doi)):
        parts.append(f"Darwin Core Archive {source.archive}" + (f", SHA-256 {source.sha256}" if source.sha256 else ""))
    return ". ".join(part.rstrip(".") for part in parts if part)


def spdx(facts: Facts) -> str:
    """The SPDX identifier of the one licence that all images are under in one version; empty where there is none."""
    if len(facts.uses.codes) != 1 or len(facts.uses.versions) != 1:
        return ""
    code, [version] = facts.licence, facts.uses.versions
    if code == "cc0" and version in ("", "1.0"):
        return "CC0-1.0"
    is_licence = code.startswith("cc-") and version in ("1.0", "2.0", "2.5", "3.0", "4.0")
    return f"{code.upper()}-{version}" if is_licence else ""


def write_cff(path: Path, facts: Facts, shards: Path) -> None:
    """Write a CITATION.cff (1.2.0) of the dataset, whose listing of shards is the file `shards`.

    Authors are those whom the user names, or else the images' own, as a whole.
    """
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite the references below as well, and credit those whom "
        "attribution.parquet names for the images that you show.",
        "type": "dataset",
        "title": facts.title,
        "authors": [{"name": name} for name in facts.authors or (EVERYONE,)],
        "keywords": ["biodiversity", "Darwin Core", "image classification", "WebDataset"],
        "identifiers": [
            {"type": "other", "value": f"sha256:{file_sha256(shards)}", "description": "SHA-256 of shards.csv"}
        ],
    }
    if facts.url:
        content["url"] = facts.url
    if licence := spdx(facts):
        content["license"] = licence
    else:
        content["abstract"] = (
            f"The images are under {_and([licences.display_name(code) for code in facts.uses.codes])}."
        )
    content["references"] = [_reference(facts.source)]
    with atomic_file(path) as temporary:
        temporary.write_text(dumped(content), encoding="utf-8")


def dumped(content: Any) -> str:
    """YAML in which every text stays what it is."""
    return str(yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000))


def _reference(source: Source) -> dict[str, Any]:
    makers = (GBIF,) if source.is_gbif_download else source.creators or ("unknown",)
    reference: dict[str, Any] = {
        "type": "data",
        "title": source.title or f"Darwin Core Archive {source.archive}",
        "authors": [{"name": name} for name in makers],
        "filename": source.archive,
    }
    if source.doi:
        reference["url"] = address(source.doi)
    if CFF_DOI.fullmatch(source.doi):
        reference["doi"] = source.doi
    if source.published:
        reference["date-published"] = source.published
    identifiers = []
    if source.key:
        identifiers.append({"type": "other", "value": source.key, "description": "key of the GBIF download"})
    if source.sha256:
        value = f"sha256:{source.sha256}"
        identifiers.append({"type": "other", "value": value, "description": "SHA-256 of the archive"})
    return reference | ({"identifiers": identifiers} if identifiers else {})


def _in_words(day: str) -> str:
    """2024-11-19 as 19 November 2024; as it stands where there is no such day."""
    try:
        found = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{found.day} {found:%B %Y}"


def _and(words: list[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
