"""The checklist that the metadata document of an archive names."""

import html
import re

from gbif_webdataset.read.dwca import MAX_METADATA_BYTES, Archive
from gbif_webdataset.read.provenance import find_download_date
from gbif_webdataset.terms.checklists import Checklist

KEY = re.compile(r"(?i)checklist_?key\W{1,40}(?:is )?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
RELEASE = re.compile(
    r"(?i)checklist_?(?:version|release)\W{1,40}(v?\d[\w.-]{0,39})"
    r"|\b(?:COL|COL ?XR|Catalogue of Life(?: eXtended Release)?)[ -]?(20\d\d-\d\d(?:-\d\d)?|\d\d\.\d{1,2})\b"
)


def find_checklist(archive: Archive) -> Checklist:
    """The key in the document or in the request that it records, and the release or else the date of the download.

    The key is empty if the document names none, or several.
    """
    data = (archive.read_document(archive.metadata, MAX_METADATA_BYTES) if archive.metadata else None) or b""
    text = html.unescape(data.decode(errors="replace"))
    keys = {key.lower() for key in KEY.findall(text)}
    releases = {first or second for first, second in RELEASE.findall(text)}
    release = releases.pop() if len(releases) == 1 else find_download_date(archive)
    return Checklist(keys.pop() if len(keys) == 1 else "", release)
