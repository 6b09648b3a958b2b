import csv
from pathlib import Path

import pytest

from gbif_webdataset.obtain import count_occurrences as counting
from gbif_webdataset.obtain.count_occurrences import (
    SpeciesCount,
    count_occurrences,
    format_counts,
    name_species,
    write_counts,
)
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.species_list import NameMatch
from tests.support.gbif_api import COL, GbifApi, describe_match, give_status, send_page
from tests.support.obtain_run import ObtainRun

A = NameMatch("a", "A", "Alpha", "SPECIES", higher=("G",))
B = NameMatch("b", "B", "Beta", "SPECIES")
GENUS = NameMatch("g", "G", "Genus", "GENUS")
ABOVE = "identified above species"
SEARCH = "/v1/occurrence/search"


def count(run: ObtainRun, *matches: NameMatch, filters: OccurrenceFilters | None = None) -> list[SpeciesCount]:
    return count_occurrences(run.api, filters or OccurrenceFilters(), matches, COL, run.pauses)


def add_genus(server: GbifApi) -> None:
    """A genus of two species, with occurrences that are identified as the genus only."""
    server.counts = {"A": {"2020": 5, "2021": 1_000, "": 2}, "C": {"2021": 7}, "-G": {"2021": 3, "": 1}}
    server.lineages = {"A": ["G"], "C": ["G"], "-G": ["G"]}


def test_species_are_counted_by_year_with_the_filters_of_the_request(server: GbifApi, run: ObtainRun) -> None:
    server.counts["A"] = {"2020": 5, "2021": 1_000, "": 2}
    filters = OccurrenceFilters(countries=("DK",))
    counts = count(run, A, B, A, NameMatch("unknown"), filters=filters)
    assert counts == [SpeciesCount("A", "Alpha", {"": 2, "2020": 5, "2021": 1_000}), SpeciesCount("B", "Beta", {})]
    for request in server.log:
        assert request.query["taxonKey"] == ["A", "B"]
        assert (request.query["limit"], request.query["country"]) == (["0"], ["DK"])
        assert (request.query["mediaType"], request.query["checklistKey"]) == (["StillImage"], [COL])


def test_a_higher_taxon_is_resolved_into_species_and_contained_taxa_count_once(server: GbifApi, run: ObtainRun) -> None:
    add_genus(server)
    assert count(run, A, GENUS) == [
        SpeciesCount("A", "Alpha", {"": 2, "2020": 5, "2021": 1_000}),
        SpeciesCount("C", "", {"2021": 7}),
        SpeciesCount("", ABOVE, {"": 1, "2021": 3}),
    ]
    assert {one.query["taxonKey"][0] for one in server.log} == {"G"}


@pytest.mark.parametrize(("species", "years", "requests"), [(2, 9, 2 + 2), (9, 2, 2 + 2), (1, 1, 2 + 1)])
def test_the_requests_are_one_per_species_or_per_year(
    server: GbifApi, run: ObtainRun, species: int, years: int, requests: int
) -> None:
    server.counts = {f"S{one}": {str(2000 + year): one + year + 1 for year in range(years)} for one in range(species)}
    server.lineages = {key: ["G"] for key in server.counts}
    counts = count(run, GENUS)
    assert {one.key: one.years for one in counts} == server.counts
    assert len(server.log) == requests


def test_a_year_of_the_filter_stays_within_its_limits(server: GbifApi, run: ObtainRun) -> None:
    server.counts = {f"S{one}": {"2019": 1, "2020": 2, "2021": 3, "": 4} for one in range(4)}
    server.lineages = {key: ["G"] for key in server.counts}
    counts = count(run, GENUS, filters=OccurrenceFilters(years=(2020, 2021)))
    assert [one.years for one in counts] == [{"2020": 2, "2021": 3}] * 4


def test_facets_are_read_by_page(server: GbifApi, run: ObtainRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "PAGE", 2)
    server.counts = {f"S{one}": {"2020": one + 1} for one in range(5)}
    server.lineages = {key: ["G"] for key in server.counts}
    assert {one.key: one.years for one in count(run, GENUS)} == server.counts
    offsets = [one.query["facetOffset"][0] for one in server.log if one.query["facet"] == ["speciesKey"]]
    assert offsets == ["0", "2", "4"] * 2  # of all years, and of 2020


