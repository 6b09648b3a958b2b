"""Estimate how many bytes each sample takes, and cut the samples into groups of whole shards."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards.sample import ORIGINAL, ImageSettings, Sample, make_picture, read_image
from gbif_webdataset.storage.arrow import to_array
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_places import create_places
from gbif_webdataset.storage.tables import fetch_rows, quote_text, select_batches
from gbif_webdataset.terms.splits import SPLITS

SHARD_FILL = 0.97  # estimated; the end is padded, and photos with an EXIF orientation are encoded unexpectedly
BALANCED_SHARD_FILL = 0.8  # of shards with equal numbers of samples, whose bytes differ more
MARGIN_DEVIATIONS = 2.0  # standard deviations of a group's bytes left free: too many bytes make a small extra shard
MIN_GROUPS = 64  # before a group has several shards, so that there is work for many processes
MAX_SHARDS_PER_GROUP = 8  # only the last shard of a group is not full
MIN_CALIBRATION_IMAGES, MAX_CALIBRATION_IMAGES = 24, 400
CALIBRATE_EVERY = 50  # one of so many images, within these bounds

COLUMNS = pa.schema(
    [
        ("group", pa.int32()),
        ("key", pa.string()),
        ("image_path", pa.string()),
        ("category", pa.int64()),
        ("format", pa.string()),
        ("file_size", pa.int64()),
        ("pixels", pa.int64()),
        ("sha256", pa.string()),
        ("box", pa.list_(pa.float64())),
        ("json", pa.string()),
        ("caption", pa.list_(pa.string())),
        ("place", pa.string()),
    ]
)


@dataclass(frozen=True)
class Group:
    """Consecutive samples of a split that one worker writes, to one shard or several."""

    split: str
    samples: int


@dataclass(frozen=True)
class _Cut:
    """How a split is cut: into `pieces` equal numbers of samples, or, if that is 0, at `capacity` estimated bytes."""

    samples: int
    capacity: float
    pieces: int


def estimate_sizes(connection: duckdb.DuckDBPyConnection, images: Path, recipe: Recipe) -> None:
    """Make the table `sample` of `keyed`, `category` and `detection`, with the columns `estimate` and `spread`.

    `estimate` is the number of bytes that the sample takes in its tar, `spread` its standard deviation. The estimate is
    exact for a file that passes through. For an image that is encoded it is its area times the bytes per pixel of some
    images, which are encoded here, plus the standard error of that.
    """
    shuffle_key = f"md5_number_lower({quote_text(str(recipe.seed))} || '|' || image_path)"
    settings = recipe.image_settings
    connection.execute(
        f"CREATE TABLE sized AS SELECT *, {shuffle_key} AS shuffle_key, {_is_encoded(settings)} AS encoded, "
        "CASE WHEN box IS NULL THEN width ELSE width * (box[3] - box[1]) END AS across, "
        "CASE WHEN box IS NULL THEN height ELSE height * (box[4] - box[2]) END AS down, "
        f"{_area(settings)} AS area "
        "FROM keyed JOIN category USING (label) LEFT JOIN detection USING (image_path)"
    )
    connection.execute("DROP TABLE keyed")
    create_places(connection, images, "sized")
    # Copies of an image may be in several chunks, and not all of them have to be the latest.
    connection.execute(
        "CREATE TABLE found AS SELECT image_path, first(place ORDER BY coalesce(packed.sha256 = sized.sha256, false) "
        "DESC, pack DESC, position DESC) AS place FROM sized JOIN packed USING (image_path) GROUP BY image_path"
    )
    rate, deviation = _measure_bytes_per_pixel(connection, images, settings)
    caption = f"array_to_string(caption, '') || {quote_text(recipe.caption_template)}"  # a few bytes longer
    members = 4 if recipe.caption_template else 3
    has_extended_headers = "length(key) > 95 OR strlen(key) > length(key)"
    connection.execute(
        "CREATE TABLE sample AS SELECT split, shuffle_key, key, image_path, id AS category, format, file_size, "
        "width * height AS pixels, sha256, box, json, caption, place, "
        f"{_padded_size('id::VARCHAR')} + {_padded_size('json')} + {_padded_size(caption)} + 512 + "
        f"ceil(CASE WHEN encoded THEN area * {rate!r} ELSE file_size END / 512)::BIGINT * 512 + "
        f"CASE WHEN {has_extended_headers} THEN {members} * 1024 ELSE 0 END AS estimate, "
        f"CASE WHEN encoded THEN area * {deviation!r} ELSE 0 END AS spread "
        "FROM sized LEFT JOIN found USING (image_path)"
    )
    connection.execute("DROP TABLE sized")


def _is_encoded(settings: ImageSettings) -> str:
    """The SQL condition that an image will be encoded, as far as its row shows."""
    side = settings.resize_min_size
    by_mode = {"shorter": f"least(width, height) > {side}", "longer": f"greatest(width, height) > {side}"}
    is_resized = by_mode.get(settings.resize_mode, f"width <> {side} OR height <> {side}") if side else "false"
    if settings.image_format == ORIGINAL:
        return "false"
    same = "'JPEG', 'MPO'" if settings.image_format == "jpg" else "'WEBP'"
    return f"(format NOT IN ({same}) OR box IS NOT NULL OR {is_resized})"


def _area(settings: ImageSettings) -> str:
    """The SQL expression of an image's pixels after resizing."""
    side = settings.resize_min_size
    if not side:
        return "across * down"
    if settings.resize_mode == "square":
        return f"{side * side}::DOUBLE"
    measured = "least" if settings.resize_mode == "shorter" else "greatest"
    return f"across * down * least(1, ({side} / {measured}(across, down)) ** 2)"


