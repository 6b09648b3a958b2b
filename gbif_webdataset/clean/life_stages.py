"""Life stages: how they are compared, and the user's predictions for images whose record states none."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError, option_text
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.list_match import describe_match

OPTION = "--CleanDataset-life-stage-predictions"
COLUMNS = ("image_path", "life_stage_prediction")
SCHEMA = pa.schema([("line", pa.int64()), ("image_path", pa.string()), ("prediction", pa.string())])
SPACES = " \t\r\n\v\f\u00a0"
ADULT, NOT_ADULT = "adult", "not adult"
ADULT_WORDS = (
    "ad", "adult", "adults", "adulta", "adultas", "adulte", "adulten", "adulter", "adultes", "adulti", "adulto",
    "adultos", "adultus", "ausgewachsen", "dorosly", "dospelec", "erwachsen", "fertile", "imagines", "imago", "imagoes",
    "imagos", "vuxen", "voksen", "volwassen", "взрослыи", "имаго", "成虫", "成体",
)  # fmt: skip
NOT_ADULT_WORDS = (
    "calf", "caterpillar", "caterpillars", "chenille", "chick", "chicks", "chrysalis", "cocoon", "cub", "egg", "eggs",
    "ei", "embryo", "exuvia", "exuviae", "fetus", "fingerling", "foetus", "fry", "hatchling", "hatchlings", "huevo",
    "immature", "immatures", "instar", "instars", "juv", "juvenil", "juvenile", "juveniles", "juvinile", "larva",
    "larvae", "larval", "larvas", "larve", "larven", "larver", "larves", "naiad", "neonate", "nestling", "nestlings",
    "ninfa", "nonadult", "nymfe", "nymph", "nymphe", "nymphs", "oeuf", "oruga", "ova", "ovo", "ovum", "parr", "poppe",
    "preadult", "pul", "pullus", "pup", "pupa", "pupae", "pupal", "puppe", "raupe", "rups", "seedling", "smolt",
    "spawn", "subadult", "subadulte", "subadulto", "subadults", "subimago", "tadpole", "tadpoles", "tetard", "yearling",
    "young", "куколка", "личинка", "卵", "幼虫", "蛹",
)  # fmt: skip
"""Words of life stages, in lower case and without accents: those of GBIF's dictionary, plurals and translations."""


def normalize_life_stage(column: str) -> str:
    """The SQL of a life stage in lower case without surrounding spaces; NULL if it is empty."""
    return f"nullif(lower(trim({column}, {tables.quote_text(SPACES)})), '')"


def classify_life_stage(column: str) -> str:
    """The SQL of ADULT, NOT_ADULT or NULL for a life stage; NULL if it is empty, doubtful or not understood.

    `Imago/Adult`, `2 adults` and `Adult female` are adult. `Adult;Larva`, `Subadult` and `not adult` are not, because
    the picture may show the other stage. `Unknown`, `Not recorded` and `adult?` say nothing.
    """
    text = f"strip_accents(lower({column}))"
    negated = rf"(no|not|non|pre|sub)[^\pL]+({'|'.join(ADULT_WORDS)})"
    return (
        f"CASE WHEN contains({text}, '?') THEN NULL "
        f"WHEN {_has_word(text, (*NOT_ADULT_WORDS, negated))} THEN '{NOT_ADULT}' "
        f"WHEN {_has_word(text, ADULT_WORDS)} THEN '{ADULT}' END"
    )


def _has_word(text: str, words: Iterable[str]) -> str:
    """The SQL of whether one of these words is in a text, with no letter before or behind it."""
    pattern = rf"(^|[^\pL])({'|'.join(words)})($|[^\pL])"
    return f"regexp_matches({text}, {tables.quote_text(pattern)})"


