"""croissant.json, metadata in the format of MLCommons: https://docs.mlcommons.org/croissant/."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.attribution import ATTRIBUTION, list_columns
from gbif_webdataset.publish.description import DatasetDescription
from gbif_webdataset.storage.atomic import atomic_file, file_sha256
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.columns import Column

CROISSANT = "croissant.json"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
LICENCE_URLS = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "public-domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}
MEDIA_TYPES = {"jpg": "image/jpeg", "tif": "image/tiff"}
TABLE, TARS, IMAGES = "attribution", "shards", "images"


def write_croissant(path: Path, description: DatasetDescription, attribution: Path) -> None:
    """Write croissant.json. Its paths are relative to the folder of the shards, where `attribution` must be as well."""
    with atomic_file(path) as temporary:
        text = json.dumps(describe_dataset(description, attribution), ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def describe_dataset(description: DatasetDescription, attribution: Path) -> dict[str, Any]:
    """The dataset, its files, and two record sets: the rows of attribution.parquet and the images."""
    samples = ", ".join(f"{split} {count:,}" for split, count in description.samples.items())
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": description.title,
        "description": f"{sum(description.samples.values()):,} images of {len(description.classes):,} classes "
        f"({samples}). Each image has its own licence; the most restrictive one is "
        f"{licences.display_name(description.licence)}. {description.taxonomy}",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": description.version,
        "citeAs": citation.cite_sources(description.sources),
        "license": [_find_licence(code, description) for code in description.attribution.codes],
        "creator": [
            {"@type": "sc:Organization", "name": name} for name in description.authors or (citation.ALL_CREATORS,)
        ],
        "distribution": [_describe_table(attribution), *_describe_shards(description)],
        "recordSet": [_describe_rows(list_columns(description.sources)), _describe_images()],
    }
    optional = {"url": description.url, "datePublished": description.published}
    return content | {name: value for name, value in optional.items() if value}


def _find_licence(code: str, description: DatasetDescription) -> str:
    """The URL of a licence if all licences have one version; else its name."""
    if code in LICENCE_URLS:
        return LICENCE_URLS[code]
    versions = description.attribution.versions
    if code.startswith("cc-") and len(versions) == 1 and versions[0]:
        return f"https://creativecommons.org/licenses/{code.removeprefix('cc-')}/{versions[0]}/"
    return licences.display_name(code)


def _describe_table(attribution: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": ATTRIBUTION,
        "name": ATTRIBUTION,
        "description": "licence, rights holder and source of each image",
        "contentUrl": ATTRIBUTION,
        "contentSize": f"{attribution.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_sha256(attribution),
    }


def _describe_shards(description: DatasetDescription) -> list[dict[str, Any]]:
    tars: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": shard.path,
            "name": shard.path,
            "description": f"{shard.samples:,} samples of {shard.split}",
            "contentUrl": shard.path,
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in description.shards
    ]
    images = {
        "@type": "cr:FileSet",
        "@id": TARS,
        "name": TARS,
        "description": "the images in all shards",
        "containedIn": [{"@id": shard.path} for shard in description.shards],
        "encodingFormat": [MEDIA_TYPES.get(end, f"image/{end}") for end in description.extensions],
        "includes": [f"*.{extension}" for extension in description.extensions],
    }
    return [*tars, images]


def _describe_rows(columns: Sequence[Column]) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{TABLE}/{column.name}",
            "name": column.name,
            "description": column.meaning,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": ATTRIBUTION}, "extract": {"column": column.name}},
        }
        for column in columns
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": TABLE,
        "name": TABLE,
        "description": "a record for each sample: its split, label, source and licence",
        "key": {"@id": f"{TABLE}/key"},
        "field": fields,
    }


def _describe_images() -> dict[str, Any]:
    # mlcroissant applies the pattern twice, so it must leave a key unchanged.
    key = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": r"^(.+?)(?:\.[^./]+)?$"}}
    return {
        "@type": "cr:RecordSet",
        "@id": IMAGES,
        "name": IMAGES,
        "description": "the image of each sample, by its key",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{IMAGES}/key",
                "name": "key",
                "description": "the sample's key in its shard",
                "dataType": "sc:Text",
                "source": {"fileSet": {"@id": TARS}, **key},
                "references": {"field": {"@id": f"{TABLE}/key"}},
            },
            {
                "@type": "cr:Field",
                "@id": f"{IMAGES}/image",
                "name": "image",
                "description": "the image",
                "dataType": "sc:ImageObject",
                "source": {"fileSet": {"@id": TARS}, "extract": {"fileProperty": "content"}},
            },
        ],
    }
