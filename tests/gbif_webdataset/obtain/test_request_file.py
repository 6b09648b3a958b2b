import json
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import FetchError, ParameterError
from gbif_webdataset.obtain.request_file import (
    digest_request,
    find_sent_key,
    read_request,
    resolve_request,
    save_sent,
    send_command,
    write_request,
)
from tests.support.gbif_api import COL, KEY

COUNTRY = {"type": "in", "key": "COUNTRY", "values": ["DK", "SE"]}
YEAR = {"type": "equals", "key": "YEAR", "value": "2020"}
REQUEST: dict[str, Any] = {
    "format": "DWCA",
    "checklistKey": COL,
    "predicate": {"type": "and", "predicates": [COUNTRY, YEAR]},
}


def test_a_request_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_request(tmp_path / "request.json", REQUEST)
    assert read_request(tmp_path / "request.json") == REQUEST


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file; write one with `make request NAMES="),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a download request, because it has no predicate"),
        (b"{}", "not a download request"),
        (b"{" + b" " * (16 << 20) + b"}", "the request is larger than 16 MiB"),
        (b'{"predicate": {}}', "the format of the request is None, which has no media"),
        (
            b'{"predicate": {}, "format": "SIMPLE_CSV"}',
            'the format of the request is SIMPLE_CSV, which has no media; set "format": "DWCA"',
        ),
    ],
)
def test_a_file_that_is_no_request_gives_a_sentence(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ParameterError, match=rf"request\.json: {sentence}"):
        read_request(path)


@pytest.mark.parametrize(
    "other",
    [
        REQUEST | {"creator": "moth", "notificationAddresses": ["a@example.org"], "sendNotification": True},
        REQUEST | {"type": "OCCURRENCE", "verbatimExtensions": [], "description": "mine"} | {"description": ""},
        REQUEST | {"predicate": {"type": "and", "predicates": [YEAR, COUNTRY | {"values": ["SE", "DK"]}]}},
        REQUEST | {"predicate": {"type": "and", "predicates": [COUNTRY | {"matchCase": False}, YEAR]}},
    ],
)
def test_requests_for_the_same_occurrences_have_the_same_digest(other: dict[str, Any]) -> None:
    assert digest_request(other) == digest_request(REQUEST)


@pytest.mark.parametrize(
    "other",
    [
        REQUEST | {"format": "SIMPLE_CSV"},
        REQUEST | {"checklistKey": "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"},
        REQUEST | {"type": "EVENT"},
        REQUEST | {"predicate": {"type": "or", "predicates": [COUNTRY, YEAR]}},
        REQUEST | {"predicate": {"type": "and", "predicates": [COUNTRY | {"matchCase": True}, YEAR]}},
        REQUEST | {"predicate": {"type": "and", "predicates": [COUNTRY | {"values": ["DK"]}, YEAR]}},
    ],
)
def test_other_requests_have_another_digest(other: dict[str, Any]) -> None:
    assert digest_request(other) != digest_request(REQUEST)


def test_the_key_of_a_submitted_request_is_found_until_the_request_changes(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    write_request(path, REQUEST)
    assert find_sent_key(path, REQUEST) == ""
    save_sent(path, REQUEST, KEY)
    assert resolve_request(path) == KEY
    write_request(path, REQUEST | {"predicate": YEAR})
    with pytest.raises(
        FetchError, match=r"the request has not been submitted to GBIF; run `make request SEND=1 OUTPUT="
    ):
        resolve_request(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}'])
def test_a_damaged_record_of_the_submission_counts_as_absent(content: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    write_request(path, REQUEST)
    (tmp_path / "request.sent.json").write_text(content)
    assert find_sent_key(path, REQUEST) == ""


def test_the_command_quotes_the_path() -> None:
    assert send_command(Path("my moths.json")) == 'make request SEND=1 OUTPUT="my moths.json"'
    assert json.loads(json.dumps(send_command(Path("a.json")))) == "make request SEND=1 OUTPUT=a.json"
