from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from gbif_webdataset.clean.life_stages import (
    ADULT_WORDS,
    NOT_ADULT_WORDS,
    classify_life_stage,
    create_predictions,
    normalize_life_stage,
)
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage import tables
from tests.support.archives import find_case
from tests.support.manifests import make_manifest

HEADER = b"image_path,life_stage_prediction\n"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the images d1/a.jpg to d1/d.jpg."""
    with tables.open_database(tmp_path / "scratch") as connection:
        connection.execute(
            "CREATE TABLE verified AS SELECT 'd1/' || unnest(['a', 'b', 'c', 'd']) || '.jpg' AS image_path"
        )
        yield connection


def predictions(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    return dict(tables.fetch_rows(connection, "SELECT image_path, life_stage FROM predictions"))


@pytest.mark.parametrize(
    ("text", "life_stage"), [("Adult", "adult"), ("\t IMAGO\u00a0", "imago"), ("", None), (" \u00a0 ", None)]
)
def test_life_stages_are_compared_without_case_and_spaces(
    connection: duckdb.DuckDBPyConnection, text: str, life_stage: str | None
) -> None:
    query = f"SELECT {normalize_life_stage(tables.quote_text(text))}"
    assert tables.fetch_rows(connection, query) == [(life_stage,)]


ADULTS = (
    "Adult", "Imago", "adult", "ADULT", "Imago/Adult", "adult | adult", "Adulte", "adulto", "Adult female", "2 adults",
    "http://rs.gbif.org/vocabulary/gbif/life_stage/adult", "fresh imago", "imago ♂", "ad.", "adult female - worker",
    "adult unsexed", "fertile", "Adult, sex unknown",
)  # fmt: skip
OTHER_STAGES = (
    "Larva", "Pupa", "Subadult", "sub-adult", "Subimago", "Adult;Larva", "young-adult", "têtard", "te\u0302tard", "juv.",
    "not adult", "not_adult", "non-adult", "5th instar nymph", "pullus", "pupa | larva", "egg", "http://x.org/life_stage/larva",
)  # fmt: skip
NO_STAGES = (
    "Unknown", "unknown", "Not recorded", "not stated", "No data", "not known", "not applicable", "indeterminate", "", None, "adult?", "?", "n/a",
    "flower", "radult", "adultery", "12",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        (text, stage)
        for texts, stage in ((ADULTS, "adult"), (OTHER_STAGES, "not adult"), (NO_STAGES, None))
        for text in texts
    ],
)
def test_a_life_stage_is_adult_another_stage_or_unknown(
    connection: duckdb.DuckDBPyConnection, text: str | None, stage: str | None
) -> None:
    query = f"SELECT {classify_life_stage('$1::VARCHAR')}"
    assert connection.execute(query, [text]).fetchall() == [(stage,)]


def test_predictions_are_read_whatever_the_order_of_the_columns(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(
        "\ufefflife_stage_prediction,score,image_path\r\n"
        "larva,0.9,d1/a.jpg\r\n"
        '" Adult ",0.9,images/d1/b.jpg\r\n'
        "\r\n"
        ",0.9,d1/d.jpg\r\n"
        "adult,0.8,d1/b.jpg\r\n"
        "adult,0.8,elsewhere/b.jpg\r\n".encode()
    )
    create_predictions(connection, path)
    assert predictions(connection) == {
        "d1/a.jpg": "larva",
        "d1/b.jpg": "adult",
        "d1/d.jpg": None,
        "elsewhere/b.jpg": "adult",
    }


def test_without_a_file_there_are_no_predictions(connection: duckdb.DuckDBPyConnection) -> None:
    create_predictions(connection, None)
    assert predictions(connection) == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "{path}, line 1: no column image_path; name the columns image_path and life_stage_prediction"),
        (b"image_path;life_stage_prediction\nd1/a.jpg;adult\n", "{path}, line 1: no column image_path; "),
        (b"image_path,stage\nd1/a.jpg,adult\n", "{path}, line 1: no column life_stage_prediction; "),
        (HEADER + b"d1/a.jpg,adult\nd1/b.jpg,\xe4dult\n", "{path}, line 3: not UTF-8; "),
        (HEADER + b"d1/a.jpg\n", "{path}, line 2: the line has 1 fields, but line 1 names 2 columns; "),
        (HEADER + b'd1/a.jpg,"adult\n', "{path}, line 2: "),
        (HEADER + b"d7/a.jpg,adult\n", "{path}: none of its image_path values is in this dataset; "),
        (HEADER, "{path}: none of its image_path values is in this dataset; "),
        (
            HEADER + b"d1/a.jpg,adult\nd1/b.jpg,adult\nimages/d1/a.jpg,Pupa\n",
            "{path}: image_path 'd1/a.jpg' has the life_stage_prediction 'adult' in line 2 and 'pupa' in line 4; ",
        ),
    ],
)
def test_bad_predictions_are_refused_with_file_and_line(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(ParameterError) as caught:
        create_predictions(connection, path)
    assert str(caught.value).startswith(sentence.format(path=path))
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_is_named(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    option = "--CleanDataset-life-stage-predictions"
    with pytest.raises(ParameterError, match=rf"{option} {tmp_path}/none\.csv: No such file or directory; "):
        create_predictions(connection, tmp_path / "none.csv")


def test_every_word_of_a_life_stage_is_written_as_it_is_compared() -> None:
    words = (*ADULT_WORDS, *NOT_ADULT_WORDS)
    folded = duckdb.execute(
        "SELECT list_transform($1, lambda word: strip_accents(lower(word)))", [list(words)]
    ).fetchall()
    assert folded == [(list(words),)]
    assert len(set(words)) == len(words)


def test_the_life_stages_of_an_archive_are_adult_other_or_unknown(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "manifest").mkdir()
    rows = make_manifest(find_case("archives/life-stages.zip"), tmp_path / "manifest").rows
    query = f"SELECT {classify_life_stage('$1::VARCHAR')}"
    found = {row["lifeStage"]: connection.execute(query, [row["lifeStage"]]).fetchall()[0][0] for row in rows}
    assert {text for text, stage in found.items() if stage == "not adult"} == {
        "Larva", "Pupa", "Subadult", "Subimago", "Adult;Larva",
    }  # fmt: skip
    assert {text for text, stage in found.items() if stage is None} == {"Unknown", "unknown", "Not recorded", None}
    assert len(found) == 22