def _padded_size(column: str) -> str:
    """The SQL expression of the bytes that a text takes as a member: header and whole blocks; 0 if it is NULL."""
    return f"coalesce(512 + ceil(strlen({column}) / 512)::BIGINT * 512, 0)"


def _measure_bytes_per_pixel(
    connection: duckdb.DuckDBPyConnection, images: Path, settings: ImageSettings
) -> tuple[float, float]:
    """The bytes per pixel of encoded images, plus their standard error; and the standard deviation of one image."""
    [(count,)] = fetch_rows(connection, "SELECT count(*) FROM sized WHERE encoded")
    chosen = min(max(MIN_CALIBRATION_IMAGES, count // CALIBRATE_EVERY), MAX_CALIBRATION_IMAGES)
    rows = fetch_rows(
        connection,
        "SELECT area, key, image_path, id, format, file_size, width * height, sha256, box FROM sized WHERE encoded "
        f"ORDER BY shuffle_key, image_path LIMIT {chosen}",
    )
    if not rows:
        return 0.0, 0.0
    reader = ImageReader(images)
    reader.find_places([row[2] for row in rows])
    areas, lengths = [], []
    for area, key, image_path, category, kind, file_size, pixels, sha256, box in rows:
        box = tuple(box) if box else None
        sample = Sample(key, image_path, category, kind, file_size, pixels, sha256, box, None)
        lengths.append(len(make_picture(sample, read_image(sample, reader), images, settings).data))
        areas.append(area)
    rate = sum(lengths) / sum(areas)
    squares = sum((length - rate * area) ** 2 for length, area in zip(lengths, areas, strict=True))
    error = math.sqrt(squares) / sum(areas)
    return float(rate + error), float(math.sqrt(squares / sum(area * area for area in areas)))


def group_samples(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, groups: list[Group]
) -> Iterator[pa.RecordBatch]:
    """The samples in their order, as COLUMNS, with the number of their group; fills the list `groups` on the way.

    The order is that of a seeded hash of the path, or that of the path if `shuffle` is false. Groups fill whole shards,
    and are cut so that each split has at least `min_shards` shards.
    """
    order = "shuffle_key, image_path" if recipe.shuffle else "image_path"
    names = ", ".join(COLUMNS.names[1:])
    query = f"SELECT split, estimate, spread, {names} FROM sample ORDER BY split, {order}"
    cutter = _GroupCutter(_plan_cuts(connection, recipe), groups)
    for batch in select_batches(connection, query):
        rows = zip(*(batch[name].to_pylist() for name in ("split", "estimate", "spread")), strict=True)
        numbers = np.fromiter((cutter.add(*row) for row in rows), np.int32, batch.num_rows)
        yield pa.RecordBatch.from_arrays(
            [to_array(numbers), *(batch[name] for name in COLUMNS.names[1:])], names=COLUMNS.names
        )
    cutter.close()


def _plan_cuts(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[int, _Cut]:
    """How each split is cut, by its index in SPLITS."""
    totals = fetch_rows(connection, "SELECT split, count(*), sum(estimate)::BIGINT FROM sample GROUP BY split")
    shard = SHARD_FILL * recipe.max_shard_size
    shards = int(sum(total for _, _, total in totals) / shard)
    usual = shard * min(MAX_SHARDS_PER_GROUP, max(1, shards // MIN_GROUPS))
    cuts = {}
    for split, samples, total in totals:
        min_shards = recipe.min_shards if samples >= recipe.min_shards else 0
        if total < min_shards * shard:  # they cannot all be full, so they have equal numbers of samples
            pieces = min(samples, max(min_shards, math.ceil(total / (BALANCED_SHARD_FILL * shard))))
            cuts[split] = _Cut(samples, usual, pieces)
        else:
            limit = shard * int(total / min_shards / shard) if min_shards else usual
            cuts[split] = _Cut(samples, min(usual, limit), 0)
    return cuts


class _GroupCutter:
    """Numbers samples by group, in their order."""

    def __init__(self, cuts: dict[int, _Cut], groups: list[Group]) -> None:
        self._cuts = cuts
        self._groups = groups
        self._split = -1
        self._position = 0  # of the sample in its split
        self._samples, self._bytes, self._variance = 0, 0.0, 0.0  # of the current group

    def add(self, split: int, size: int, spread: float) -> int:
        """The number of the group of the next sample, which takes `size` bytes with the deviation `spread`."""
        self._position = self._position + 1 if split == self._split else 0
        if split != self._split or self._is_full(size, spread):
            self.close()
            self._split = split
        self._samples, self._bytes = self._samples + 1, self._bytes + size
        self._variance += spread * spread
        return len(self._groups)

    def _is_full(self, size: int, spread: float) -> bool:
        cut = self._cuts[self._split]
        if cut.pieces:
            piece = self._position * cut.pieces // cut.samples
            return piece != (self._position - 1) * cut.pieces // cut.samples
        deviation = math.sqrt(self._variance + spread * spread)
        return self._bytes + size + MARGIN_DEVIATIONS * deviation > cut.capacity

    def close(self) -> None:
        """Append the current group to the list of groups."""
        if self._samples:
            self._groups.append(Group(SPLITS[self._split], self._samples))
        self._samples, self._bytes, self._variance = 0, 0.0, 0.0