def test_long_lists_are_counted_in_parts(server: GbifApi, run: ObtainRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_TAXA", 2)
    server.counts = {f"S{one}": {"2020": one + 1, "2021": 1} for one in range(3)}
    counts = count(run, *[NameMatch(key, key, key, "SPECIES") for key in server.counts])
    assert {one.key: one.years for one in counts} == server.counts
    assert [len(one.query["taxonKey"]) for one in server.log] == [2] * 4 + [1] * 3


def test_subspecies_in_different_parts_add_up_to_their_species(
    server: GbifApi, run: ObtainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_TAXA", 1)
    facets = [{"field": "ANY", "counts": [{"name": "A", "count": 4}]}]
    years = [{"field": "YEAR", "counts": [{"name": "2020", "count": 4}]}]
    for found in (facets, years, years) * 2:
        server.before(SEARCH, lambda visit, found=found: visit.send_json({"count": 4, "facets": found}))  # type: ignore[misc]
    subspecies = [NameMatch(key, key, f"Alpha {key}", "SUBSPECIES") for key in ("A1", "A2")]
    assert count(run, *subspecies) == [SpeciesCount("A", "", {"2020": 8})]


def test_temporary_failures_are_retried(server: GbifApi, run: ObtainRun) -> None:
    server.counts["A"] = {"2020": 5}
    server.before(SEARCH, give_status(503), send_page, lambda visit: visit.send_json({"facets": []}))
    assert count(run, A)[0].total == 5
    assert run.clock.pauses == [60, 120, 240]


def test_numbers_that_change_between_requests_are_never_negative(server: GbifApi, run: ObtainRun) -> None:
    server.counts["A"] = {"2020": 5}
    facets = [{"field": "SPECIES_KEY", "counts": [{"name": "A", "count": 4}]}]
    server.before(SEARCH, lambda visit: visit.send_json({"count": 4, "facets": facets}))
    assert count(run, A) == [SpeciesCount("A", "Alpha", {"2020": 5})]


def test_species_within_a_higher_taxon_get_their_names(
    server: GbifApi, run: ObtainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_NAMES", 2)
    server.names = {"Gamma": describe_match("C", "Gamma"), "Epsilon": describe_match("E", "Epsilon")}
    counts = [SpeciesCount("A", "Alpha", {}), *(SpeciesCount(key, "", {}) for key in "CDE")]
    assert [one.name for one in name_species(run.api, counts, COL, run.pauses)] == ["Alpha", "Gamma", "", ""]
    assert [(one.query["usageKey"], one.query["checklistKey"]) for one in server.log] == [
        (["C"], [COL]),
        (["D"], [COL]),
    ]


def test_a_key_without_a_name_stays(server: GbifApi, run: ObtainRun) -> None:
    server.before("/v2/species/match", give_status(404))
    counts = [SpeciesCount("C", "", {"2020": 1})]
    assert list(name_species(run.api, counts, COL, run.pauses)) == counts


def test_the_text_has_the_total_species_and_years() -> None:
    counts = [
        SpeciesCount("A", "Alpha", {"": 2, "2021": 1_000, "2020": 5}),
        SpeciesCount("C", "", {"2021": 7}),
        SpeciesCount("B", "Beta", {}),
        SpeciesCount("", ABOVE, {"2021": 3}),
    ]
    assert format_counts(counts, Path("request.counts.csv")).splitlines() == [
        "Occurrences with photos:",
        "         1,017  in total",
        "By species:",
        "         1,007  Alpha",
        "             7  C",
        "             0  Beta",
        "             3  identified above species",
        "By year:",
        "             5  2020",
        "         1,010  2021",
        "             2  without a year",
        "All species by year are in request.counts.csv",
    ]


def test_a_long_list_shows_the_largest_species() -> None:
    counts = [SpeciesCount(str(n), f"species {n}", {"2020": n}) for n in range(39, -1, -1)]
    lines = format_counts(counts, Path("request.counts.csv")).splitlines()
    assert lines[3] == "            39  species 39"
    assert lines[33] == "  and 10 more species, see request.counts.csv"
    assert lines[35] == "           780  2020"


def test_the_table_has_a_row_per_species_and_year(tmp_path: Path) -> None:
    counts = [
        SpeciesCount("0012", "Alpha, L.", {"": 2, "2020": 5}),
        SpeciesCount("B", "Beta", {}),
        SpeciesCount("", ABOVE, {"2021": 3}),
    ]
    write_counts(tmp_path / "counts.csv", counts)
    with (tmp_path / "counts.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["scientificName", "key", "year", "occurrences"],
            ["Alpha, L.", "0012", "", "2"],
            ["Alpha, L.", "0012", "2020", "5"],
            ["Beta", "B", "", "0"],
            [ABOVE, "", "2021", "3"],
        ]
