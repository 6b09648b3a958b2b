from gbif_webdataset.obtain.count_occurrences import TaxonCount, count_occurrences, format_counts
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.species_list import NameMatch
from tests.support.gbif_api import COL, GbifApi, give_status, send_page
from tests.support.obtain_run import ObtainRun

A, B, INSIDE = NameMatch("a", "A", "Alpha"), NameMatch("b", "B", "Beta"), NameMatch("c", "C", "Gamma", higher=("A",))


def test_each_taxon_is_counted_once_by_year(server: GbifApi, run: ObtainRun) -> None:
    server.counts["A"] = {"2020": 5, "2021": 1_000, "": 2}
    filters = OccurrenceFilters(countries=("DK",))
    counts = list(count_occurrences(run.api, filters, [A, B, A, NameMatch("unknown")], COL, run.pauses))
    assert counts == [TaxonCount(A, 1_007, {"2020": 5, "2021": 1_000}), TaxonCount(B, 0, {})]
    query = server.log[0].query
    assert (query["limit"], query["facet"], query["country"], query["mediaType"]) == (
        ["0"],
        ["year"],
        ["DK"],
        ["StillImage"],
    )


def test_temporary_failures_are_retried(server: GbifApi, run: ObtainRun) -> None:
    server.counts["A"] = {"2020": 5}
    answers = [give_status(503), send_page, lambda visit: visit.send_json({"facets": []})]
    server.before("/v1/occurrence/search", *answers)
    assert next(count_occurrences(run.api, OccurrenceFilters(), [A], COL, run.pauses)).total == 5
    assert run.clock.pauses == [60, 120, 240]


def test_the_table_has_taxa_and_years_and_counts_contained_taxa_once() -> None:
    counts = [
        TaxonCount(B, 0, {}),
        TaxonCount(A, 1_007, {"2021": 1_000, "2020": 5}),
        TaxonCount(INSIDE, 5, {"2020": 5}),
    ]
    assert format_counts(counts).splitlines() == [
        "Occurrences with photos, by taxon:",
        "         1,007  Alpha",
        "             5  Gamma",
        "             0  Beta",
        "By year:",
        "             5  2020",
        "         1,000  2021",
        "             2  without a year",
        "         1,007  in total, taxa within other taxa counted once",
    ]


def test_a_long_list_shows_the_largest_taxa() -> None:
    counts = [TaxonCount(NameMatch("n", str(n), f"taxon {n}"), n, {}) for n in range(40)]
    lines = format_counts(counts).splitlines()
    assert lines[1] == "            39  taxon 39"
    assert lines[31] == "            45  10 others"
