"""The filters of CleanDataset: images that are good enough to learn from, and why each other image is dropped."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from gbif_webdataset.clean import duplicates
from gbif_webdataset.clean.duplicates import CHOICES, DuplicateOptions
from gbif_webdataset.clean.life_stages import NOT_ADULT, classify_life_stage, create_predictions
from gbif_webdataset.errors import MissingPieceError, ParameterError, SelectionError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.list_match import describe_match
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.outcomes import DecoderWarning, Defect
from gbif_webdataset.terms.reasons import DropReason

DROPPED = arrow.to_schema(described.DROPPED)
MEMORY_LIMIT = "700MB"  # of DuckDB; Python, Arrow and the Parquet writer need 300 MB more
# An image that VerifyImages found missing, because DeleteImages had deleted it in an earlier run.
DELETED_EARLIER = (
    f"(deleted_images.is_deleted IS NOT NULL AND verified.error IS NOT DISTINCT FROM '{Defect.MISSING_FILE}')"
)


@dataclass(frozen=True)
class Filters:
    """What CleanDataset drops beyond corrupt and deleted images. The fields are named after its parameters.

    `remove_duplicate_url` is one of CHOICES. An image whose width or height is below `thumb_size` pixels is dropped; 0
    keeps images of any size. `life_stage_predictions` is a CSV that `remove_non_adults` uses for images whose record
    states no lifeStage.

    Raises:
        ParameterError: `remove_duplicate_url` or `thumb_size` has a value that is not allowed.
    """

    remove_duplicate_url: str = "all-but-one"
    ignore_dataset_by_key: tuple[str, ...] = ()
    thumb_size: int = 0
    remove_non_adults: bool = False
    life_stage_predictions: Path | None = None
    remove_flat: bool = False
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)

    def __post_init__(self) -> None:
        if self.remove_duplicate_url not in CHOICES:
            raise ParameterError(
                f"--CleanDataset-remove-duplicate-url {self.remove_duplicate_url}: unknown choice; "
                f"choose one of {', '.join(CHOICES)}"
            )
        if self.thumb_size < 0:
            raise ParameterError(
                f"--CleanDataset-thumb-size {self.thumb_size}: below 0; give a number of pixels, or 0 to keep all sizes"
            )


@dataclass(frozen=True)
class CleanFiles:
    """The files that CleanDataset reads, `verified` and `deleted`, and those that it writes."""

    verified: Path
    deleted: Path
    clean: Path
    dropped: Path
    duplicates: Path


@dataclass(frozen=True)
class Step:
    """A step of the funnel: the number of images before and after a filter."""

    stage: str
    reason: str
    before: int
    after: int


@dataclass(frozen=True)
class Rule:
    """A filter: the stage and reason of the images that it drops, and what to do if it drops all of them.

    `condition` is SQL on a row of `verified`, `deleted_images` and `predictions`. It is empty for filters that compare
    images with each other.
    """

    stage: str
    reason: str
    condition: str
    remedy: str


def clean_dataset(files: CleanFiles, filters: Filters, scratch: Path) -> list[Step]:
    """The funnel: a step for each error code that occurs, one for deletions, and one for each active filter.

    Every image of `files.verified` is written either to `files.clean`, with all its columns, or to `files.dropped`,
    with the first reason that applies. An image that DeleteImages deleted is dropped for the reason in `files.deleted`,
    not because its file is missing. `files.duplicates` lists the groups of equal and nearly equal images.

    Raises:
        ParameterError: the predictions cannot be read.
        SelectionError: a filter needs a column that the archive lacks, or no image is left.
        MissingPieceError: an image is twice in `files.verified`.
    """
    columns = pq.read_schema(files.verified).names
    check_columns(filters, columns)
    rules = build_rules(filters, columns)
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        order = tables.order_clause(connection, files.verified)
        source = tables.parquet_source([files.verified])
        connection.execute(f"CREATE VIEW verified AS SELECT file_row_number AS row_index, * FROM {source}")
        _create_deleted_images(connection, files.deleted)
        create_predictions(connection, filters.life_stage_predictions if filters.remove_non_adults else None)
        _create_dropped(connection, rules)
        if filters.remove_duplicate_url != "none":
            remedy = "set --CleanDataset-remove-duplicate-url to all-but-one"
            rules.append(Rule("clean", DropReason.DUPLICATE_URL, "", remedy))
            _drop_duplicate_urls(connection, len(rules) - 1, keep_one=filters.remove_duplicate_url == "all-but-one")
        duplicates.drop_duplicates(connection, columns, filters.duplicates, len(rules))
        if "sha256" in columns:
            rules += [Rule("clean", reason, "", remedy) for reason, remedy in filters.duplicates.reasons]
        funnel = _count_funnel(connection, rules)
        if not funnel[-1].after:
            raise SelectionError(_explain_empty_result(files.verified, funnel, rules))
        _write_images(connection, files, order, rules)
        arrow.write_parquet(duplicates.select_groups(connection), files.duplicates, duplicates.GROUPS)
    return funnel


def check_columns(filters: Filters, columns: Collection[str]) -> None:
    """Return if an archive with these columns has all that the filters need.

    Raises:
        SelectionError: a column is missing.
    """
    if filters.ignore_dataset_by_key and "datasetKey" not in columns:
        raise SelectionError(
            f"--CleanDataset-ignore-dataset-by-key {','.join(filters.ignore_dataset_by_key)}: "
            "the archive has no column datasetKey; leave this parameter empty"
        )
    if filters.remove_non_adults and "lifeStage" not in columns and filters.life_stage_predictions is None:
        raise SelectionError(
            "--CleanDataset-remove-non-adults true: the archive has no column lifeStage; "
            "give --CleanDataset-life-stage-predictions, or set this parameter to false"
        )
    duplicates.check_columns(filters.duplicates, columns)


def match_ignored_datasets(connection: duckdb.DuckDBPyConnection, filters: Filters, table: str) -> str:
    """How many keys of ignore_dataset_by_key occur in a table with the column datasetKey, as a sentence.

    Raises:
        SelectionError: none occurs.
    """
    keys = set(filters.ignore_dataset_by_key)
    query = f'SELECT DISTINCT trim("datasetKey") FROM {table}'
    found = len(keys & {key for (key,) in tables.fetch_rows(connection, query)})
    option = f"--CleanDataset-ignore-dataset-by-key {','.join(filters.ignore_dataset_by_key)}"
    return describe_match(option, "keys", found, len(keys), "correct the keys, or leave this parameter empty")


def build_rules(filters: Filters, columns: Collection[str]) -> list[Rule]:
    """The rules that check one image alone, in the order in which they apply."""
    rules = [
        Rule(
            "verify",
            "",
            f"NOT valid AND NOT ({DELETED_EARLIER} AND deleted_images.defect IS NULL)",
            "check the images that errors.csv lists",
        ),
        Rule(
            "delete",
            DropReason.DELETED,
            "coalesce(deleted_images.is_deleted, false)",
            "list fewer images in the file of --DeleteImages-image-list",
        ),
    ]
    if filters.ignore_dataset_by_key:
        keys = ", ".join(tables.quote_text(key) for key in filters.ignore_dataset_by_key)
        condition = f'verified."datasetKey" IN ({keys})'
        remedy = "list fewer keys in --CleanDataset-ignore-dataset-by-key"
        rules.append(Rule("clean", DropReason.IGNORED_DATASET, condition, remedy))
    if filters.thumb_size:
        condition = f"least(verified.width, verified.height) < {filters.thumb_size}"
        rules.append(Rule("clean", DropReason.THUMBNAIL, condition, "lower --CleanDataset-thumb-size"))
    if filters.remove_flat:
        remedy = "set --CleanDataset-remove-flat to false"
        rules.append(Rule("clean", DropReason.FLAT, "verified.flat", remedy))
    if filters.remove_non_adults:
        stated = classify_life_stage('verified."lifeStage"') if "lifeStage" in columns else "NULL"
        stage = f"coalesce({stated}, {classify_life_stage('predictions.life_stage')})"
        rules += [
            Rule(
                "clean",
                DropReason.NOT_ADULT,
                f"{stage} = '{NOT_ADULT}'",
                "set --CleanDataset-remove-non-adults to false",
            ),
            Rule(
                "clean",
                DropReason.LIFE_STAGE_UNKNOWN,
                f"{stage} IS NULL",
                "give --CleanDataset-life-stage-predictions for these images",
            ),
        ]
    return rules


def _create_deleted_images(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Create the table `deleted_images` (image_path, identifier, is_deleted, defect) from deleted.csv.

    `defect` is the reason if VerifyImages found it, and NULL if the user listed the image.
    """
    defects = ", ".join(f"'{code}'" for codes in (Defect, DecoderWarning) for code in codes)
    connection.execute(
        f"""CREATE TABLE deleted_images AS SELECT image_path, identifier, true AS is_deleted,
            CASE WHEN min(reason) IN ({defects}) THEN min(reason) END AS defect
        FROM {tables.csv_source(path)}
        WHERE image_path IS NOT NULL AND identifier IS NOT NULL GROUP BY image_path, identifier"""
    )


