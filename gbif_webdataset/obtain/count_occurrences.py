"""The number of occurrences of a request, by species and year."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from gbif_webdataset.obtain.gbif_api import GbifApi, NotFoundError, Query
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.obtain.species_list import NameMatch, find_contained, find_name
from gbif_webdataset.storage.atomic import atomic_file

SEARCH = "/v1/occurrence/search"
MAX_SHOWN = 30
MAX_TAXA = 200
"""Taxa in one request. GBIF accepts addresses of up to 12,000 characters."""
PAGE = 10_000
MAX_PAGES = 100
MAX_NAMES = 1000
"""Species that are not on the list, but within a taxon of it, and whose names are looked up."""
ABOVE_SPECIES = "identified above species"
COLUMNS = ("scientificName", "key", "year", "occurrences")
Counts = Counter[tuple[str, str]]
"""Occurrences by the key of the species and the year. The key is empty for occurrences that are identified above
species, the year for those without a year."""


@dataclass(frozen=True)
class SpeciesCount:
    """The number of occurrences of a species by year; the year is empty for occurrences without one.

    The key is empty for occurrences that are identified above species, and the name if it is not known.
    """

    key: str
    name: str
    years: Mapping[str, int]

    @property
    def total(self) -> int:
        """The number of occurrences."""
        return sum(self.years.values())


def count_occurrences(
    api: GbifApi, filters: OccurrenceFilters, matches: Sequence[NameMatch], checklist: str, pauses: Pauses
) -> list[SpeciesCount]:
    """Return the species of the matches with their occurrences, the largest first; at the end those above species.

    Species that are not in the matches, but within a higher taxon of them, have no name yet. Taxa within other taxa are
    counted once. Raises FetchError if GBIF does not answer.
    """
    contained = find_contained(matches)
    keys = list(dict.fromkeys(match.key for match in matches if match.key and match.key not in contained))
    counts: Counts = Counter()
    for first in range(0, len(keys), MAX_TAXA):
        query = filters.make_query(keys[first : first + MAX_TAXA], checklist)
        # += drops negative numbers: GBIF's numbers may change between two requests
        counts += _count_taxa(partial(_read_facet, api, pauses), query)
    names = {match.key: match.matched for match in matches if match.key and match.rank == "SPECIES"}
    years: dict[str, dict[str, int]] = {key: {} for key in names}
    for (key, year), number in sorted(counts.items()):
        years.setdefault(key, {})[year] = number
    names[""] = ABOVE_SPECIES
    species = [SpeciesCount(key, names.get(key, ""), numbers) for key, numbers in years.items()]
    return sorted(species, key=lambda one: (not one.key, -one.total, one.name, one.key))


class _FacetReader(Protocol):
    def __call__(self, query: Query, facet: str) -> tuple[int, dict[str, int]]: ...


def _count_taxa(read_facet: _FacetReader, query: Query) -> Counts:
    """Return the occurrences of a query, with one request per species or per year, whichever are fewer."""
    total, species = read_facet(query, "speciesKey")
    _, years = read_facet(query, "year")
    counts: Counts = Counter()
    if len(species) <= len(years):
        for key in species:
            _, found = read_facet([*query, ("speciesKey", key)], "year")
            counts.update({(key, year): number for year, number in found.items()})
    else:
        others = [(name, value) for name, value in query if name != "year"]
        for year in years:
            _, found = read_facet([*others, ("year", year)], "speciesKey")
            counts.update({(key, year): number for key, number in found.items()})
    by_species, by_year = Counter[str](), Counter[str]()
    for (key, year), number in counts.items():
        by_species[key] += number
        by_year[year] += number
    counts.update({(key, ""): number - by_species[key] for key, number in species.items()})
    counts.update({("", year): number - by_year[year] for year, number in years.items()})
    counts["", ""] = total - counts.total()
    return counts


def _read_facet(api: GbifApi, pauses: Pauses, query: Query, facet: str) -> tuple[int, dict[str, int]]:
    """Return the number of occurrences of a query, and their numbers by the values of a facet."""
    found: dict[str, int] = {}
    for page in range(MAX_PAGES):
        paging = [("limit", "0"), ("facet", facet), ("facetLimit", str(PAGE)), ("facetOffset", str(page * PAGE))]
        total, values = pauses.retry(partial(_read_page, api, [*query, *paging]))
        pauses.restart()
        found |= values
        if len(values) < PAGE:
            break
    return total, found


def _read_page(api: GbifApi, query: Query) -> tuple[int, dict[str, int]]:
    answer = api.read_json(SEARCH, query)
    try:
        values = {
            str(one["name"]): int(one["count"]) for facet in answer.get("facets") or () for one in facet["counts"]
        }
        return int(answer["count"]), values
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TemporaryError("the answer of GBIF does not have a number of occurrences") from None


def name_species(
    api: GbifApi, counts: Sequence[SpeciesCount], checklist: str, pauses: Pauses
) -> Iterator[SpeciesCount]:
    """Yield the species with their names, which are looked up for the first MAX_NAMES species without one.

    Raises FetchError if GBIF does not answer.
    """
    left = MAX_NAMES
    for one in counts:
        if one.name or not left:
            yield one
            continue
        left -= 1
        try:
            yield replace(one, name=find_name(api, one.key, checklist, pauses))
        except NotFoundError:
            yield one


def write_counts(path: Path, counts: Sequence[SpeciesCount]) -> None:
    """Write a CSV with a row per species and year. A species without occurrences has one row, without a year."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in counts:
            writer.writerows((one.name, one.key, year, number) for year, number in (one.years or {"": 0}).items())


def format_counts(counts: Sequence[SpeciesCount], table: Path) -> str:
    """Return a text with the total, the species with the most occurrences, and the years."""
    species = [one for one in counts if one.key]
    years = sum((Counter(one.years) for one in counts), Counter[str]())
    lines = ["Occurrences with photos:", f"  {years.total():>12,}  in total", "By species:"]
    lines += [f"  {one.total:>12,}  {one.name or one.key}" for one in species[:MAX_SHOWN]]
    if len(species) > MAX_SHOWN:
        lines.append(f"  and {len(species) - MAX_SHOWN:,} more species, see {table}")
    lines += [f"  {one.total:>12,}  {one.name}" for one in counts if not one.key]
    lines.append("By year:")
    lines += [f"  {number:>12,}  {year or 'without a year'}" for year, number in sorted(years.items(), key=_order_year)]
    lines.append(f"All species by year are in {table}")
    return "\n".join(lines)


def _order_year(item: tuple[str, int]) -> tuple[bool, str]:
    return not item[0], item[0]
