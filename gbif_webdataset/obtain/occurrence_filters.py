"""The occurrences of a request: as a predicate of GBIF's download API, and as a query of its search API."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gbif_webdataset.errors import ParameterError, did_you_mean, option_text
from gbif_webdataset.terms.licences import Licence

LICENSES = {str(Licence.CC0): "CC0_1_0", str(Licence.CC_BY): "CC_BY_4_0", str(Licence.CC_BY_NC): "CC_BY_NC_4_0"}
"""GBIF's names of the licences that an occurrence can have."""
BASES = (
    "HUMAN_OBSERVATION", "MACHINE_OBSERVATION", "OBSERVATION", "PRESERVED_SPECIMEN", "FOSSIL_SPECIMEN",
    "LIVING_SPECIMEN", "MATERIAL_SAMPLE", "MATERIAL_CITATION", "MATERIAL_ENTITY", "OCCURRENCE", "LITERATURE",
)  # fmt: skip
"""The values of basisOfRecord that GBIF uses."""
MEDIA_TYPE = "StillImage"
_YEAR = re.compile(r"\d{4}")


@dataclass(frozen=True)
class OccurrenceFilters:
    """Conditions for occurrences with photos; empty ones do not apply. `years` are the first and the last year."""

    countries: tuple[str, ...] = ()
    years: tuple[int, int] | None = None
    licenses: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()

    def list_lists(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield the name in the search API, the name in a predicate, and the values of each list."""
        yield "mediaType", "MEDIA_TYPE", (MEDIA_TYPE,)
        yield "country", "COUNTRY", self.countries
        yield "license", "LICENSE", tuple(LICENSES[one] for one in self.licenses)
        yield "basisOfRecord", "BASIS_OF_RECORD", self.bases

    def make_predicate(self, taxa: Sequence[str], checklist: str) -> dict[str, Any]:
        """Return the predicate for occurrences of these taxa, by their keys in a checklist."""
        parts: list[dict[str, Any]] = [
            {"type": "in", "key": "TAXON_KEY", "values": list(taxa), "checklistKey": checklist}
        ]
        parts += [{"type": "in", "key": key, "values": list(values)} for _, key, values in self.list_lists() if values]
        if self.years:
            first, last = map(str, self.years)
            parts.append({"type": "greaterThanOrEquals", "key": "YEAR", "value": first})
            parts.append({"type": "lessThanOrEquals", "key": "YEAR", "value": last})
        return {"type": "and", "predicates": parts}

    def make_query(self, taxa: Sequence[str], checklist: str) -> list[tuple[str, str]]:
        """Return the query of the search API for occurrences of these taxa, by their keys in a checklist."""
        query = [*(("taxonKey", taxon) for taxon in taxa), ("checklistKey", checklist)]
        query += [(name, value) for name, _, values in self.list_lists() for value in values]
        return query + ([("year", f"{self.years[0]},{self.years[1]}")] if self.years else [])


def parse_countries(value: Sequence[str], option: str) -> tuple[str, ...]:
    """Return country codes in capitals. Raises ParameterError if one is not of two letters."""
    codes = tuple(code.upper() for code in value)
    for code in codes:
        if not re.fullmatch("[A-Z]{2}", code):
            raise ParameterError.at(option_text(option, code), "not a country code", "give two letters, such as DK")
    return codes


def parse_years(value: Sequence[str], option: str) -> tuple[int, int] | None:
    """Return the first and the last year. Raises ParameterError if the value is neither a year nor two."""
    if not value:
        return None
    years = [int(year) for year in value if _YEAR.fullmatch(year)]
    if len(years) != len(value) or len(years) > 2 or years != sorted(years):
        problem, remedy = "not a year or a range of years", "give a year, or the first and last year: 2015,2026"
        raise ParameterError.at(option_text(option, ",".join(value)), problem, remedy)
    return years[0], years[-1]


def parse_choices(value: Sequence[str], choices: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the values. Raises ParameterError if one is not among the choices."""
    for one in value:
        if one not in choices:
            remedy = did_you_mean(one, choices) or f"the values are {', '.join(choices)}"
            raise ParameterError.at(option_text(option, one), "GBIF cannot filter by this value", remedy)
    return tuple(value)
