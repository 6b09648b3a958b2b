"""Which of the verified images are good enough to learn from, and why the others are not."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.clean import duplicates
from gbif_webdataset.clean.duplicates import Duplicates
from gbif_webdataset.errors import MissingPieceError, ParameterError, SelectionError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.outcomes import DecoderWarning, Defect

DUPLICATES = ("none", "all-but-one", "all")
DROPPED = pa.schema([(name, pa.string()) for name in ("stage", "reason", "image_path", "identifier", "coreid")])
PREDICTIONS = pa.schema([("line", pa.int64()), ("image_path", pa.string()), ("prediction", pa.string())])
PREDICTION_COLUMNS = ("image_path", "life_stage_prediction")
# Python, Arrow and the Parquet file being written want the rest of 1 GB.
MEMORY_LIMIT = "700MB"
# VerifyImages lists these in errors.csv. Any other reason in deleted.csv is the user's.
FOUND = tuple(str(code) for code in (*Defect, *DecoderWarning))
DELETED = "(gone.deleted IS NOT NULL AND verified.error IS NOT DISTINCT FROM 'missing-file')"
SPACES = " \t\r\n\v\f\u00a0"


@dataclass(frozen=True)
class Filters:
    """What to drop beyond what is corrupt or deleted; the defaults suit any group of organisms.

    `remove_duplicate_url` is one of `DUPLICATES`; `thumb_size` is in pixels, an image whose width or height is below
    it goes, 0 keeps all; `remove_flat` drops images of one shade; `life_stage_predictions` is a CSV
    `image_path,life_stage_prediction`, used by `remove_non_adults` alone and only where the archive has no lifeStage;
    `duplicates` says what goes of the same images under several URLs.

    Raises ParameterError for an unknown `remove_duplicate_url` and for a negative `thumb_size`.
    """

    remove_duplicate_url: str = "all-but-one"
    ignore_dataset_by_key: tuple[str, ...] = ()
    thumb_size: int = 0
    remove_non_adults: bool = False
    life_stage_predictions: Path | None = None
    remove_flat: bool = False
    duplicates: Duplicates = field(default_factory=Duplicates)

    def __post_init__(self) -> None:
        if self.remove_duplicate_url not in DUPLICATES:
            choices = ", ".join(DUPLICATES)
            raise ParameterError(f"remove_duplicate_url is {self.remove_duplicate_url!r}: choose one of {choices}")
        if self.thumb_size < 0:
            raise ParameterError(f"thumb_size is {self.thumb_size}: give a number of pixels, or 0 to keep every size")


@dataclass(frozen=True)
class Step:
    """One step of the funnel: the images before it and after it."""

    stage: str
    reason: str
    before: int
    after: int


@dataclass(frozen=True)
class _Rule:
    """`condition` is SQL on a row of `verified`, its row of `gone` and its `predicted.prediction`."""

    stage: str
    reason: str
    condition: str
    remedy: str


def clean(
    verified: Path,
    deleted: Path,
    target: Path,
    dropped: Path,
    filters: Filters,
    scratch: Path,
    copies: Path | None = None,
) -> list[Step]:
    """Write the images that pass to `target` and all others, each with its first reason, to `dropped`; the funnel.

    `verified` is a Parquet file of one row per image; `deleted` a CSV with `image_path`, `identifier` and `reason`: an
    image that is missing because it was deleted is dropped for that reason, as it was before it went. `target`
    has the columns of `verified`, `dropped` those of `DROPPED`; both are Parquet files sorted by `image_path`.
    `copies`, if given, becomes a Parquet file of the groups of images that are the same (`duplicates.GROUPS`).
    The funnel has a Step for each error code found, one for deletions, and one for each filter switched on.

    Raises ParameterError where the predictions can't be used, SelectionError where a filter needs a column that the
    archive lacks or where nothing is left, MissingPieceError where the rows written are not the rows read.
    """
    columns = set(pq.read_schema(verified).names)
    rules = _rules(filters, columns)
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        order = tables.order_clause(connection, verified)
        connection.execute(
            f"CREATE VIEW verified AS SELECT file_row_number AS place, * FROM {tables.parquet_source([verified])}"
        )
        _load_deleted(connection, deleted)
        if filters.remove_non_adults and filters.life_stage_predictions is not None:
            _load_predictions(connection, filters.life_stage_predictions)
        else:
            connection.execute("CREATE TABLE predicted (image_path VARCHAR, prediction VARCHAR)")
        _judge(connection, rules)
        if filters.remove_duplicate_url != "none":
            rules.append(_Rule("clean", "duplicate-url", "", "set remove_duplicate_url to all-but-one"))
            _drop_duplicates(connection, len(rules) - 1, keep_one=filters.remove_duplicate_url == "all-but-one")
        duplicates.find(connection, columns, filters.duplicates, len(rules))
        if "sha256" in columns:
            rules += [_Rule("clean", reason, "", remedy) for reason, remedy in filters.duplicates.reasons]
        funnel = _funnel(connection, rules)
        if not funnel[-1].after:
            raise SelectionError(_emptied(verified, funnel, rules))
        _write(connection, verified, target, dropped, order, rules)
        if copies is not None:
            arrow.write_parquet(duplicates.groups(connection), copies, duplicates.GROUPS)
    return funnel


def _write(
    connection: duckdb.DuckDBPyConnection, verified: Path, target: Path, dropped: Path, order: str, rules: list[_Rule]
) -> None:
    """Write both files, or neither: together they hold each image once."""
    connection.execute(
        "CREATE TABLE marks AS SELECT rule IS NULL AS kept FROM verified LEFT JOIN dropped USING (place) ORDER BY place"
    )
    schema = pq.read_schema(verified).remove_metadata()
    kept = f"SELECT images.* FROM {tables.parquet_source([verified])} AS images POSITIONAL JOIN marks WHERE kept{order}"
    with atomic_file(target) as new_target, atomic_file(dropped) as new_dropped:
        written = arrow.write_parquet(tables.select_batches(connection, kept), new_target, schema)
        written += arrow.write_parquet(tables.select_batches(connection, _dropped(rules)), new_dropped, DROPPED)
        if written != (images := _count(connection, "verified")):
            raise MissingPieceError(f"{verified} has {images} rows, but {written} were written; run again")


def _rules(filters: Filters, columns: set[str]) -> list[_Rule]:
    """The rules that look at one row alone, in the order in which they apply."""
    rules = [
        _Rule("verify", "", f"NOT valid AND NOT ({DELETED} AND gone.found IS NULL)", "look at errors.csv"),
        _Rule("delete", "deleted", "coalesce(gone.deleted, false)", "shorten the list of images to delete"),
    ]
    if filters.ignore_dataset_by_key:
        if "datasetKey" not in columns:
            raise SelectionError(
                "ignore_dataset_by_key can't be applied: the archive has no column datasetKey; leave it empty"
            )
        keys = ", ".join(tables.quote_text(key) for key in filters.ignore_dataset_by_key)
        condition = f'verified."datasetKey" IN ({keys})'
        rules.append(_Rule("clean", "ignored-dataset", condition, "shorten ignore_dataset_by_key"))
    if filters.thumb_size:
        condition = f"least(verified.width, verified.height) < {filters.thumb_size}"
        rules.append(_Rule("clean", "thumbnail", condition, "lower thumb_size"))
    if filters.remove_flat:
        rules.append(_Rule("clean", "flat", "verified.flat", "switch remove_flat off"))
    if filters.remove_non_adults:
        if "lifeStage" not in columns and filters.life_stage_predictions is None:
            raise SelectionError(
                "remove_non_adults can't be applied: the archive has no column lifeStage; "
                "give life_stage_predictions or switch it off"
            )
        said = _life_stage('verified."lifeStage"') if "lifeStage" in columns else "NULL"
        stage = f"coalesce({said}, predicted.prediction)"
        rules += [
            _Rule("clean", "not-adult", f"{stage} NOT IN ('adult', 'imago')", "switch remove_non_adults off"),
            _Rule("clean", "life-stage-unknown", f"{stage} IS NULL", "give life_stage_predictions for these images"),
        ]
    return rules


def _life_stage(column: str) -> str:
    """A life stage in SQL: lower case, stripped, NULL where it says nothing."""
    return f"nullif(lower(trim({column}, {tables.quote_text(SPACES)})), '')"


def _judge(connection: duckdb.DuckDBPyConnection, rules: list[_Rule]) -> None:
    """Make the table `dropped`: the images that a rule drops, with the number of the first such rule."""
    cases = " ".join(f"WHEN {rule.condition} THEN {number}" for number, rule in enumerate(rules))
    connection.execute(
        f"""CREATE TABLE dropped AS SELECT * FROM (
            SELECT verified.place, verified.image_path, verified.identifier, verified.coreid,
                CASE WHEN {DELETED} THEN gone.found ELSE verified.error END AS error, CASE {cases} END AS rule
            FROM verified
            LEFT JOIN gone ON gone.image_path = verified.image_path AND gone.identifier = verified.identifier
            LEFT JOIN predicted ON predicted.image_path = verified.image_path
        ) WHERE rule IS NOT NULL"""
    )


def _drop_duplicates(connection: duckdb.DuckDBPyConnection, rule: int, keep_one: bool) -> None:
    connection.execute(
        "CREATE TABLE kept AS SELECT place, image_path, identifier, coreid "
        "FROM verified ANTI JOIN dropped USING (place)"
    )
    # Only URLs whose hash occurs twice are looked at as text: 8 bytes a row are grouped instead of a whole URL.
    connection.execute(
        "CREATE TABLE twice AS SELECT md5_number_lower(identifier) AS hash FROM kept GROUP BY hash HAVING count(*) > 1"
    )
    surplus = "turn > 1" if keep_one else "images > 1"
    connection.execute(
        f"""INSERT INTO dropped SELECT place, image_path, identifier, coreid, NULL, {rule} FROM (
            SELECT kept.*, count(*) OVER (PARTITION BY identifier) AS images,
                row_number() OVER (PARTITION BY identifier ORDER BY image_path) AS turn
            FROM kept SEMI JOIN twice ON twice.hash = md5_number_lower(kept.identifier)
        ) WHERE {surplus}"""
    )


def _funnel(connection: duckdb.DuckDBPyConnection, rules: list[_Rule]) -> list[Step]:
    by_rule = "SELECT rule, CASE WHEN rule = 0 THEN error END AS code, count(*) FROM dropped GROUP BY ALL"
    counts = tables.fetch_rows(connection, f"{by_rule} ORDER BY rule, code")
    left = _count(connection, "verified")
    funnel = []
    for number, rule in enumerate(rules):
        found = [(code or rule.reason, images) for of, code, images in counts if of == number]
        if not found and number:
            found = [(rule.reason, 0)]
        for reason, images in found:
            funnel.append(Step(rule.stage, reason, left, left - images))
            left -= images
    return funnel


def _emptied(verified: Path, funnel: list[Step], rules: list[_Rule]) -> str:
    """The sentence that says which step took the last image."""
    if not funnel[0].before:
        return f"{verified} holds no images: none was fetched; look at the errors in fetched/"
    last = next(step for step in funnel if not step.after)
    remedy = next(rule.remedy for rule in rules if rule.stage == last.stage and rule.reason in (last.reason, ""))
    numbers = ", ".join(f"{step.stage} {step.reason} {step.before} -> {step.after}" for step in funnel)
    return f"no image is left after {last.stage} '{last.reason}' ({numbers}): {remedy}"


def _dropped(rules: list[_Rule]) -> str:
    """The query for the rows of `DROPPED`."""
    stages = " ".join(f"WHEN {number} THEN {tables.quote_text(rule.stage)}" for number, rule in enumerate(rules))
    named = list(enumerate(rules))[1:]
    reasons = " ".join(f"WHEN {number} THEN {tables.quote_text(rule.reason)}" for number, rule in named)
    return f"""SELECT CASE rule {stages} END AS stage, CASE rule WHEN 0 THEN error {reasons} END AS reason,
        image_path, identifier, coreid FROM dropped ORDER BY image_path"""


def _load_deleted(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make the table `gone`: the deleted images, with the error `found` in each, NULL where a user chose it."""
    found = f"CASE WHEN min(reason) IN {FOUND} THEN min(reason) END AS found"
    connection.execute(
        f"""CREATE TABLE gone AS SELECT image_path, identifier, true AS deleted, {found} FROM {tables.csv_source(path)}
        WHERE image_path IS NOT NULL AND identifier IS NOT NULL GROUP BY image_path, identifier"""
    )


