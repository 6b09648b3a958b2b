import csv
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.species_list import (
    ListedName,
    MatchJournal,
    NameMatch,
    find_contained,
    format_matches,
    match_names,
    parse_match,
    read_names,
    write_matches,
)
from tests.support.gbif_api import COL, GbifApi, describe_match, give_status
from tests.support.obtain_run import ObtainRun

NONE = {"diagnostics": {"matchType": "NONE", "confidence": 100}, "synonym": False}
GENUS = {"key": "G", "name": "Noctua", "rank": "GENUS", "status": "ACCEPTED"}
ACCEPTED = {"key": "A", "name": "Noctua pronuba (Linnaeus, 1758)", "rank": "SPECIES", "status": "ACCEPTED"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "Noctua pronuba\n\n# moths\n  Noctua   comes \nNoctua pronuba\n",
            [ListedName("Noctua pronuba"), ListedName("Noctua comes")],
        ),
        (
            "\ufeffscientificName,Rank,kingdom\nAotus,genus,Plantae\nAotus,genus,Animalia\n,,\n",
            [ListedName("Aotus", "genus", "Plantae"), ListedName("Aotus", "genus", "Animalia")],
        ),
        ('"scientificName"\n"Noctua pronuba (Linnaeus, 1758)"\n', [ListedName("Noctua pronuba (Linnaeus, 1758)")]),
        ("Noctua pronuba (Linnaeus, 1758)\r\n", [ListedName("Noctua pronuba (Linnaeus, 1758)")]),
    ],
)
def test_names_are_read_from_lines_or_from_a_csv(text: str, names: list[ListedName], tmp_path: Path) -> None:
    path = tmp_path / "species.txt"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_names(path) == names


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"\n# x\n", "there are no names in it"), (b"\xff\xfe", "the text is not UTF-8")]
)
def test_a_file_without_names_gives_a_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "species.txt").write_bytes(data)
    with pytest.raises(ParameterError, match=rf"species\.txt: {sentence}"):
        read_names(tmp_path / "species.txt")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal."""
    return tmp_path / "matches.jsonl"


def test_a_journal_returns_the_matches_of_its_checklist_and_no_damaged_line(path: Path) -> None:
    journal, listed = MatchJournal(path, COL), ListedName("Aotus", "genus", "Plantae")
    assert journal.load() == {}
    match = NameMatch("Aotus", "8", higher=("N",))
    journal.add(listed, match)
    MatchJournal(path, "other").add(ListedName("Noctua"), match)
    with path.open("ab") as file:
        file.write(b'\n[]\n{"match": 1}\n\xff\n{"checkl')
    journal.add(ListedName("Noctua"), match)
    assert journal.load() == {listed: match, ListedName("Noctua"): match}


def test_the_checklist_rank_and_kingdom_are_sent(server: GbifApi, run: ObtainRun, path: Path) -> None:
    server.names["Aotus"] = describe_match("8", "Aotus")
    [match] = match_names(run.api, [ListedName("Aotus", "genus", "Plantae")], run.pauses, MatchJournal(path, COL))
    assert match == NameMatch("Aotus", "8", "Aotus", "SPECIES", "ACCEPTED", "EXACT", 98, "", ("N",))
    expected = {"scientificName": ["Aotus"], "checklistKey": [COL], "taxonRank": ["GENUS"], "kingdom": ["Plantae"]}
    assert server.log[0].query == expected


def test_a_busy_host_is_asked_again(server: GbifApi, run: ObtainRun, path: Path) -> None:
    server.names["Aotus"] = describe_match("8", "Aotus")
    server.before("/v2/species/match", give_status(429, Retry_After="70"))
    [match] = match_names(run.api, [ListedName("Aotus")], run.pauses, MatchJournal(path, COL))
    assert match.key == "8"
    assert run.clock.pauses == [70]


@pytest.mark.parametrize(
    ("answer", "key", "note"),
    [
        (describe_match("A", "Noctua pronuba"), "A", ""),
        (describe_match("A", "Noctua pronuba", "FUZZY"), "A", "the spelling differs from Noctua pronuba, which is requested"),
        (describe_match("A", "Noctua pronuba", "VARIANT"), "A", "the spelling differs"),
        (describe_match("A", "Noctua pronuba", confidence=70), "A", "GBIF is only 70 % sure that this is Noctua pronuba"),
        (describe_match("S", "Phalaena pronuba", acceptedUsage=ACCEPTED, synonym=True), "A", "a synonym of Noctua pronuba (Linnaeus, 1758), which"),
        (describe_match("A", "Noctua", "HIGHERRANK"), "", "only Noctua was found, which is above it; not requested"),
        (NONE, "", "not found; not requested"),
        (describe_match("A", "Noctua x") | {"usage": {**GENUS, "status": "DOUBTFUL"}}, "G", "the status of the name is doubtful"),
    ],
)  # fmt: skip
def test_every_uncertain_match_has_a_note(answer: dict[str, Any], key: str, note: str) -> None:
    match = parse_match("Noctua pronuba", answer)
    assert match.key == key
    assert match.note.startswith(note)
    assert bool(match.note) == bool(note)


@pytest.mark.parametrize("answer", [[], {}, {"diagnostics": None}, {"usage": 1, "diagnostics": {}}, "text"])
def test_an_answer_that_is_no_match_is_temporary(answer: Any) -> None:
    with pytest.raises(TemporaryError):
        parse_match("Noctua", answer)


def test_a_taxon_within_another_of_the_list_is_found() -> None:
    matches = [
        NameMatch("a", "A"),
        NameMatch("b", "B", higher=("X", "A")),
        NameMatch("c"),
        NameMatch("d", "D", higher=("",)),
    ]
    assert find_contained(matches) == {"B"}


def test_the_table_has_all_matches_and_the_text_every_uncertain_one(tmp_path: Path) -> None:
    matches = [
        parse_match(f"name {n}", describe_match(str(n), f"name {n}", "FUZZY" if n % 2 else "EXACT")) for n in range(80)
    ]
    write_matches(tmp_path / "names.csv", matches)
    with (tmp_path / "names.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [str(n) for n in range(80)]
    assert list(rows[0]) == ["name", "key", "matched", "rank", "status", "kind", "confidence", "note"]
    lines = format_matches(matches, tmp_path / "names.csv").splitlines()
    assert lines[0].startswith("80 of 80 names found; all matches are in ")
    assert lines[1] == "Check these 40:"
    assert [line.split(":")[0].strip() for line in lines[2:]] == [f"name {n}" for n in range(1, 80, 2)]
