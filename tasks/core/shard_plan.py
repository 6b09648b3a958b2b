"""The plan of the shards: which sample stands where, made before any of them is written."""

import csv as csv_files
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.detections import load_boxes
from tasks.core.errors import MissingPieceError, ParameterError, SelectionError
from tasks.core.files import sha256_of, whole_file
from tasks.core.labels import lacking, numbered, read_category_map, write_category_map
from tasks.core.samples import Box, Look, Sample, jpeg_of
from tasks.core.tables import csv, database, header, quoted, rows, select, text, write_parquet

FORMAT = 1  # goes up with any change of this code that changes a byte of the shards
SPLITS = ("train", "val", "test")
PARTS = ".parts"
NUMBERS = ("width", "height", "stored_width", "stored_height", "file_size", "bytes", "attempts", "http_status")
TRUTHS = ("valid", "flat")
FILL = 0.95
GROUPS_AT_LEAST = 64  # before groups grow beyond one shard, so that many workers find work
SHARDS_AT_MOST = 8  # in a group: only its last is not full
CALIBRATED_ON = 50
SMALLEST_TAR = 10_240

_SCHEMA = pa.schema(
    [
        ("group", pa.int32()),
        ("key", pa.string()),
        ("image_path", pa.string()),
        ("category", pa.int64()),
        ("file_size", pa.int64()),
        ("pixels", pa.int64()),
        ("box", pa.list_(pa.float64())),
        ("json", pa.string()),
    ]
)


@dataclass(frozen=True)
class Recipe:
    """Everything that changes a byte of the shards, beside the splits and the images."""

    label_column: str
    max_shard_size: int  # bytes, tar overhead included
    shuffle: bool
    seed: int
    resize_min_size: int = 0  # pixels of the shorter side, 0: as it is; never enlarged
    jpeg_quality: int = 95
    category_map_json: Path | None = None
    columns_to_json: tuple[str, ...] = ()
    megadetector_results_json: Path | None = None


@dataclass(frozen=True)
class Group:
    """Samples that one worker writes, to one shard or a few."""

    split: str
    samples: int


@dataclass(frozen=True)
class Plan:
    """What stands in `plan.json`; the samples themselves are in `plan.parquet`, group by group, in their order."""

    digest: str
    max_shard_size: int
    resize_min_size: int
    jpeg_quality: int
    groups: list[Group]
    samples: dict[str, int]
    dropped: dict[str, int]
    boxes_ignored: int
    without_detection: int

    @property
    def look(self) -> Look:
        return Look(self.resize_min_size, self.jpeg_quality)


