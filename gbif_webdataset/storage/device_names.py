"""Names that no file or folder can have on Windows, whatever their ending and case: they are devices."""

DEVICE_NAMES = (*("con", "prn", "aux", "nul"), *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(10)))
DEVICE_PATH = rf"(?i)(^|/)({'|'.join(DEVICE_NAMES)})(_[0-9]+)?([./]|$)"
"""A regular expression for the path of an image, with such a name as its folder or as the id of its record."""
