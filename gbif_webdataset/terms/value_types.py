"""The type of each column's values in the `.json` of a sample: numbers for numeric terms, text for all others."""

from collections.abc import Sequence

from gbif_webdataset.terms.columns import INT32, INT64, LEDGER, REAL, TEXT, VERIFIED
from gbif_webdataset.terms.ranks import KEY_COLUMNS, MAIN_NAME_COLUMNS

WHOLE_NUMBER_TERMS = frozenset(
    {"year", "month", "day", "startDayOfYear", "endDayOfYear", "individualCount", "namePublishedInYear"}
)
"""Darwin Core terms whose values are whole numbers."""
NUMBER_TERMS = frozenset({
    "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "coordinatePrecision",
    "pointRadiusSpatialFit", "footprintSpatialFit", "distanceFromCentroidInMeters",
    "elevation", "elevationAccuracy", "minimumElevationInMeters", "maximumElevationInMeters",
    "depth", "depthAccuracy", "minimumDepthInMeters", "maximumDepthInMeters",
    "minimumDistanceAboveSurfaceInMeters", "maximumDistanceAboveSurfaceInMeters",
    "sampleSizeValue", "relativeOrganismQuantity",
})  # fmt: skip
"""Terms of Darwin Core, and of GBIF's interpretation, whose values are numbers with a fraction."""
_MEASURED = {column.name: column.type for column in (*LEDGER, *VERIFIED) if column.type != TEXT}
HIERARCHY = (*reversed(MAIN_NAME_COLUMNS), *reversed(KEY_COLUMNS))
"""The columns of hierarchy_to_json: the names from kingdom to species, then their keys."""


def find_value_type(column: str) -> str:
    """The type of a column's values: INT64, REAL, TRUTH or, for all columns without another type, TEXT."""
    if column in WHOLE_NUMBER_TERMS or _MEASURED.get(column) in (INT32, INT64):
        return INT64
    return REAL if column in NUMBER_TERMS else _MEASURED.get(column, TEXT)


def list_json_columns(columns_to_json: Sequence[str], hierarchy_to_json: bool) -> tuple[str, ...]:
    """The names in the `.json` of a sample, in their order; none if samples have no `.json`."""
    return tuple(dict.fromkeys((*columns_to_json, *(HIERARCHY if hierarchy_to_json else ()))))


def has_numeric_term(columns: Sequence[str]) -> bool:
    """Whether a column holds numbers that versions before 0.5 wrote as text."""
    return any(column in WHOLE_NUMBER_TERMS | NUMBER_TERMS for column in columns)