def create_predictions(connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
    """Create the table `predictions` (image_path, life_stage), which has no rows if there is no file.

    The file is a CSV with the columns image_path and life_stage_prediction. Paths are those of the view `verified`,
    with or without a leading `images/`. Life stages are normalized.

    Raises:
        ParameterError: the file is not such a CSV, names no image of the dataset, or contradicts itself.
    """
    connection.execute("CREATE TABLE predicted_lines (line BIGINT, image_path VARCHAR, life_stage VARCHAR)")
    if path is not None:
        for batch in _to_batches(_read_predictions(path)):
            connection.register("batch", batch)
            connection.execute(
                "INSERT INTO predicted_lines SELECT line, regexp_replace(image_path, '^images/', ''), "
                f"{normalize_life_stage('prediction')} FROM batch"
            )
        _check_predictions(connection, path)
    connection.execute(
        """CREATE TABLE predictions AS
        SELECT image_path, min(life_stage) AS life_stage FROM predicted_lines GROUP BY image_path"""
    )


def check_predictions_file(path: Path) -> None:
    """Return if the file is a CSV of predictions, whatever images it names.

    Raises:
        ParameterError: the file cannot be read, or is not such a CSV.
    """
    for _ in _read_predictions(path):
        pass


def match_predictions(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> str:
    """How many images of the predictions are in a table with the column image_path, as a sentence.

    Raises:
        SelectionError: none is.
        ParameterError: the file cannot be read, or is not such a CSV.
    """
    images = {image.removeprefix("images/") for _, image, _ in _read_predictions(path)}
    connection.register("predicted", pa.table([arrow.to_text_array(list(images))], ["image_path"]))
    query = f"SELECT count(*) FROM predicted SEMI JOIN {table} USING (image_path)"
    [(found,)] = tables.fetch_rows(connection, query)
    connection.unregister("predicted")
    remedy = "write image_path as in the manifest, <datasetKey>/<coreid>.jpg"
    return describe_match(option_text(OPTION, path), "images", found, len(images), remedy)


def _check_predictions(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    contradiction = """SELECT image_path, arg_min(line, life_stage) AS line, min(life_stage),
            arg_max(line, life_stage) AS other_line, max(life_stage)
        FROM predicted_lines GROUP BY image_path HAVING min(life_stage) <> max(life_stage)
        ORDER BY line, image_path LIMIT 1"""
    for image, line, stage, other_line, other_stage in tables.fetch_rows(connection, contradiction):
        raise ParameterError(
            f"{path}: image_path {image!r} has the life_stage_prediction {stage!r} in line {line} and "
            f"{other_stage!r} in line {other_line}; keep one of the two lines"
        )
    if not tables.fetch_rows(connection, "SELECT 1 FROM verified SEMI JOIN predicted_lines USING (image_path) LIMIT 1"):
        raise ParameterError(
            f"{path}: none of its image_path values is in this dataset; write them as in verified.parquet, "
            "<datasetKey>/<coreid>.jpg"
        )


def _read_predictions(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, image_path and prediction of each row."""
    records = csv.reader(_decode_lines(path), strict=True)
    try:
        names = [name.strip() for name in next(records, [])]
        for column in COLUMNS:
            if column not in names:
                raise ParameterError(f"{path}, line 1: no column {column}; name the columns {' and '.join(COLUMNS)}")
        image, prediction = (names.index(column) for column in COLUMNS)
        for record in records:
            if record and len(record) != len(names):
                raise ParameterError(
                    f"{path}, line {records.line_num}: the line has {len(record)} fields, but line 1 names "
                    f"{len(names)} columns; correct the line"
                )
            if record:
                yield records.line_num, record[image], record[prediction]
    except csv.Error as error:
        raise ParameterError(f"{path}, line {records.line_num}: {error}; correct the line") from error


def _decode_lines(path: Path) -> Iterator[str]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ParameterError(f"{OPTION} {path}: {error.strerror}; name a CSV that exists") from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ParameterError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from error


def _to_batches(records: Iterable[tuple[int, str, str]]) -> Iterator[pa.RecordBatch]:
    records = iter(records)
    while some := list(islice(records, arrow.ROW_GROUP)):
        columns = zip(zip(*some, strict=True), SCHEMA.types, strict=True)
        yield pa.record_batch([arrow.to_typed_array(values, kind) for values, kind in columns], schema=SCHEMA)
