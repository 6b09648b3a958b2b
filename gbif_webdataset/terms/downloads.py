"""What GBIF's downloads are called, and what GBIF states of them."""

import re
from dataclasses import dataclass

DOWNLOAD_KEY = re.compile(r"\d{7}-\d{15,18}")
"""The form of a download's key."""


@dataclass(frozen=True)
class DownloadStatement:
    """What GBIF's API states of a download. Its file may not state it. Texts are empty if it is not known.

    Attributes:
        doi: of the download.
        checklist: key of the checklist that was requested.
    """

    doi: str = ""
    checklist: str = ""


NO_STATEMENT = DownloadStatement()
