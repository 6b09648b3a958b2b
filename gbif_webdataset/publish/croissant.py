"""The dataset in Croissant, the metadata format of MLCommons: https://docs.mlcommons.org/croissant/."""

import json
from pathlib import Path
from typing import Any

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.attribution import ATTRIBUTION, SCHEMA
from gbif_webdataset.publish.description import Facts
from gbif_webdataset.storage.atomic import atomic_file, file_sha256
from gbif_webdataset.terms import licences

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
ADDRESSES = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "public-domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}
MEDIA_TYPES = {"jpg": "image/jpeg", "tif": "image/tiff"}
TABLE, TARS, IMAGES = "attribution", "shards", "images"
MEANINGS = {
    "split": "train, val or test",
    "key": "the sample's name in its tar, without an ending",
    "label": "what the image shows; category_map.json has its number",
    "image_path": "where the image lay before it went into its shard",
    "identifier": "the URL that the image is from",
    "coreid": "the id of the occurrence that the image is of",
    "datasetKey": "the key of the GBIF dataset that the occurrence is in",
    "licenseCode": "the licence, one of " + ", ".join(licences.Licence),
    "license": "the licence as the publisher wrote it",
    "rightsHolder": "who holds the rights in the image",
    "creator": "who made the image",
    "publisher": "who published the image",
    "references": "a page about the image",
}


def write(path: Path, facts: Facts, attribution: Path) -> None:
    """Write the description, whose paths are relative to the shards' folder, where `attribution` has to lie, too."""
    with atomic_file(path) as temporary:
        text = json.dumps(description(facts, attribution), ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def description(facts: Facts, attribution: Path) -> dict[str, Any]:
    """The dataset, its files, and two sets of records: a row of attribution for each sample, and the images."""
    samples = ", ".join(f"{split} {count:,}" for split, count in facts.samples.items())
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.title,
        "description": f"{sum(facts.samples.values()):,} images of {len(facts.classes):,} classes ({samples}), of "
        f"which each has its own licence, at most {licences.display_name(facts.licence)}.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "citeAs": citation.text(facts.source),
        "license": [_licence(code, facts) for code in facts.uses.codes],
        "creator": [{"@type": "sc:Organization", "name": name} for name in facts.authors or (citation.EVERYONE,)],
        "distribution": [*_table(attribution), *_tars(facts)],
        "recordSet": [_rows(), _images()],
    }
    return found | ({"url": facts.url} if facts.url else {})


def _licence(code: str, facts: Facts) -> str:
    """The address of a licence, whose version is told where there is only one; else its name."""
    if code in ADDRESSES:
        return ADDRESSES[code]
    version = next((version for version in facts.uses.versions if version), "")
    if code.startswith("cc-") and len(facts.uses.versions) == 1 and version:
        return f"https://creativecommons.org/licenses/{code.removeprefix('cc-')}/{version}/"
    return licences.display_name(code)


def _table(attribution: Path) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": ATTRIBUTION,
            "name": ATTRIBUTION,
            "description": "whose each image is",
            "contentUrl": ATTRIBUTION,
            "contentSize": f"{attribution.stat().st_size} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file_sha256(attribution),
        }
    ]


def _tars(facts: Facts) -> list[dict[str, Any]]:
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
        for shard in facts.shards
    ]
    images = {
        "@type": "cr:FileSet",
        "@id": TARS,
        "name": TARS,
        "description": "the images in all shards",
        "containedIn": [{"@id": shard.path} for shard in facts.shards],
        "encodingFormat": [MEDIA_TYPES.get(end, f"image/{end}") for end in facts.extensions],
        "includes": [f"*.{extension}" for extension in facts.extensions],
    }
    return [*tars, images]


def _rows() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{TABLE}/{name}",
            "name": name,
            "description": MEANINGS[name],
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": ATTRIBUTION}, "extract": {"column": name}},
        }
        for name in SCHEMA.names
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": TABLE,
        "name": TABLE,
        "description": "a record for each sample: its split, label, source and licence",
        "key": {"@id": f"{TABLE}/key"},
        "field": fields,
    }


def _images() -> dict[str, Any]:
    # The pattern leaves a key as it is: mlcroissant applies it to what it has applied it to.
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
                "description": MEANINGS["key"],
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
