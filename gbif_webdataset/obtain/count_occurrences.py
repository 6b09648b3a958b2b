"""The number of occurrences of a request, by taxon and year."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gbif_webdataset.obtain.gbif_api import GbifApi, Query
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.obtain.species_list import NameMatch, find_contained

SEARCH = "/v1/occurrence/search"
MAX_SHOWN = 30
MAX_YEARS = 1000


@dataclass(frozen=True)
class TaxonCount:
    """The number of occurrences of a taxon, in total and by year."""

    match: NameMatch
    total: int
    years: Mapping[str, int]


def count_occurrences(
    api: GbifApi, filters: OccurrenceFilters, matches: Sequence[NameMatch], checklist: str, pauses: Pauses
) -> Iterator[TaxonCount]:
    """Yield the number of occurrences of each taxon that was found. Raises FetchError if GBIF does not answer."""
    for match in {match.key: match for match in matches if match.key}.values():
        query = filters.make_query(match.key, checklist)
        query += [("limit", "0"), ("facet", "year"), ("facetLimit", str(MAX_YEARS))]
        yield pauses.retry(partial(_count_taxon, api, match, query))
        pauses.restart()


def _count_taxon(api: GbifApi, match: NameMatch, query: Query) -> TaxonCount:
    answer = api.read_json(SEARCH, query)
    try:
        years = {
            str(one["name"]): int(one["count"])
            for facet in answer.get("facets") or ()
            if str(facet.get("field")).upper() == "YEAR"
            for one in facet["counts"]
        }
        return TaxonCount(match, int(answer["count"]), years)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TemporaryError("the answer of GBIF does not have a number of occurrences") from None


def format_counts(counts: Sequence[TaxonCount]) -> str:
    """Return a table of the occurrences by taxon and by year, with the total."""
    contained = find_contained([count.match for count in counts])
    years: Counter[str] = Counter()
    for count in counts:
        if count.match.key not in contained:
            years.update(count.years)
    total = sum(count.total for count in counts if count.match.key not in contained)
    lines = ["Occurrences with photos, by taxon:"]
    by_total = sorted(counts, key=lambda count: (-count.total, count.match.matched))
    lines += [f"  {count.total:>12,}  {count.match.matched or count.match.name}" for count in by_total[:MAX_SHOWN]]
    if len(counts) > MAX_SHOWN:
        others = by_total[MAX_SHOWN:]
        lines.append(f"  {sum(count.total for count in others):>12,}  {len(others):,} others")
    lines.append("By year:")
    lines += [f"  {number:>12,}  {year}" for year, number in sorted(years.items())]
    if without := total - years.total():
        lines.append(f"  {without:>12,}  without a year")
    lines.append(f"  {total:>12,}  in total" + (", taxa within other taxa counted once" if contained else ""))
    return "\n".join(lines)