def read_plan(folder: Path) -> Plan | None:
    """The plan of the shards in `folder`; None where there is none."""
    try:
        plan = json.loads((folder / PARTS / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Plan(**{**plan, "groups": [Group(**group) for group in plan["groups"]]})


def samples_of(folder: Path, group: int) -> Iterator[Sample]:
    """A group's samples in their order, read as a stream."""
    with pq.ParquetFile(folder / PARTS / "plan.parquet") as file:
        for number in range(file.num_row_groups):
            span = file.metadata.row_group(number).column(0).statistics
            if not span.min <= group <= span.max:
                continue
            for batch in file.iter_batches(1024, row_groups=[number], use_threads=False):
                for row in batch.filter(pc.equal(batch["group"], group)).to_pylist():
                    box: Box | None = tuple(row["box"]) if row["box"] else None
                    yield Sample(**{name: row[name] for name in _SCHEMA.names[1:]} | {"box": box})


def digest_of(splits: Path, recipe: Recipe) -> str:
    """A fingerprint of all that the shards follow from, the images excepted.

    Raises MissingPieceError for a split that isn't there, ParameterError for a parameter out of range or a file that
    isn't there.
    """
    _check(recipe)
    facts = {name: value for name, value in asdict(recipe).items() if not isinstance(value, Path)}
    for name in ("category_map_json", "megadetector_results_json"):
        path: Path | None = getattr(recipe, name)
        if path is not None and not path.is_file():
            raise ParameterError(f"{name}: there is no file {path}")
        facts[name] = sha256_of(path) if path else None
    for split in SPLITS:
        path = _split(splits, split)
        if not path.is_file():
            raise MissingPieceError(f"{path}: the split is missing; run SplitDataset again")
        facts[split] = sha256_of(path)
    facts["code"] = [FORMAT, PIL.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make_plan(splits: Path, images: Path, folder: Path, recipe: Recipe, digest: str, scratch: Path) -> Plan:
    """Write category_map.json and dropped.csv to `folder`, and the plan to its `.parts`, plan.json last.

    Samples stand in the order of a seeded hash of their path, or of the path where `shuffle` is off. They are cut into
    groups of whole shards by their estimated bytes; neither depends on the order of rows. Raises SelectionError for
    an unknown column, a label that the map lacks, or nothing to write; MissingPieceError for an image that isn't as
    verified; ParameterError for an unreadable category map or unreadable detections.
    """
    with database(scratch) as connection:
        dropped = _load(connection, splits, folder, recipe)
        _check_samples(connection, splits)
        write_category_map(_categories(connection, recipe), folder / "category_map.json")
        ignored, without = _boxes(connection, recipe)
        _estimate(connection, images, recipe)
        groups = _write_samples(connection, folder, recipe)
        plan = Plan(
            digest=digest,
            max_shard_size=recipe.max_shard_size,
            resize_min_size=recipe.resize_min_size,
            jpeg_quality=recipe.jpeg_quality,
            groups=groups,
            samples={split: sum(group.samples for group in groups if group.split == split) for split in SPLITS},
            dropped=dropped,
            boxes_ignored=ignored,
            without_detection=without,
        )
    with whole_file(folder / PARTS / "plan.json") as temporary:
        temporary.write_text(json.dumps(asdict(plan)) + "\n", encoding="utf-8")
    return plan


def _check(recipe: Recipe) -> None:
    if recipe.max_shard_size < SMALLEST_TAR:
        raise ParameterError(
            f"max_shard_size: {recipe.max_shard_size} bytes are less than the smallest tar, {SMALLEST_TAR}; raise it"
        )
    if not 1 <= recipe.jpeg_quality <= 100:
        raise ParameterError(f"jpeg_quality: {recipe.jpeg_quality} is not between 1 and 100")
    if recipe.resize_min_size < 0:
        raise ParameterError(f"resize_min_size: {recipe.resize_min_size} is below 0; 0 leaves images as they are")


def _split(splits: Path, split: str) -> Path:
    return splits / f"{split}.csv"


def _load(connection: duckdb.DuckDBPyConnection, splits: Path, folder: Path, recipe: Recipe) -> dict[str, int]:
    """Make the table `labelled` of the splits' rows with a label; write dropped.csv of the others, count by reason."""
    connection.execute(
        "CREATE TABLE labelled (split TINYINT, image_path VARCHAR, label VARCHAR, width BIGINT, height BIGINT, "
        "file_size BIGINT, format VARCHAR, json VARCHAR)"
    )
    unlabelled = 0
    with whole_file(folder / "dropped.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv_files.writer(file, lineterminator="\n")
        lines.writerow(["stage", "reason", "image_path", "identifier", "coreid"])
        for number, split in enumerate(SPLITS):
            path = _split(splits, split)
            names = header(path)
            _check_columns(path, names, recipe)
            label = quoted(recipe.label_column)
            connection.execute(
                f"INSERT INTO labelled SELECT {number}, image_path, {label}, TRY_CAST(width AS BIGINT), "
                f"TRY_CAST(height AS BIGINT), TRY_CAST(file_size AS BIGINT), format, {_json(recipe)} "
                f"FROM {csv(path)} WHERE {label} IS NOT NULL"
            )
            shown = [quoted(name) if name in names else "NULL" for name in ("image_path", "identifier", "coreid")]
            query = f"SELECT {', '.join(shown)} FROM {csv(path)} WHERE {label} IS NULL ORDER BY image_path"
            for batch in select(connection, query):
                lines.writerows(
                    ["shards", "no-label", *row]
                    for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
                )
                unlabelled += batch.num_rows
    return {"no-label": unlabelled} if unlabelled else {}


def _check_columns(path: Path, names: list[str], recipe: Recipe) -> None:
    there = f"its columns are {', '.join(names)}"
    if recipe.label_column not in names:
        raise SelectionError(f"label_column: {path} has no column '{recipe.label_column}'; {there}")
    for name in recipe.columns_to_json:
        if name not in names:
            raise SelectionError(f"columns_to_json: {path} has no column '{name}'; {there}")


def _json(recipe: Recipe) -> str:
    """The SQL of a sample's JSON text: what was measured as numbers and booleans, everything else as it stands."""
    if not recipe.columns_to_json:
        return "NULL"
    pairs = []
    for name in dict.fromkeys(recipe.columns_to_json):
        kind = "BIGINT" if name in NUMBERS else "BOOLEAN" if name in TRUTHS else "VARCHAR"
        pairs.append(f"{text(name)}, CAST({quoted(name)} AS {kind})")
    return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"


def _check_samples(connection: duckdb.DuckDBPyConnection, splits: Path) -> None:
    if not rows(connection, "SELECT 1 FROM labelled LIMIT 1"):
        raise SelectionError(f"{splits}: no row of train, val or test has a label; choose another label_column")
    unmeasured = rows(
        connection,
        "SELECT split, image_path FROM labelled WHERE image_path IS NULL OR format IS NULL OR width IS NULL OR "
        "height IS NULL OR file_size IS NULL ORDER BY ALL LIMIT 1",
    )
    if unmeasured:
        split, image_path = unmeasured[0]
        raise MissingPieceError(
            f"{_split(splits, SPLITS[split])}: the row of {image_path} lacks width, height, file_size or format; run "
            "SplitDataset again"
        )
    connection.execute(
        "CREATE TABLE keyed AS SELECT *, regexp_extract(stem, '^.*/') || replace(base, '.', '_') AS key FROM (SELECT "
        "*, regexp_extract(stem, '[^/]*$') AS base FROM (SELECT *, regexp_replace(image_path, '[.][^./]*$', '') "
        "AS stem FROM labelled))"
    )
    connection.execute("DROP TABLE labelled")
    twins = rows(
        connection,
        "SELECT any_value(split), min(image_path), max(image_path) FROM keyed WHERE key IN (SELECT key FROM keyed "
        "WHERE contains(base, '.')) GROUP BY split, key HAVING count(*) > 1 ORDER BY ALL LIMIT 1",
    )
    if twins:
        split, one, other = twins[0]
        raise SelectionError(
            f"{_split(splits, SPLITS[split])}: {one} and {other} would have the same key in a shard; delete one of "
            "them with DeleteImages"
        )


def _categories(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[str, int]:
    """Make the table `category` (label, id); return it."""
    if recipe.category_map_json is not None:
        categories = read_category_map(recipe.category_map_json)
    else:
        categories = numbered(
            label for (label,) in rows(connection, "SELECT DISTINCT label FROM keyed WHERE split = 0")
        )
    connection.register(
        "given", pa.table({"label": pa.array(categories, pa.string()), "id": pa.array(categories.values(), pa.int64())})
    )
    connection.execute("CREATE TABLE category AS SELECT * FROM given")
    connection.unregister("given")
    missing = rows(connection, "SELECT DISTINCT label FROM keyed ANTI JOIN category USING (label) ORDER BY label")
    if missing:
        raise lacking([label for (label,) in missing], recipe.category_map_json)
    return categories


def _boxes(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> tuple[int, int]:
    """Make the table `detection`; return how many of the samples' boxes were ignored and how many samples have none."""
    if recipe.megadetector_results_json is None:
        connection.execute("CREATE TEMP TABLE detection (image_path VARCHAR, box DOUBLE[], ignored BIGINT)")
        return 0, 0
    load_boxes(connection, recipe.megadetector_results_json)
    [(ignored, without)] = rows(
        connection,
        "SELECT coalesce(sum(ignored), 0)::BIGINT, count(*) FILTER (WHERE box IS NULL) "
        "FROM keyed LEFT JOIN detection USING (image_path)",
    )
    return ignored, without


def _estimate(connection: duckdb.DuckDBPyConnection, images: Path, recipe: Recipe) -> None:
    """Make the table `sample`, with `estimate`: the bytes that it will take in its tar.

    They are exact where a file passes through (but for photos that EXIF turns). Encoded anew, an image takes the bytes
    a pixel that a few of them took, and a standard error on top: too little costs a shard that is nearly empty.
    """
    order = f"md5_number_lower({text(str(recipe.seed))} || '|' || image_path)"
    short = recipe.resize_min_size
    shrunk = f"least(1, ({short} / least(across, down)) ** 2)" if short else "1"
    larger = f"least(width, height) > {short}" if short else "false"
    connection.execute(
        f"CREATE TABLE sized AS SELECT *, {order} AS dealt, "
        f"format NOT IN ('JPEG', 'MPO') OR box IS NOT NULL OR {larger} AS anew, "
        "CASE WHEN box IS NULL THEN width ELSE width * (box[3] - box[1]) END AS across, "
        "CASE WHEN box IS NULL THEN height ELSE height * (box[4] - box[2]) END AS down, "
        f"across * down * {shrunk} AS area "
        "FROM keyed JOIN category USING (label) LEFT JOIN detection USING (image_path)"
    )
    connection.execute("DROP TABLE keyed")
    rate = _bytes_per_pixel(connection, images, Look(short, recipe.jpeg_quality))
    longest = "length(key) > 95 OR strlen(key) > length(key)"
    connection.execute(
        "CREATE TABLE sample AS SELECT split, dealt, key, image_path, id, file_size, width * height AS pixels, box, "
        f"json, {_padded('id::VARCHAR')} + {_padded('json')} + 512 + "
        f"ceil(CASE WHEN anew THEN area * {rate!r} ELSE file_size END / 512)::BIGINT * 512 + "
        f"CASE WHEN {longest} THEN 3 * 1024 ELSE 0 END AS estimate FROM sized"
    )
    connection.execute("DROP TABLE sized")


def _padded(member: str) -> str:
    return f"coalesce(512 + ceil(strlen({member}) / 512)::BIGINT * 512, 0)"


def _bytes_per_pixel(connection: duckdb.DuckDBPyConnection, images: Path, look: Look) -> float:
    first = rows(
        connection,
        "SELECT key, image_path, id, file_size, width * height, box, area FROM sized WHERE anew "
        f"ORDER BY dealt, image_path LIMIT {CALIBRATED_ON}",
    )
    if not first:
        return 0.0
    areas, lengths = [], []
    for key, image_path, category, file_size, pixels, box, area in first:
        sample = Sample(key, image_path, category, file_size, pixels, tuple(box) if box else None, None)
        lengths.append(len(jpeg_of(sample, images, look)[0]))
        areas.append(area)
    rate = sum(lengths) / sum(areas)
    off = sum((length - rate * area) ** 2 for length, area in zip(lengths, areas, strict=True))
    return float(rate + math.sqrt(off) / sum(areas))


def _write_samples(connection: duckdb.DuckDBPyConnection, folder: Path, recipe: Recipe) -> list[Group]:
    """Write plan.parquet; return its groups."""
    [(total,)] = rows(connection, "SELECT sum(estimate)::BIGINT FROM sample")
    shard = FILL * recipe.max_shard_size
    capacity = shard * min(SHARDS_AT_MOST, max(1, int(total / shard / GROUPS_AT_LEAST)))
    groups: list[Group] = []
    order = "dealt, image_path" if recipe.shuffle else "image_path"
    query = (
        "SELECT split, estimate, key, image_path, id AS category, file_size, pixels, box, json FROM sample "
        f"ORDER BY split, {order}"
    )
    write_parquet(_grouped(select(connection, query), capacity, groups), folder / PARTS / "plan.parquet", _SCHEMA)
    return groups


def _grouped(batches: Iterator[pa.RecordBatch], capacity: float, groups: list[Group]) -> Iterator[pa.RecordBatch]:
    """Number the rows by group, and append each group to `groups` once it is whole."""
    current, count, filled = -1, 0, 0
    for batch in batches:
        numbers = []
        for split, estimate in zip(batch["split"].to_pylist(), batch["estimate"].to_pylist(), strict=True):
            if split != current or filled + estimate > capacity:
                if count:
                    groups.append(Group(SPLITS[current], count))
                current, count, filled = split, 0, 0
            count += 1
            filled += estimate
            numbers.append(len(groups))
        columns = [pa.array(numbers, pa.int32()), *(batch[name] for name in _SCHEMA.names[1:])]
        yield pa.RecordBatch.from_arrays(columns, names=_SCHEMA.names)
    groups.append(Group(SPLITS[current], count))
