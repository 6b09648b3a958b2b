"""The checklist that the taxon keys of an archive belong to."""

import html
import re

from gbif_webdataset.read.dwca import MAX_METADATA_BYTES, Archive
from gbif_webdataset.read.provenance import find_download_date
from gbif_webdataset.terms.checklists import Checklist, Relation

KEY = re.compile(r"(?i)checklist_?key\W{1,40}(?:is )?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
RELEASE = re.compile(
    r"(?i)checklist_?(?:version|release)\W{1,40}(v?\d[\w.-]{0,39})"
    r"|\b(?:COL|COL ?XR|Catalogue of Life(?: eXtended Release)?)[ -]?(20\d\d-\d\d(?:-\d\d)?|\d\d\.\d{1,2})\b"
)


def find_checklist(archive: Archive, of_records: str | None = None) -> Checklist:
    """The key of the records, and the release in the metadata document or else the date of the download.

    If the records name no key, it is that in the document or in the request that it records. If the document names
    none, or several, it is that of the download as GBIF states it, which is empty if it is not known.
    """
    data = (archive.read_document(archive.metadata, MAX_METADATA_BYTES) if archive.metadata else None) or b""
    text = html.unescape(data.decode(errors="replace"))
    keys = {key.lower() for key in KEY.findall(text)}
    releases = {first or second for first, second in RELEASE.findall(text)}
    release = releases.pop() if len(releases) == 1 else find_download_date(archive)
    of_document = keys.pop() if len(keys) == 1 else ""
    return Checklist(of_records or of_document or archive.statement.checklist.lower(), release)


def note_other_checklist(archive: Archive, checklist: Checklist) -> list[str]:
    """A note if GBIF states another checklist than the archive itself."""
    stated = Checklist(archive.statement.checklist)
    if checklist.compare(stated) is not Relation.DIFFERENT:
        return []
    return archive.name_itself(
        [f"it names the checklist {checklist}, but GBIF states that {stated} was requested; the first counts"]
    )
