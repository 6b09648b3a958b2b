"""How the dataset is cited, from the metadata of the archive."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from gbif_webdataset.formatting import join_words
from gbif_webdataset.publish.description import DatasetDescription
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.storage.atomic import atomic_file, file_sha256
from gbif_webdataset.terms import licences

CFF = "CITATION.cff"
GBIF = "GBIF.org"
ALL_CREATORS = "The creators and rights holders of the images, who are named in attribution.parquet"
RESOLVER = "https://doi.org/"
CFF_DOI = re.compile(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")  # as in the schema of CITATION.cff


def make_doi_url(doi: str) -> str:
    """The URL of a DOI."""
    return RESOLVER + quote(doi, safe="/.-_;()")


def cite_source(source: Source) -> str:
    """The citation of an archive. For a GBIF download it follows https://www.gbif.org/citation-guidelines."""
    if source.is_gbif_download:
        day = f" ({_spell_out(source.published)})" if source.published else ""
        return f"{GBIF}{day} GBIF Occurrence Download {make_doi_url(source.doi)}"
    creators = ", ".join(source.creators)
    year = f"({source.published[:4]})" if source.published else ""
    head = " ".join(part for part in (creators, year) if part)
    parts = [head, source.title, make_doi_url(source.doi) if source.doi else ""]
    if not any((source.title, source.doi)):
        parts.append(f"Darwin Core Archive {source.archive}" + (f", SHA-256 {source.sha256}" if source.sha256 else ""))
    return ". ".join(part.rstrip(".") for part in parts if part)


def cite_sources(sources: Sequence[Source]) -> str:
    """The citations of all archives in one text."""
    return "; ".join(map(cite_source, sources))


def find_spdx_licence(description: DatasetDescription) -> str:
    """The SPDX identifier of the licence, if all images have the same licence in the same version; else empty."""
    attribution = description.attribution
    if len(attribution.codes) != 1 or len(attribution.versions) != 1:
        return ""
    [code], [version] = attribution.codes, attribution.versions
    if code == "cc0" and version in ("", "1.0"):
        return "CC0-1.0"
    is_licence = code.startswith("cc-") and version in ("1.0", "2.0", "2.5", "3.0", "4.0")
    return f"{code.upper()}-{version}" if is_licence else ""


def write_cff(path: Path, description: DatasetDescription, shards: Path) -> None:
    """Write the dataset's CITATION.cff (version 1.2.0); `shards` is its shards.csv.

    The authors are those that the user gives, or else the authors of the images as a group.
    """
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please also cite the references below. If you show images, please credit "
        "the people whom attribution.parquet names for them.",
        "type": "dataset",
        "title": description.title,
        "version": description.version,
        "authors": [{"name": name} for name in description.authors or (ALL_CREATORS,)],
        "keywords": ["biodiversity", "Darwin Core", "image classification", "WebDataset"],
        "identifiers": [
            {"type": "other", "value": f"sha256:{file_sha256(shards)}", "description": "SHA-256 of shards.csv"}
        ],
    }
    if description.url:
        content["url"] = description.url
    if description.published:
        content["date-released"] = description.published
    if licence := find_spdx_licence(description):
        content["license"] = licence
    else:
        names = [licences.display_name(code) for code in description.attribution.codes]
        content["abstract"] = f"The images are under {join_words(names)}."
    content["references"] = list(map(_describe_source, description.sources))
    with atomic_file(path) as temporary:
        temporary.write_text(dump_yaml(content), encoding="utf-8")


def dump_yaml(content: Any) -> str:
    """YAML that reads back as the same values, whatever the texts contain."""
    return str(yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000))


def _describe_source(source: Source) -> dict[str, Any]:
    creators = (GBIF,) if source.is_gbif_download else source.creators or ("unknown",)
    reference: dict[str, Any] = {
        "type": "data",
        "title": source.title or f"Darwin Core Archive {source.archive}",
        "authors": [{"name": name} for name in creators],
        "filename": source.archive,
    }
    if source.doi:
        reference["url"] = make_doi_url(source.doi)
    if notes := source.notes:
        reference["notes"] = " ".join(notes)
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


def _spell_out(day: str) -> str:
    """2024-11-19 as 19 November 2024; a date that does not exist is left as it is."""
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{parsed.day} {parsed:%B %Y}"
