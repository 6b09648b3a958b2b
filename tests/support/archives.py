"""Builders of small Darwin Core Archives."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

DWC = "http://rs.tdwg.org/dwc/terms/"
GBIF = "http://rs.gbif.org/terms/1.0/"
DC = "http://purl.org/dc/terms/"
AC = "http://rs.tdwg.org/ac/terms/"
TERMS = {
    "gbifID": GBIF, "identifier": DC, "type": DC, "format": DC, "references": DC, "license": DC, "creator": DC,
    "acceptedTaxonKey": GBIF, "speciesKey": GBIF, "accessURI": AC,
}  # fmt: skip
Row = Mapping[str, str]
SHARED = Path(__file__).parents[3] / "shared"
REAL_ARCHIVES = SHARED / "archives"
PHOTO = "https://photos.example/"
OCCURRENCE = ("gbifID", "datasetKey", "acceptedTaxonKey", "lifeStage", "countryCode", "occurrenceRemarks")
MEDIA = ("gbifID", "type", "format", "identifier", "references", "license", "creator")


def find_real_archive(name: str) -> Path:
    """A real archive; skips the test if the folder ../shared is missing."""
    if not (REAL_ARCHIVES / name).exists():
        pytest.skip("the real archives (../shared/archives) are not here")
    return REAL_ARCHIVES / name


def find_case(name: str) -> Path:
    """A file of a small input that failed once; skips the test if the folder ../shared is missing."""
    if not (SHARED / "cases" / name).exists():
        pytest.skip("optional: the small inputs (../shared/cases) are not here")
    return SHARED / "cases" / name


def make_part(tag: str, row_type: str, location: str, columns: Sequence[str], extra: str = "") -> str:
    """A <core> or <extension> of a meta.xml. Its first column is the id; `extra` is further XML in it."""
    key = "id" if tag == "core" else "coreid"
    fields = "".join(
        f'<field index="{index}" term="{TERMS.get(name, DWC)}{name}"/>' for index, name in enumerate(columns) if index
    )
    return (
        f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
        f'ignoreHeaderLines="1" rowType="{row_type}"><files><location>{location}</location></files>'
        f'<{key} index="0"/>{fields}{extra}</{tag}>'
    )


def make_meta_xml(*parts: str) -> str:
    """A meta.xml with these parts."""
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(parts)}</archive>'


def make_gbif_meta_xml(occurrence: Sequence[str] = OCCURRENCE, media: Sequence[str] = MEDIA, extra: str = "") -> str:
    """A meta.xml as GBIF writes it, for occurrence.txt and multimedia.txt with these columns."""
    return make_meta_xml(
        make_part("core", f"{DWC}Occurrence", "occurrence.txt", occurrence, extra),
        make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", media),
    )


def make_lines(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A header line, and a line for each row, separated by tabs."""
    values = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in values)


def make_download(occurrences: Sequence[Row], media: Sequence[Row], **files: str | bytes) -> dict[str, bytes]:
    """The files of a GBIF download. A keyword such as `meta_xml` replaces a file or adds one."""
    texts: dict[str, str | bytes] = {
        "meta.xml": make_gbif_meta_xml(),
        "occurrence.txt": make_lines(OCCURRENCE, occurrences),
        "multimedia.txt": make_lines(MEDIA, media),
        **{name.replace("_", "."): content for name, content in files.items()},
    }
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}


def write_zip(path: Path, members: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip with these files."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_zip(path: Path) -> dict[str, bytes]:
    """The files of a zip."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    """Write a tar with these files."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(path: Path, members: Mapping[str, str | bytes]) -> Path:
    """Write a folder with these files."""
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_download(path: Path, occurrences: Sequence[Row], media: Sequence[Row], extra: str = "") -> Path:
    """Write a GBIF download with these rows; `extra` is further XML of the core's part of meta.xml."""
    return write_zip(path, make_download(occurrences, media, meta_xml=make_gbif_meta_xml(extra=extra)))


def make_occurrence(number: int, **values: str) -> dict[str, str]:
    """An occurrence with the id `number`."""
    return {"gbifID": str(number), "datasetKey": "d1", "acceptedTaxonKey": "5WZLF", **values}


def make_medium(number: int, url: str | None = None, **values: str) -> dict[str, str]:
    """A photo of the occurrence with the id `number`."""
    url = f"{PHOTO}{number}.jpg" if url is None else url
    return {"gbifID": str(number), "type": "StillImage", "format": "image/jpeg", "identifier": url, **values}
