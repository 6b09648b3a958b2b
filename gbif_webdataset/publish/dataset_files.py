"""What goes with the shards when they are published: attribution, citation, card and metadata.

The folder of the shards is what can be pushed as it is, since a card's and a Croissant's paths are relative to
it and may not lead out of it. So the files lie there, and in report/ as well.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbif_webdataset.account.accounting import Line
from gbif_webdataset.publish import attribution, citation, croissant, dataset_card
from gbif_webdataset.publish.description import Facts, read_classes, read_shards
from gbif_webdataset.read import provenance
from gbif_webdataset.shards.sample import get_extension
from gbif_webdataset.shards.shard_files import PUBLISHED_FILES
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.tables import csv_source, fetch_rows, open_database
from gbif_webdataset.terms.splits import SPLITS, split_paths


@dataclass(frozen=True)
class Places:
    """The folders of a dataset: `manifest`, `splits` and `shards` are read, `report` and `shards` written to."""

    manifest: Path
    splits: Path
    shards: Path
    report: Path
    scratch: Path


@dataclass(frozen=True)
class Named:
    """What the user says of a dataset to be published, empty where nothing."""

    title: str = ""
    authors: tuple[str, ...] = ()
    url: str = ""


def write(
    places: Places,
    named: Named,
    media_lines: int,
    lines: Sequence[Line],
    settings: Mapping[str, Mapping[str, Any]],
) -> tuple[Facts, list[Path]]:
    """Write everything into `report`, and beside the shards what goes with them; the facts, and all that was written.

    Raises MissingPieceError where the splits don't hold what the shards do.
    """
    report, shards = places.report, places.shards
    for name in PUBLISHED_FILES:
        (report / name).unlink(missing_ok=True)
        (shards / name).unlink(missing_ok=True)
    listed = read_shards(shards / "shards.csv")
    samples = {split: sum(shard.samples for shard in listed if shard.split == split) for split in SPLITS}
    recipe = settings["CreateWebDataset"]
    uses = attribution.write(places.splits, recipe["label_column"], samples, report, places.scratch)
    origin = provenance.load_source(places.manifest)
    facts = Facts(
        title=named.title or f"Images of {origin.title or origin.archive}",
        source=origin,
        uses=uses,
        shards=listed,
        classes=read_classes(shards / "classes.csv"),
        media_lines=media_lines,
        lines=lines,
        settings=settings,
        authors=named.authors,
        url=named.url,
        extensions=_extensions(places, recipe["image_format"]),
    )
    texts = provenance.copy_texts(origin, places.manifest, report)
    citation.write_cff(report / citation.CFF, facts, shards / "shards.csv")
    dataset_card.write(report / dataset_card.CARD, facts)
    croissant.write(report / croissant.CROISSANT, facts, report / attribution.ATTRIBUTION)
    names = (citation.CFF, dataset_card.CARD, croissant.CROISSANT, attribution.ATTRIBUTION, attribution.DERIVED_DATASET)
    written = [*texts, *(report / name for name in names)]
    return facts, [*written, *(_beside(path, shards) for path in written)]


def _extensions(places: Places, image_format: str) -> tuple[str, ...]:
    """The endings of the images in the shards."""
    if image_format != "original":
        return (image_format,)
    found: set[str] = set()
    with open_database(places.scratch) as connection:
        for path in split_paths(places.splits).values():
            query = f"SELECT DISTINCT format FROM {csv_source(path)} WHERE format IS NOT NULL"
            found.update(get_extension(name) for (name,) in fetch_rows(connection, query))
    return tuple(sorted(found))


def _beside(path: Path, folder: Path) -> Path:
    """The same file in another folder, by a hard link where the file system has them."""
    target = folder / path.name
    with atomic_file(target) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
    return target
