"""What GBIF's downloads are called."""

import re

DOWNLOAD_KEY = re.compile(r"\d{7}-\d{15,18}")
"""The form of a download's key."""
