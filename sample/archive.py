"""The sample archive: a Darwin Core Archive in a zip, as GBIF writes a small download."""

import argparse
import calendar
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sample.plan import Medium, Occurrence, Plan, make_plan
from sample.taxa import DATASETS, FAMILY_KEYS, Dataset

DOI = "10.15468/dl.sample"
BASE_URL = "http://127.0.0.1:8970"
"""The server of the photos in the bundled archive."""
PUBLISHED = "2024-11-19"
META = Path(__file__).with_name("meta.xml")
"""From a real download of November 2024. Its 223, 15 and 190 terms are the columns of this archive's three files."""
RAGGED_OCCURRENCE_FIELDS = 101
RAGGED_MEDIUM_FIELDS = 3
EML = """<?xml version="1.0" encoding="utf-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:schemaLocation="https://eml.ecoinformatics.org/eml-2.2.0 \
https://rs.gbif.org/schema/eml-gbif-profile/1.3/eml.xsd"
packageId="{package}"  system="http://gbif.org" scope="system"
xml:lang="en">
    <dataset>
{identifiers}
        <title>{title}</title>
        <creator>
{creator}
        </creator>
        <metadataProvider>
{creator}
        </metadataProvider>
        <pubDate>
                {published}
        </pubDate>
        <language>ENGLISH</language>
        <abstract>
            {abstract}
        </abstract>
{rights}        <contact>
{creator}
        </contact>
    </dataset>

    <additionalMetadata>
        <metadata>
            <gbif>
                <dateStamp>{published}T19:41:38Z</dateStamp>
                <citation identifier="{doi}">{citation}</citation>
                <physical>
                    <objectName>Darwin Core Archive</objectName>
                    <characterEncoding>UTF-8</characterEncoding>
                    <dataFormat>
                        <externallyDefinedFormat>
                            <formatName>Darwin Core Archive</formatName>
                        </externallyDefinedFormat>
                    </dataFormat>
                </physical>
            </gbif>
        </metadata>
    </additionalMetadata>
</eml:eml>
"""


def write_archive(path: Path, base_url: str = BASE_URL) -> None:
    """Write the zip to `path`. All photo URLs start with `base_url`. The same input gives the same bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, text in list_members(base_url):
            info = ZipInfo(name, (2024, 11, 19, 19, 41, 38))
            info.compress_type = ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, text.encode())


def list_members(base_url: str) -> list[tuple[str, str]]:
    """(name, text) of each file in the archive."""
    plan = make_plan()
    meta = META.read_text(encoding="utf-8")
    columns = {name: _columns(meta, name) for name in ("occurrence.txt", "multimedia.txt", "verbatim.txt")}
    counts = Counter(occurrence.dataset.key for occurrence in plan.occurrences)
    kinds = _media_types(plan)
    return [
        (
            "occurrence.txt",
            _table(
                columns["occurrence.txt"],
                (_occurrence_row(o, kinds.get(o.gbif_id, "")) for o in plan.occurrences),
                [RAGGED_OCCURRENCE_FIELDS if occurrence.ragged else 0 for occurrence in plan.occurrences],
            ),
        ),
        ("verbatim.txt", _table(columns["verbatim.txt"], map(_verbatim_row, plan.occurrences))),
        (
            "multimedia.txt",
            _table(
                columns["multimedia.txt"],
                (_medium_row(medium, base_url) for medium in plan.media),
                [RAGGED_MEDIUM_FIELDS if medium.ragged else 0 for medium in plan.media],
            ),
        ),
        ("meta.xml", meta),
        ("metadata.xml", _metadata(plan, counts)),
        ("citations.txt", _citations()),
        ("rights.txt", _rights()),
        *((f"dataset/{dataset.key}.xml", _dataset_eml(dataset)) for dataset in DATASETS),
    ]


def _media_types(plan: Plan) -> dict[str, str]:
    """The field mediaType of each occurrence, by gbifID: the types of its media."""
    kinds: dict[str, list[str]] = {}
    for medium in plan.media:
        kinds.setdefault(medium.gbif_id.strip(), []).append(medium.type)
    return {gbif_id: ";".join(dict.fromkeys(of_one)) for gbif_id, of_one in kinds.items()}


def _columns(meta: str, location: str) -> list[str]:
    """The short names of a file's columns, in order, from meta.xml. Fields without an index have no column."""
    section = re.split("</core>|</extension>", meta.split(f"<location>{location}</location>")[1])[0]
    return [term.rsplit("/", 1)[1] for term in re.findall(r'<field index="\d+"[^>]*term="([^"]+)"', section)]


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, str]], cut: Sequence[int] = ()) -> str:
    """Lines of TAB-separated fields. `cut` is the number of fields to keep in each row, 0 for all."""
    lines = ["\t".join(columns)]
    for i, row in enumerate(rows):
        unknown = row.keys() - set(columns)
        if unknown:
            raise KeyError(f"no column for {sorted(unknown)}")
        fields = [_quoted(row.get(column, "")) for column in columns]
        lines.append("\t".join(fields[: cut[i]] if cut and cut[i] else fields))
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """The value in quotes if it contains quotes: GBIF's small downloads do so, although their meta.xml denies it."""
    return '"' + value.replace('"', '""') + '"' if '"' in value else value