def _create_dropped(connection: duckdb.DuckDBPyConnection, rules: list[Rule]) -> None:
    """Create the table `dropped` (row_index, image_path, identifier, coreid, error, rule).

    It has the images that a rule drops; `rule` is the number of the first such rule.
    """
    cases = " ".join(f"WHEN {rule.condition} THEN {number}" for number, rule in enumerate(rules))
    connection.execute(
        f"""CREATE TABLE dropped AS SELECT * FROM (
            SELECT verified.row_index, verified.image_path, verified.identifier, verified.coreid,
                CASE WHEN {DELETED_EARLIER} THEN deleted_images.defect ELSE verified.error END AS error,
                CASE {cases} END AS rule
            FROM verified
            LEFT JOIN deleted_images ON deleted_images.image_path = verified.image_path
                AND deleted_images.identifier = verified.identifier
            LEFT JOIN predictions ON predictions.image_path = verified.image_path
        ) WHERE rule IS NOT NULL"""
    )


def _drop_duplicate_urls(connection: duckdb.DuckDBPyConnection, rule: int, keep_one: bool) -> None:
    """Add to `dropped` the images whose URL another remaining image has. `keep_one` keeps the smallest image_path."""
    connection.execute(
        "CREATE TABLE remaining AS SELECT row_index, image_path, identifier, coreid "
        "FROM verified ANTI JOIN dropped USING (row_index)"
    )
    # Grouping by 8 bytes of a hash takes less memory than grouping by the URL; few URLs are then compared as text.
    connection.execute(
        "CREATE TABLE repeated AS SELECT md5_number_lower(identifier) AS hash FROM remaining "
        "GROUP BY hash HAVING count(*) > 1"
    )
    surplus = "rank > 1" if keep_one else "images > 1"
    connection.execute(
        f"""INSERT INTO dropped SELECT row_index, image_path, identifier, coreid, NULL, {rule} FROM (
            SELECT remaining.*, count(*) OVER (PARTITION BY identifier) AS images,
                row_number() OVER (PARTITION BY identifier ORDER BY image_path) AS rank
            FROM remaining SEMI JOIN repeated ON repeated.hash = md5_number_lower(remaining.identifier)
        ) WHERE {surplus}"""
    )


