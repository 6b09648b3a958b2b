"""Archives that have occurrences in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.archives import (
    DWC,
    GBIF,
    make_lines,
    make_meta_xml,
    make_part,
    write_zip,
)

OCCURRENCE = ("gbifID", "datasetKey", "occurrenceID", "acceptedTaxonKey", "scientificName", "lifeStage")
MEDIA = ("gbifID", "type", "format", "identifier", "license", "creator")
GBIF_ID = f'<field index="0" term="{GBIF}gbifID"/>'
DATASET = "3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2"
EML = """<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="{doi}"><dataset><title>{title}</title>
{date}<abstract><para>{checklist}</para></abstract></dataset></eml:eml>"""
Rows = Sequence[Mapping[str, str]]


def write_archive(
    path: Path,
    occurrences: Rows,
    media: Rows,
    *,
    date: str = "",
    doi: str = "",
    checklist: str = "",
    is_gbif: bool = True,
    occurrence: Sequence[str] = OCCURRENCE,
    citations: str = "",
) -> Path:
    """Write an archive of these rows.

    `date`, `doi` and `checklist` are those of its metadata. The ids of a GBIF download are gbifID; in other archives
    the columns and ids are those of the archive alone.
    """
    extra = GBIF_ID if is_gbif else ""
    names = [name if is_gbif or number else "id" for number, name in enumerate(occurrence)]
    meta = make_meta_xml(
        make_part("core", f"{DWC}Occurrence", "occurrence.txt", names, extra),
        make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA),
    ).replace("<archive ", '<archive metadata="metadata.xml" ')
    rows = [{**row, names[0]: row["gbifID"]} for row in occurrences]
    eml = EML.format(
        doi=doi,
        title=f"Download {path.stem}",
        date=f"<pubDate>{date}</pubDate>" if date else "",
        checklist=f"checklistKey: {checklist}" if checklist else "",
    )
    members = {
        "meta.xml": meta,
        "metadata.xml": eml,
        "occurrence.txt": make_lines(names, rows),
        "multimedia.txt": make_lines(MEDIA, media),
        **({"citations.txt": citations} if citations else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_zip(path, members)


def occurrence(number: int | str, **values: str) -> dict[str, str]:
    """An occurrence with this id."""
    row = {"gbifID": str(number), "datasetKey": DATASET, "occurrenceID": f"urn:{number}", "acceptedTaxonKey": "5WZLF"}
    return {**row, **values}


def medium(number: int | str, url: str, **values: str) -> dict[str, str]:
    """A photo of the occurrence with this id; `url` is the last part of its URL."""
    return {"gbifID": str(number), "type": "StillImage", "identifier": f"https://photos.example/{url}", **values}
