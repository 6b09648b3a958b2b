import errno
import os

import duckdb
import pytest

from gbif_webdataset.errors import (
    ArchiveError,
    DatasetError,
    ParameterError,
    did_you_mean,
    escape_text,
    explain,
    option_text,
    shorten_text,
)


def test_every_error_has_a_place_a_problem_and_a_remedy() -> None:
    error = ParameterError.at("--chunks 0", "not a valid value", "give a number from 1")
    assert isinstance(error, ParameterError)
    assert str(error) == "--chunks 0: not a valid value; give a number from 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "--x 0.5"),
        ("data/a.zip", "--x data/a.zip"),
        ("two words", '--x "two words"'),
        ("year >= '2015'", """--x "year >= '2015'\""""),
        ('a "quoted" word', """--x 'a "quoted" word'"""),
        ("", '--x ""'),
    ],
)
def test_an_option_is_written_as_users_type_it(value: object, text: str) -> None:
    assert option_text("--x", value) == text


@pytest.mark.parametrize(
    ("word", "known", "question"),
    [
        ("retires", ["retries", "user_agent"], "did you mean retries?"),
        ("fetch_chunks", ["FetchChunk", "FetchImages"], "did you mean FetchChunk?"),
        ("dwca", ["DWCA"], "did you mean DWCA?"),
        ("test_frac", ["val-frac", "test-frac"], "did you mean test-frac?"),
        ("colour", ["chunks"], ""),
    ],
)
def test_similar_names_are_suggested_in_any_case_and_with_any_separator(
    word: str, known: list[str], question: str
) -> None:
    assert did_you_mean(word, known) == question


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ArchiveError("a.zip: no meta.xml; download it again"), "a.zip: no meta.xml; download it again"),
        (ValueError("a defect"), None),
        (
            MemoryError(),
            "out of memory: the machine has too little; use a smaller --workers, or lower --ReadArchive-memory-limit",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x"),
            "/data/x: No space left on device; free some space where --output is and run the same command again: it "
            "continues where it stopped",
        ),
        (
            OSError(errno.EACCES, os.strerror(errno.EACCES), "/data/x"),
            "/data/x: Permission denied; choose an --output that you may write to",
        ),
        (OSError(errno.ENXIO, os.strerror(errno.ENXIO)), "No such device or address"),
        (
            OSError(errno.EIO, "x", "a.tar"),
            "a.tar: x; the disk or the connection to it has a fault: see the system's log, or "
            "move the files to another disk",
        ),
        (
            OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)),
            "Function not implemented; the file system has no file locks: choose an --output on another one, or ask for "
            "it to be mounted with locks (Lustre: -o flock)",
        ),
        (
            OSError(errno.EISDIR, os.strerror(errno.EISDIR), "/data/.tmp-x", None, "/data/x"),
            "/data/x: Is a directory; a file and a folder have changed places: move it away and run the same command "
            "again",
        ),
        (
            duckdb.InvalidInputException("Invalid Input Error: No magic bytes found at end of file '/d/a.parquet'"),
            "/d/a.parquet: the table is damaged and cannot be read; run `make audit ARGS=--AuditDataset-repair` and "
            "then the same command again, or restore the file from a backup",
        ),
        (
            duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"),
            "out of memory: a database reached its limit; if ReadArchive or VerifyImages failed, raise its "
            "memory_limit, such as --ReadArchive-memory-limit 4GB; otherwise report this as a bug",
        ),
        (
            duckdb.IOException('IO Error: Could not write file "/tmp/x": No space left on device'),
            "/tmp/x: No space left on device; free some space where --output is and run the same command again: it "
            "continues where it stopped",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_that_the_user_can_fix_has_a_sentence(error: Exception, sentence: str | None) -> None:
    assert explain(error) == sentence


def test_an_error_has_the_sentence_of_its_cause() -> None:
    with pytest.raises(RuntimeError) as raised:
        try:
            raise DatasetError("a.zip: damaged; download it again")
        except DatasetError as error:
            raise RuntimeError from error
    assert explain(raised.value) == "a.zip: damaged; download it again"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Gozmány 漢字 😀 a\\b", "Gozmány 漢字 😀 a\\b"),
        ("\x1b]0;PWNED\x07\x1b[31mRED", r"\x1b]0;PWNED\x07\x1b[31mRED"),
        ("\x9b31m \x9d0;x \x90", r"\x9b31m \x9d0;x \x90"),
        ("a\nb\r\tc\0\x7f", r"a\nb\r\tc\x00\x7f"),
        ("\u202eright\u2066 \u200f \u2028 \ufeff", r"\u202eright\u2066 \u200f \u2028 \ufeff"),
        ("\ud800 \udcff \U000e0041", r"\ud800 \udcff \U000e0041"),
    ],
)
def test_characters_that_act_on_a_terminal_are_escaped_in_every_message(text: str, escaped: str) -> None:
    assert escape_text(text) == escaped
    assert escape_text(escaped) == escaped
    assert str(DatasetError(text)) == escaped
    assert explain(DatasetError(text)) == escaped
    assert explain(OSError(errno.ENXIO, "No such device", text)) == f"{escaped}: No such device"


def test_line_ends_of_a_table_are_kept() -> None:
    assert escape_text("a\x1b\nb\n", keep="\n") == "a\\x1b\nb\n"


def test_a_long_sentence_keeps_its_beginning_and_its_remedy() -> None:
    sentence = str(ArchiveError("a.zip: " + "x" * 100_000 + "; correct meta.xml"))
    assert len(sentence) <= 2_000
    assert sentence.startswith("a.zip: xxx")
    assert sentence.endswith("xxx; correct meta.xml")
    assert shorten_text("x" * 100, 100) == "x" * 100