def _occurrence_row(occurrence: Occurrence, media_types: str) -> dict[str, str]:
    dataset, place = occurrence.dataset, occurrence.place
    year, month, day = occurrence.date
    day_of_year = str(date(year, month, day).timetuple().tm_yday)
    return {
        "gbifID": occurrence.gbif_id,
        "license": dataset.license,
        "modified": f"{PUBLISHED}T08:00:00Z",
        "publisher": dataset.publisher,
        "rightsHolder": occurrence.recorded_by,
        "institutionCode": dataset.institution_code,
        "datasetName": dataset.title,
        "basisOfRecord": dataset.basis_of_record,
        "occurrenceID": f"urn:{dataset.folder}:{occurrence.gbif_id}",
        "catalogNumber": occurrence.gbif_id[-7:],
        "recordedBy": occurrence.recorded_by,
        "individualCount": "1",
        "lifeStage": occurrence.life_stage,
        "occurrenceStatus": "PRESENT",
        "occurrenceRemarks": occurrence.remarks,
        "eventDate": f"{year}-{month:02}-{day:02}",
        "startDayOfYear": day_of_year,
        "endDayOfYear": day_of_year,
        "year": str(year),
        "month": str(month),
        "day": str(day),
        "continent": place.continent,
        "countryCode": place.country_code,
        "stateProvince": place.state_province,
        "locality": place.locality,
        "decimalLatitude": str(occurrence.latitude),
        "decimalLongitude": str(occurrence.longitude),
        "coordinateUncertaintyInMeters": "25.0",
        "datasetKey": dataset.key,
        "publishingCountry": dataset.publishing_country,
        "lastInterpreted": f"{PUBLISHED}T02:11:54.012Z",
        "mediaType": media_types,
        "hasCoordinate": "true",
        "hasGeospatialIssues": "false",
        "protocol": "DWC_ARCHIVE",
        "lastParsed": f"{PUBLISHED}T02:11:54.012Z",
        "lastCrawled": f"{PUBLISHED}T01:40:03.377Z",
        "repatriated": "false",
        "isSequenced": "false",
        "level0Name": place.country,
        **_taxon_fields(occurrence),
    }


def _taxon_fields(occurrence: Occurrence) -> dict[str, str]:
    """The classification. A record that is identified to genus only has no species and no accepted taxon."""
    species = occurrence.species
    fields = {
        "kingdom": "Animalia",
        "phylum": "Arthropoda",
        "class": "Insecta",
        "order": "Lepidoptera",
        "family": species.family,
        "genus": species.genus,
        "genericName": species.genus,
        "kingdomKey": "1",
        "phylumKey": "54",
        "classKey": "216",
        "orderKey": "797",
        "familyKey": FAMILY_KEYS[species.family],
        "genusKey": species.genus_key,
        "verbatimScientificName": species.genus,
    }
    if occurrence.genus_only:
        return fields | {
            "scientificName": species.genus,
            "taxonRank": "GENUS",
            "taxonomicStatus": "ACCEPTED",
            "taxonKey": species.genus_key,
        }
    key, name = species.synonym if occurrence.as_synonym else (species.key, species.scientific_name)
    return fields | {
        "scientificName": name,
        "acceptedScientificName": species.scientific_name,
        "taxonRank": "SPECIES",
        "specificEpithet": species.epithet,
        "species": species.name,
        "speciesKey": species.key,
        "taxonKey": key,
        "acceptedTaxonKey": species.key,
        "taxonomicStatus": "SYNONYM" if occurrence.as_synonym else "ACCEPTED",
        "genericName": name.split()[0],
        "verbatimScientificName": " ".join(name.split()[:2]),
        "iucnRedListCategory": "NE",
    }


