"""Everything that is published with the shards: attribution, citation, card and metadata.

The paths in a card and in a Croissant file are relative to its own folder and must not lead out of it. So the files
are in the folder of the shards, which can be uploaded as it is, and in report/ as well.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.publish import attribution, citation, croissant, dataset_card
from gbif_webdataset.publish.description import DatasetDescription, Publication, read_classes, read_rank, read_shards
from gbif_webdataset.read import provenance
from gbif_webdataset.shards.sample import get_extension
from gbif_webdataset.shards.shard_files import PUBLISHED_FILES
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.manifest_checklist import load_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.tables import csv_source, fetch_rows, open_database
from gbif_webdataset.terms.splits import SPLITS, split_paths


def write_dataset_files(
    paths: DatasetPaths,
    publication: Publication,
    media_lines: int,
    lines: Sequence[AccountLine],
    settings: Mapping[str, Mapping[str, Any]],
) -> tuple[DatasetDescription, list[Path]]:
    """Write the files into report/ and beside the shards; the dataset's description and all files written.

    Raises:
        MissingPieceError: the splits do not have the samples of the shards.
    """
    report, shards = paths.report, paths.shards
    for name in PUBLISHED_FILES:
        (report / name).unlink(missing_ok=True)
        (shards / name).unlink(missing_ok=True)
    listed = read_shards(paths.shard_list)
    samples = {split: sum(shard.samples for shard in listed if shard.split == split) for split in SPLITS}
    source, recipe = provenance.load_source(paths.manifest), settings["CreateWebDataset"]
    source = replace(source, doi=publication.doi or source.doi)
    description = DatasetDescription(
        title=publication.title or f"Images of {source.title or source.archive}",
        source=source,
        attribution=attribution.write_attribution(paths, recipe["label_column"], samples),
        shards=listed,
        classes=read_classes(paths.classes),
        media_lines=media_lines,
        lines=lines,
        settings=settings,
        authors=publication.authors,
        url=publication.url,
        extensions=_find_extensions(paths, recipe["image_format"]),
        label_column=recipe["label_column"],
        rank=read_rank(paths.classes),
        checklist=load_checklist(paths),
    )
    texts = provenance.copy_texts(source, paths.manifest, report)
    citation.write_cff(report / citation.CFF, description, paths.shard_list)
    dataset_card.write_card(report / dataset_card.CARD, description)
    croissant.write_croissant(report / croissant.CROISSANT, description, report / attribution.ATTRIBUTION)
    names = (citation.CFF, dataset_card.CARD, croissant.CROISSANT, attribution.ATTRIBUTION, attribution.DERIVED_DATASET)
    written = [*texts, *(report / name for name in names)]
    return description, [*written, *(_link_into(shards, path) for path in written)]


def _find_extensions(paths: DatasetPaths, image_format: str) -> tuple[str, ...]:
    """The extensions of the images in the shards."""
    if image_format != "original":
        return (image_format,)
    extensions: set[str] = set()
    with open_database(paths.scratch) as connection:
        for path in split_paths(paths.splits).values():
            query = f"SELECT DISTINCT format FROM {csv_source(path)} WHERE format IS NOT NULL"
            extensions.update(get_extension(name) for (name,) in fetch_rows(connection, query))
    return tuple(sorted(extensions))


def _link_into(folder: Path, path: Path) -> Path:
    """The same file in another folder, by a hard link if the file system supports them."""
    target = folder / path.name
    with atomic_file(target) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
    return target