def _count_funnel(connection: duckdb.DuckDBPyConnection, rules: list[Rule]) -> list[Step]:
    by_rule = "SELECT rule, CASE WHEN rule = 0 THEN error END AS error, count(*) FROM dropped GROUP BY ALL"
    counts = tables.fetch_rows(connection, f"{by_rule} ORDER BY rule, error")
    remaining = _count_verified(connection)
    funnel = []
    for number, rule in enumerate(rules):
        reasons = [(error or str(rule.reason), images) for of_rule, error, images in counts if of_rule == number]
        if not reasons and number:
            reasons = [(str(rule.reason), 0)]
        for reason, images in reasons:
            funnel.append(Step(rule.stage, reason, remaining, remaining - images))
            remaining -= images
    return funnel


def _explain_empty_result(verified: Path, funnel: list[Step], rules: list[Rule]) -> str:
    """The sentence that names the step which dropped the last image."""
    if not funnel[0].before:
        return f"{verified}: no images, because none was downloaded; read the column error of fetched/chunk-*.parquet"
    last = next(step for step in funnel if not step.after)
    remedy = next(rule.remedy for rule in rules if rule.stage == last.stage and rule.reason in (last.reason, ""))
    numbers = ", ".join(f"{step.stage} {step.reason} {step.before} -> {step.after}" for step in funnel)
    return f"{verified}: no image is left after {last.stage} '{last.reason}' ({numbers}); {remedy}"


def _write_images(connection: duckdb.DuckDBPyConnection, files: CleanFiles, order: str, rules: list[Rule]) -> None:
    """Write `files.clean` and `files.dropped`, or neither. Together they have each image once."""
    connection.execute(
        """CREATE TABLE marks AS SELECT rule IS NULL AS is_kept
        FROM verified LEFT JOIN dropped USING (row_index) ORDER BY row_index"""
    )
    schema = pq.read_schema(files.verified).remove_metadata()
    source = tables.parquet_source([files.verified])
    kept = f"SELECT images.* FROM {source} AS images POSITIONAL JOIN marks WHERE is_kept{order}"
    with atomic_file(files.clean) as clean, atomic_file(files.dropped) as dropped:
        written = arrow.write_parquet(tables.select_batches(connection, kept), clean, schema)
        written += arrow.write_parquet(tables.select_batches(connection, _dropped_query(rules)), dropped, DROPPED)
        if written != (images := _count_verified(connection)):
            raise MissingPieceError(
                f"{files.verified}: {images} rows were read, but {written} were written; run the same command again"
            )


def _dropped_query(rules: list[Rule]) -> str:
    """The query for the rows of DROPPED."""
    stages = " ".join(f"WHEN {number} THEN {tables.quote_text(rule.stage)}" for number, rule in enumerate(rules))
    with_reason = list(enumerate(rules))[1:]
    reasons = " ".join(f"WHEN {number} THEN {tables.quote_text(rule.reason)}" for number, rule in with_reason)
    return f"""SELECT CASE rule {stages} END AS stage, CASE rule WHEN 0 THEN error {reasons} END AS reason,
        image_path, identifier, coreid FROM dropped ORDER BY image_path"""


def _count_verified(connection: duckdb.DuckDBPyConnection) -> int:
    return int(tables.fetch_rows(connection, "SELECT count(*) FROM verified")[0][0])
