"""Small Darwin Core Archives, written by hand for the tests."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

DWC = "http://rs.tdwg.org/dwc/terms/"
GBIF = "http://rs.gbif.org/terms/1.0/"
DC = "http://purl.org/dc/terms/"
TERMS = {
    "gbifID": GBIF, "identifier": DC, "type": DC, "format": DC, "references": DC, "license": DC, "creator": DC,
    "acceptedTaxonKey": GBIF, "speciesKey": GBIF, "accessURI": "http://rs.tdwg.org/ac/terms/",
}  # fmt: skip
Row = Mapping[str, str]


def part(tag: str, row_type: str, location: str, columns: Sequence[str], extra: str = "", enclosed: str = "") -> str:
    """A <core> or <extension> of a meta.xml whose first column is the id."""
    key = "id" if tag == "core" else "coreid"
    fields = "".join(
        f'<field index="{index}" term="{TERMS.get(name, DWC)}{name}"/>' for index, name in enumerate(columns) if index
    )
    return (
        f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="{enclosed}" '
        f'ignoreHeaderLines="1" rowType="{row_type}"><files><location>{location}</location></files>'
        f'<{key} index="0"/>{fields}{extra}</{tag}>'
    )


def meta(occurrence: Sequence[str], media: Sequence[str], extra: str = "") -> str:
    """A meta.xml as GBIF writes it, for occurrence.txt and multimedia.txt."""
    core = part("core", f"{DWC}Occurrence", "occurrence.txt", occurrence, extra)
    extension = part("extension", f"{GBIF}Multimedia", "multimedia.txt", media)
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{core}{extension}</archive>'


def lines(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A header line and a line a row, separated by tabs."""
    return "".join("\t".join(values) + "\n" for values in [columns, *([r.get(c, "") for c in columns] for r in rows)])


def write(path: Path, members: Mapping[str, str | bytes]) -> Path:
    """A zip file of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


OCCURRENCE = ("gbifID", "datasetKey", "acceptedTaxonKey", "lifeStage", "countryCode", "occurrenceRemarks")
MEDIA = ("gbifID", "type", "format", "identifier", "references", "license", "creator")


def gbif(path: Path, occurrences: Sequence[Row], media: Sequence[Row], extra: str = "") -> Path:
    """A GBIF download of these rows."""
    return write(
        path,
        {
            "meta.xml": meta(OCCURRENCE, MEDIA, extra),
            "occurrence.txt": lines(OCCURRENCE, occurrences),
            "multimedia.txt": lines(MEDIA, media),
        },
    )
