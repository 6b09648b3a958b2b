"""The task with the imitation of GBIF's API and pauses that take no time; the command is in tests/end_to_end."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gbif_webdataset.errors import FetchError, ParameterError
from tasks import RequestDownload, request
from tests.support.gbif_api import COL, GbifApi, Handler, describe_match, give_status
from tests.support.obtain_run import LOOPBACK, ManualClock

MATCH, SEARCH = "/v2/species/match", "/v1/occurrence/search"


@pytest.fixture
def server() -> Iterator[GbifApi]:
    with GbifApi() as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    monkeypatch.setattr(request, "time", SimpleNamespace(sleep=clock.sleep))
    return clock


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_task(server: GbifApi, names: int, **options: Any) -> Any:
    """The task with a list of so many species."""
    species = [f"Noctua {number}" for number in range(names)]
    server.names = {name: describe_match(f"K{name[7:]}", name) for name in species}
    Path("species.txt").write_text("\n".join(species))
    return RequestDownload(names="species.txt", api=server.url, allow_addresses=LOOPBACK, **options)


def list_names(server: GbifApi) -> list[str]:
    return [one.query["scientificName"][0] for one in server.requests("GET", MATCH)]


def test_a_command_that_was_interrupted_does_not_look_up_the_same_names_again(
    server: GbifApi, clock: ManualClock
) -> None:
    server.before(MATCH, Handler.match, Handler.match, *[give_status(500)] * 5)
    task = make_task(server, 4)
    with pytest.raises(FetchError, match="5 requests in a row failed; run the same command again: it continues"):
        task.run()
    assert not Path("request.json").exists()
    server.log.clear()
    task.run()
    assert list_names(server) == ["Noctua 2", "Noctua 3"]
    written = json.loads(Path("request.json").read_text())
    assert written["predicate"]["predicates"][0]["values"] == ["K0", "K1", "K2", "K3"]
    assert written["checklistKey"] == COL
    assert not Path("request.matches.jsonl").exists()


def test_matches_in_another_taxonomy_are_looked_up_again(server: GbifApi, clock: ManualClock) -> None:
    server.before(SEARCH, *[give_status(500)] * 5)
    with pytest.raises(FetchError):
        make_task(server, 2).run()
    server.log.clear()
    make_task(server, 2, taxonomy="backbone").run()
    assert list_names(server) == ["Noctua 0", "Noctua 1"]


def test_pauses_of_many_names_do_not_add_up(server: GbifApi, clock: ManualClock) -> None:
    for _ in range(70):
        server.before(MATCH, give_status(429), Handler.match)
    make_task(server, 70).run()
    assert clock.pauses == [60] * 70  # more than the hour that one name may take


def test_the_time_to_wait_ends_with_a_remedy_that_the_task_has(server: GbifApi, clock: ManualClock) -> None:
    server.before(MATCH, give_status(429, Retry_After="4000"))
    with pytest.raises(
        FetchError,
        match=r"the time to wait \(1 h 00 min\) would be over .*; run the same command again: it continues from here$",
    ):
        make_task(server, 1).run()


def test_all_species_are_in_a_table_and_the_largest_on_the_terminal(
    server: GbifApi, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task(server, 1)
    server.names["Noctua"] = describe_match("G", "Noctua")
    server.names["Noctua"]["usage"]["rank"] = "GENUS"
    server.names |= {f"Noctua inside {n}": describe_match(f"S{n}", f"Noctua inside {n}") for n in range(31)}
    server.counts = {f"S{n}": {"2020": 40 - n, "2021": 1} for n in range(31)} | {"K0": {"2020": 50}, "-G": {"2021": 4}}
    server.lineages = {key: ["G"] for key in server.counts}
    Path("species.txt").write_text("Noctua 0\nNoctua")
    task.run()
    lines = Path("request.counts.csv").read_text().splitlines()
    assert lines[:4] == [
        *("scientificName,key,year,occurrences", "Noctua 0,K0,2020,50"),
        *("Noctua inside 0,S0,2020,40", "Noctua inside 0,S0,2021,1"),
    ]
    assert lines[-1] == "identified above species,,2021,4"
    assert len(lines) == 1 + 1 + 2 * 31 + 1
    shown = capsys.readouterr().out
    assert "         860  in total" in shown
    assert "  and 2 more species, see request.counts.csv" in shown


def test_progress_is_printed(
    server: GbifApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(request, "PROGRESS_STEP", 2)
    make_task(server, 5).run()
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [f"{done} of 5 {what}" for what in ("names looked up", "species counted") for done in (2, 4)]


def test_a_user_name_and_password_in_the_address_are_refused_and_not_shown(server: GbifApi) -> None:
    with pytest.raises(
        ParameterError, match=r"^--RequestDownload-api https://\.\.\.@example\.org: not a valid"
    ) as error:
        RequestDownload(send=True, api="https://moth:s3cret@example.org")
    assert "s3cret" not in str(error.value)