def _verbatim_row(occurrence: Occurrence) -> dict[str, str]:
    place = occurrence.place
    year, month, day = occurrence.date
    name = occurrence.species.genus if occurrence.genus_only else occurrence.species.name
    return {
        "gbifID": occurrence.gbif_id,
        "basisOfRecord": occurrence.dataset.basis_of_record.title().replace("_", ""),
        "occurrenceID": f"urn:{occurrence.dataset.folder}:{occurrence.gbif_id}",
        "recordedBy": occurrence.recorded_by,
        "lifeStage": occurrence.life_stage.lower(),
        "occurrenceRemarks": occurrence.remarks,
        "eventDate": f"{day} {calendar.month_name[month]} {year}",
        "country": place.country,
        "countryCode": place.country_code,
        "stateProvince": place.state_province,
        "locality": place.locality,
        "decimalLatitude": str(occurrence.latitude),
        "decimalLongitude": str(occurrence.longitude),
        "geodeticDatum": "WGS84",
        "scientificName": name,
        "family": occurrence.species.family,
    }


def _medium_row(medium: Medium, base_url: str) -> dict[str, str]:
    def absolute(value: str) -> str:
        return base_url + value if value.startswith("/") else value

    return {
        "gbifID": medium.gbif_id,
        "type": medium.type,
        "format": medium.format,
        "identifier": absolute(medium.identifier),
        "references": absolute(medium.references),
        "title": medium.title,
        "created": medium.created,
        "creator": medium.creator,
        "publisher": medium.publisher,
        "license": medium.license,
        "rightsHolder": medium.creator,
    }


def _metadata(plan: Plan, counts: Mapping[str, int]) -> str:
    """The EML document of the download. Its packageId is the DOI."""
    records = "\n".join(f"{counts[dataset.key]} records from {escape(dataset.title)}" for dataset in DATASETS)
    title = f"GBIF Occurrence Download {DOI}"
    return EML.format(
        package=DOI,
        doi=DOI,
        title=title,
        citation=title,
        published=PUBLISHED,
        rights="",
        identifiers="        <alternateIdentifier>0022407-241107131044228</alternateIdentifier>",
        creator="""            <individualName>
                <surName>GBIF Download Service</surName>
            </individualName>""",
        abstract=f"""A made-up dataset in the shape of a download: {len(plan.occurrences)} occurrences of moths.
The dataset includes records from the following constituent datasets. \
The full metadata for each constituent is also included in this archive:
{records}
""",
    )


def _citation(dataset: Dataset) -> str:
    return (
        f"{dataset.publisher} (2024). {dataset.title}. Occurrence dataset https://doi.org/{dataset.doi} "
        f"accessed via GBIF.org on {PUBLISHED}."
    )


def _citations() -> str:
    head = (
        "When using this dataset please use the following citation and pay attention to the rights documented in "
        "rights.txt:"
    )
    return "\n".join([head, *(_citation(dataset) for dataset in DATASETS)])


def _rights() -> str:
    return "\n".join(f"Dataset: {dataset.title}\nRights as supplied: {dataset.license_url}" for dataset in DATASETS)


def _dataset_eml(dataset: Dataset) -> str:
    return EML.format(
        package=dataset.key,
        doi=dataset.doi,
        title=escape(dataset.title),
        published=PUBLISHED,
        identifiers=f"        <alternateIdentifier>{dataset.doi}</alternateIdentifier>\n"
        f"        <alternateIdentifier>{dataset.key}</alternateIdentifier>",
        creator=f"            <organizationName>{escape(dataset.publisher)}</organizationName>",
        abstract=escape(dataset.abstract),
        citation=escape(_citation(dataset)),
        rights="        <intellectualRights>\n"
        f'            <para>This work is licensed under <ulink url="{dataset.license_url}">'
        f"<citetitle>{dataset.license}</citetitle></ulink>.</para>\n        </intellectualRights>\n",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sample.archive", description="Write the sample archive.")
    parser.add_argument("out", type=Path, help="the zip to write")
    parser.add_argument("--base-url", default=BASE_URL, help="start of all photo URLs (default %(default)s)")
    arguments = parser.parse_args()
    write_archive(arguments.out, arguments.base_url)


if __name__ == "__main__":
    main()
