"""The names of a request, and their taxa in a checklist by GBIF's species/match API."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.formatting import format_count
from gbif_webdataset.obtain.gbif_api import GbifApi
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.pauses import Pauses
from gbif_webdataset.storage.atomic import atomic_file

MATCH = "/v2/species/match"
COLUMNS = NAME, RANK, KINGDOM = ("scientificname", "rank", "kingdom")
NOT_FOUND = ("NONE", "HIGHERRANK", "AMBIGUOUS")
"""Kinds of match that name no taxon, or only one above the taxon that was asked for."""
MIN_CONFIDENCE = 90


@dataclass(frozen=True)
class ListedName:
    """An entry of the user's list. Rank and kingdom are empty if the list does not state them."""

    name: str
    rank: str = ""
    kingdom: str = ""


@dataclass(frozen=True)
class NameMatch:
    """What GBIF found for a name.

    Attributes:
        name: as in the list.
        key, matched, rank, status: of the accepted taxon; the key is empty if there is none to request.
        kind, confidence: GBIF's words, such as EXACT and 97.
        note: why the match is uncertain; empty if it is certain.
        higher: the keys of the taxa above it.
    """

    name: str
    key: str = ""
    matched: str = ""
    rank: str = ""
    status: str = ""
    kind: str = ""
    confidence: int = 0
    note: str = ""
    higher: tuple[str, ...] = ()


def read_names(path: Path) -> list[ListedName]:
    """Return the names in a text file with one per line, or a CSV with scientificName, and optionally rank and kingdom.

    Raises:
        ParameterError: the file has no names, or is not text.
    """
    form = "write one scientific name per line, or a CSV with the columns scientificName, rank, kingdom"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ParameterError.at(str(path), "the text is not UTF-8", "save the file as UTF-8") from None
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    header = lines[0].lower().replace(" ", "") if lines else ""
    if NAME in header.replace('"', "").split(","):
        found = [_read_row(row) for row in csv.DictReader(lines)]
    else:
        found = [ListedName(" ".join(line.split())) for line in lines]
    names = list(dict.fromkeys(one for one in found if one.name))
    if not names:
        raise ParameterError.at(str(path), "there are no names in it", form)
    return names


def _read_row(row: dict[str, str]) -> ListedName:
    values = {str(name).strip().lower(): " ".join((value or "").split()) for name, value in row.items() if name}
    return ListedName(values.get(NAME, ""), values.get(RANK, ""), values.get(KINGDOM, ""))


@dataclass(frozen=True)
class MatchJournal:
    """A file with the matches of a command that has not ended. The next command does not look up these names again."""

    path: Path
    checklist: str

    def load(self) -> dict[ListedName, NameMatch]:
        """Return the matches in the checklist. Damaged lines, such as the last of a killed command, do not count."""
        found = {}
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                values = json.loads(line)
                match = NameMatch(**values["match"] | {"higher": tuple(values["match"]["higher"])})
                if values["checklist"] == self.checklist:
                    found[ListedName(*values["listed"])] = match
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def add(self, listed: ListedName, match: NameMatch) -> None:
        """Append the match of a name."""
        values = {"checklist": self.checklist, "listed": astuple(listed), "match": asdict(match)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(values)}")


def match_names(
    api: GbifApi, names: Iterable[ListedName], pauses: Pauses, journal: MatchJournal
) -> Iterator[NameMatch]:
    """Yield the match of each name in the journal's checklist. Raises FetchError if GBIF refuses or does not answer."""
    earlier = journal.load()
    for listed in names:
        match = earlier.get(listed)
        if match is None:
            match = _match_name(api, listed, journal.checklist, pauses)
            journal.add(listed, match)
        yield match


def _match_name(api: GbifApi, listed: ListedName, checklist: str, pauses: Pauses) -> NameMatch:
    query = [("scientificName", listed.name), ("checklistKey", checklist)]
    query += [(name, text) for name, text in (("taxonRank", listed.rank.upper()), ("kingdom", listed.kingdom)) if text]
    match = pauses.retry(lambda: parse_match(listed.name, api.read_json(MATCH, query)))
    pauses.restart()
    return match


def find_name(api: GbifApi, key: str, checklist: str, pauses: Pauses) -> str:
    """Return the name of a taxon by its key in a checklist; empty if GBIF knows none.

    Raises:
        NotFoundError: the taxon is not known.
        FetchError: GBIF refuses the request or does not answer.
    """
    query = [("usageKey", key), ("checklistKey", checklist)]
    match = pauses.retry(lambda: parse_match(key, api.read_json(MATCH, query)))
    pauses.restart()
    return match.matched


def parse_match(name: str, answer: Any) -> NameMatch:
    """Return the match in an answer of the API. Raises TemporaryError if the answer is no match."""
    try:
        usage, accepted = answer.get("usage") or {}, answer.get("acceptedUsage") or {}
        diagnostics = answer["diagnostics"]
        kind = str(diagnostics.get("matchType") or "NONE")
        confidence = int(diagnostics.get("confidence") or 0)
        taxon = accepted or usage
        higher = tuple(str(one["key"]) for one in answer.get("classification") or ())
        key = "" if kind in NOT_FOUND else str(taxon.get("key") or "")
        matched, status = str(taxon.get("name") or ""), str(usage.get("status") or "")
        note = _explain_match(key, kind, confidence, usage, accepted)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TemporaryError("the answer of GBIF does not describe the match of a name") from None
    higher = tuple(one for one in higher if one != key)
    return NameMatch(name, key, matched, str(taxon.get("rank") or ""), status, kind, confidence, note, higher)


def _explain_match(key: str, kind: str, confidence: int, usage: dict[str, Any], accepted: dict[str, Any]) -> str:
    """Return why a match is uncertain; empty if it is certain."""
    found = str(usage.get("name") or "")
    if not key:
        return f"only {found} was found, which is above it; not requested" if found else "not found; not requested"
    if accepted:
        return f"a synonym of {accepted.get('name')}, which is requested"
    if kind != "EXACT":
        return f"the spelling differs from {found}, which is requested"
    if confidence < MIN_CONFIDENCE:
        return f"GBIF is only {confidence} % sure that this is {found}, which is requested"
    status = str(usage.get("status") or "ACCEPTED")
    return "" if status == "ACCEPTED" else f"the status of the name is {status.lower().replace('_', ' ')}"


def find_contained(matches: Sequence[NameMatch]) -> set[str]:
    """Return the keys of taxa that are part of another taxon of the list, whose occurrences are already counted."""
    keys = {match.key for match in matches if match.key}
    return {match.key for match in matches if keys & set(match.higher)}


def write_matches(path: Path, matches: Sequence[NameMatch]) -> None:
    """Write the matches as a CSV."""
    names = [one.name for one in fields(NameMatch) if one.name != "higher"]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(astuple(match)[: len(names)] for match in matches)


def format_matches(matches: Sequence[NameMatch], table: Path) -> str:
    """Return a text that lists every uncertain match."""
    uncertain = [match for match in matches if match.note]
    found = sum(bool(match.key) for match in matches)
    lines = [f"{found:,} of {format_count(len(matches), 'name')} found; all matches are in {table}"]
    if uncertain:
        lines.append(f"Check these {len(uncertain):,}:")
        lines += [f"  {match.name}: {match.note}" for match in uncertain]
    return "\n".join(lines)