def _load_predictions(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make the table `predicted`: one `prediction`, in the form of `_life_stage`, for each `image_path`."""
    connection.execute("CREATE TABLE answers (line BIGINT, image_path VARCHAR, prediction VARCHAR)")
    for batch in _batches(_predictions(path)):
        connection.register("batch", batch)
        connection.execute(
            "INSERT INTO answers SELECT line, regexp_replace(image_path, '^images/', ''), "
            f"{_life_stage('prediction')} FROM batch"
        )
    connection.execute(
        """CREATE TABLE predicted AS SELECT image_path, min(prediction) AS prediction, max(prediction) AS other,
            arg_min(line, prediction) AS line, arg_max(line, prediction) AS other_line
        FROM answers GROUP BY image_path"""
    )
    contradiction = "SELECT * FROM predicted WHERE prediction <> other ORDER BY line, image_path LIMIT 1"
    for image, prediction, other, line, other_line in tables.fetch_rows(connection, contradiction):
        raise ParameterError(
            f"{path}: life_stage_prediction of image_path {image!r} is {prediction!r} in line {line} "
            f"and {other!r} in line {other_line}; keep one of the two"
        )
    if not _count(connection, "(SELECT 1 FROM verified SEMI JOIN predicted USING (image_path) LIMIT 1)"):
        raise ParameterError(
            f"{path}: not one image_path of it is in this dataset; "
            "write them as in verified.parquet, <datasetKey>/<coreid>.jpg"
        )


def _predictions(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, image_path and prediction of each row of a user's CSV; ParameterError where it is not one."""
    records = csv.reader(_lines(path), strict=True)
    try:
        names = [name.strip() for name in next(records, [])]
        for column in PREDICTION_COLUMNS:
            if column not in names:
                raise ParameterError(f"{path} has no column {column}: its first line must name {PREDICTION_COLUMNS}")
        image, prediction = (names.index(column) for column in PREDICTION_COLUMNS)
        for record in records:
            if record and len(record) != len(names):
                raise ParameterError(
                    f"{path}, line {records.line_num}: {len(record)} fields where the first line names {len(names)} "
                    "columns; mend that line"
                )
            if record:
                yield records.line_num, record[image], record[prediction]
    except csv.Error as error:
        raise ParameterError(f"{path}, line {records.line_num}: {error}; mend that line") from error


def _lines(path: Path) -> Iterator[str]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ParameterError(f"life_stage_predictions: {path}: {error.strerror}; name a CSV that exists") from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ParameterError(f"{path}, line {number}: not UTF-8; save the file in UTF-8") from error


def _batches(records: Iterable[tuple[int, str, str]]) -> Iterator[pa.RecordBatch]:
    records = iter(records)
    while held := list(islice(records, arrow.ROW_GROUP)):
        yield pa.record_batch([pa.array(column) for column in zip(*held, strict=True)], schema=PREDICTIONS)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(tables.fetch_rows(connection, f"SELECT count(*) FROM {table}")[0][0])
