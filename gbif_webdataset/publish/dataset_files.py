"""Everything that is published with the shards: attribution, citation, card and metadata.

The paths in a card and in a Croissant file are relative to its own folder and must not lead out of it. So the files
are in the folder of the shards, which can be uploaded as it is, and in report/ as well.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gbif_webdataset.account.before_training import list_findings
from gbif_webdataset.account.dataset_numbers import DatasetNumbers
from gbif_webdataset.errors import ParameterError, option_text
from gbif_webdataset.formatting import join_words
from gbif_webdataset.publish import attribution, citation, croissant, dataset_card
from gbif_webdataset.publish.class_names import add_names
from gbif_webdataset.publish.coverage import collect_coverage
from gbif_webdataset.publish.description import (
    DatasetDescription,
    Publication,
    Taxonomy,
    read_classes,
    read_rank,
    read_shards,
)
from gbif_webdataset.publish.hub_header import name_classes
from gbif_webdataset.read import provenance
from gbif_webdataset.read.provenance import Source
from gbif_webdataset.shards.categories import count_classes
from gbif_webdataset.shards.loader_files import write_loader_files
from gbif_webdataset.shards.sample import get_extension
from gbif_webdataset.shards.sample_classes import CATEGORY_MAP, LABEL_NAMES
from gbif_webdataset.shards.shard_files import PUBLISHED_FILES
from gbif_webdataset.storage.atomic import atomic_file, file_sha256
from gbif_webdataset.storage.manifest_checklist import load_checklist
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.tables import csv_source, fetch_rows, open_database
from gbif_webdataset.terms.splits import SPLITS, split_paths
from gbif_webdataset.terms.value_types import list_json_columns

MAX_TITLES = 3  # in the title of the dataset


def write_dataset_files(
    paths: DatasetPaths,
    publication: Publication,
    numbers: DatasetNumbers,
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
    sources, recipe = provenance.load_sources(paths.manifest), settings["CreateWebDataset"]
    sources = set_doi(sources, publication.doi) if publication.doi else sources
    description = DatasetDescription(
        title=publication.title or f"Images of {_name_sources(sources)}",
        sources=sources,
        attribution=attribution.write_attribution(paths, recipe["label_column"], samples, sources),
        shards=listed,
        classes=add_names(read_classes(paths.classes), paths, recipe["label_column"]),
        media_lines=numbers.media_lines,
        lines=numbers.lines,
        settings=settings,
        authors=publication.authors,
        url=publication.url,
        extensions=_find_extensions(paths, recipe["image_format"]),
        taxonomy=Taxonomy(recipe["label_column"], read_rank(paths.classes), load_checklist(paths)),
        class_names=_read_class_names(shards),
        json_columns=_list_json_columns(recipe),
        has_captions=bool(recipe.get("caption_template")),
        shards_sha256=file_sha256(paths.shard_list),
        shared=numbers.shared,
        coverage=collect_coverage(paths),
        version=publication.version,
        defaults=publication.defaults,
    )
    description = replace(description, findings=list_findings(replace(numbers, licence=description.licence)))
    texts = provenance.copy_texts(sources, paths.manifest, report)
    citation.write_cff(report / citation.CFF, description, paths.shard_list)
    dataset_card.write_card(report / dataset_card.CARD, description)
    croissant.write_croissant(report / croissant.CROISSANT, description, report / attribution.ATTRIBUTION)
    names = (citation.CFF, dataset_card.CARD, croissant.CROISSANT, attribution.ATTRIBUTION, attribution.DERIVED_DATASET)
    written = [*texts, *(report / name for name in names)]
    copies = [_link_into(shards, path) for path in written]
    return description, [*written, *copies, *write_loader_files(shards)]  # shards of older versions lack the latter


def set_doi(sources: Sequence[Source], doi: str) -> tuple[Source, ...]:
    """The sources, of which the one archive, or the only one of several without a DOI, gets this DOI.

    Raises:
        ParameterError: of several archives none, or more than one, has no DOI.
    """
    unknown = [source for source in sources if not source.doi or len(sources) == 1]
    if len(unknown) != 1:
        problem = f"of {len(sources)} archives {len(unknown)} have no DOI, so it is not known which one has this DOI"
        remedy = "leave it empty, and add the DOI to the metadata of its archive"
        raise ParameterError.at(option_text("--ReportDataset-doi", doi), problem, remedy)
    return tuple(replace(source, doi=doi) if source is unknown[0] else source for source in sources)


def _name_sources(sources: Sequence[Source]) -> str:
    names = [source.title or source.archive for source in sources]
    return join_words(names) if len(names) <= MAX_TITLES else f"{len(names)} archives"


def _list_json_columns(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in each `.json`; records of older versions lack some parameters."""
    listed = [name.strip() for name in recipe.get("columns_to_json", "").split(",") if name.strip()]
    return list_json_columns(listed, recipe.get("hierarchy_to_json", False))


def _read_class_names(shards: Path) -> list[str]:
    """The names of the classes in the order of their numbers, from the maps beside the shards."""
    categories, names = (
        json.loads(path.read_text(encoding="utf-8")) if (path := shards / name).is_file() else {}
        for name in (CATEGORY_MAP, LABEL_NAMES)
    )
    return name_classes(categories, names, count_classes(shards, categories.values()))


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
