"""How many bytes each sample will take, and which samples go into one group: estimated before any is written."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards.sample import Look, Sample, picture_of, read
from gbif_webdataset.storage.arrow import to_array
from gbif_webdataset.storage.tables import fetch_rows, quote_text, select_batches
from gbif_webdataset.terms.splits import SPLITS

FILL = 0.97  # of a shard, as estimated: its end is padded, and EXIF turns some photos that seem to pass through
SURE = 2.0  # standard deviations of a group's bytes that are left free: too few cost a shard that is nearly empty
GROUPS_AT_LEAST = 64  # before groups grow beyond one shard, so that many workers find work
SHARDS_AT_MOST = 8  # in a group: only its last is not full
BALANCED_FILL = 0.8  # of shards with equal numbers of samples, whose bytes differ more
CALIBRATED_ON = (24, 400)  # images, a fiftieth of all within these bounds

COLUMNS = pa.schema(
    [
        ("group", pa.int32()),
        ("key", pa.string()),
        ("image_path", pa.string()),
        ("category", pa.int64()),
        ("format", pa.string()),
        ("file_size", pa.int64()),
        ("pixels", pa.int64()),
        ("box", pa.list_(pa.float64())),
        ("json", pa.string()),
    ]
)


@dataclass(frozen=True)
class Group:
    """Samples that one worker writes, to one shard or a few."""

    split: str
    samples: int


@dataclass(frozen=True)
class _Cut:
    """How a split is cut into groups: at so many estimated bytes, or into `pieces` of equal numbers of samples."""

    samples: int
    capacity: float
    pieces: int


def estimate(connection: duckdb.DuckDBPyConnection, images: Path, recipe: Recipe) -> None:
    """Make the table `sample`, with `estimate`: the bytes that it will take in its tar, and `spread`, their deviation.

    They are exact where a file passes through (but for photos that EXIF turns, and inks). Encoded anew, an image takes
    the bytes a pixel that some of them took, and the standard error of that on top.
    """
    order = f"md5_number_lower({quote_text(str(recipe.seed))} || '|' || image_path)"
    connection.execute(
        f"CREATE TABLE sized AS SELECT *, {order} AS dealt, {_anew(recipe.look)} AS anew, "
        "CASE WHEN box IS NULL THEN width ELSE width * (box[3] - box[1]) END AS across, "
        "CASE WHEN box IS NULL THEN height ELSE height * (box[4] - box[2]) END AS down, "
        f"{_area(recipe.look)} AS area "
        "FROM keyed JOIN category USING (label) LEFT JOIN detection USING (image_path)"
    )
    connection.execute("DROP TABLE keyed")
    rate, deviation = _bytes_per_pixel(connection, images, recipe.look)
    longest = "length(key) > 95 OR strlen(key) > length(key)"
    connection.execute(
        "CREATE TABLE sample AS SELECT split, dealt, key, image_path, id AS category, format, file_size, "
        f"width * height AS pixels, box, json, {_padded('id::VARCHAR')} + {_padded('json')} + 512 + "
        f"ceil(CASE WHEN anew THEN area * {rate!r} ELSE file_size END / 512)::BIGINT * 512 + "
        f"CASE WHEN {longest} THEN 3 * 1024 ELSE 0 END AS estimate, "
        f"CASE WHEN anew THEN area * {deviation!r} ELSE 0 END AS spread FROM sized"
    )
    connection.execute("DROP TABLE sized")


def _anew(look: Look) -> str:
    """The SQL of whether an image will be encoded anew, as far as its row tells."""
    side = look.resize_min_size
    measured = {"shorter": f"least(width, height) > {side}", "longer": f"greatest(width, height) > {side}"}
    resized = measured.get(look.resize_mode, f"width <> {side} OR height <> {side}") if side else "false"
    if look.image_format == "original":
        return "false"
    same = "'JPEG', 'MPO'" if look.image_format == "jpg" else "'WEBP'"
    return f"(format NOT IN ({same}) OR box IS NOT NULL OR {resized})"


def _area(look: Look) -> str:
    """The SQL of an image's pixels once it is resized."""
    side = look.resize_min_size
    if not side:
        return "across * down"
    if look.resize_mode == "square":
        return f"{side * side}::DOUBLE"
    measured = "least" if look.resize_mode == "shorter" else "greatest"
    return f"across * down * least(1, ({side} / {measured}(across, down)) ** 2)"


def _padded(member: str) -> str:
    return f"coalesce(512 + ceil(strlen({member}) / 512)::BIGINT * 512, 0)"


def _bytes_per_pixel(connection: duckdb.DuckDBPyConnection, images: Path, look: Look) -> tuple[float, float]:
    """What images encoded anew take, with a standard error on top; and the deviation of one image from that."""
    [(many,)] = fetch_rows(connection, "SELECT count(*) FROM sized WHERE anew")
    least, most = CALIBRATED_ON
    first = fetch_rows(
        connection,
        "SELECT area, key, image_path, id, format, file_size, width * height, box FROM sized WHERE anew "
        f"ORDER BY dealt, image_path LIMIT {min(max(least, many // 50), most)}",
    )
    if not first:
        return 0.0, 0.0
    areas, lengths = [], []
    for area, key, image_path, category, kind, file_size, pixels, box in first:
        sample = Sample(key, image_path, category, kind, file_size, pixels, tuple(box) if box else None, None)
        lengths.append(len(picture_of(sample, read(sample, images), images, look).data))
        areas.append(area)
    rate = sum(lengths) / sum(areas)
    off = sum((length - rate * area) ** 2 for length, area in zip(lengths, areas, strict=True))
    error = math.sqrt(off) / sum(areas)
    return float(rate + error), float(math.sqrt(off / sum(area * area for area in areas)))


def grouped(connection: duckdb.DuckDBPyConnection, recipe: Recipe, groups: list[Group]) -> Iterator[pa.RecordBatch]:
    """The samples with the number of their group, as COLUMNS, in their order; each group is appended once it is whole.

    The order is that of a seeded hash of the path, or of the path where `shuffle` is off. Groups are cut so that they
    fill whole shards, and so that `min_shards` of each split come of them.
    """
    order = "dealt, image_path" if recipe.shuffle else "image_path"
    names = ", ".join(COLUMNS.names[1:])
    batches = select_batches(connection, f"SELECT split, estimate, spread, {names} FROM sample ORDER BY split, {order}")
    return _numbered(batches, _cuts(connection, recipe), groups)


def _cuts(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[int, _Cut]:
    totals = fetch_rows(connection, "SELECT split, count(*), sum(estimate)::BIGINT FROM sample GROUP BY split")
    shard = FILL * recipe.max_shard_size
    shards = int(sum(total for _, _, total in totals) / shard)
    usual = shard * min(SHARDS_AT_MOST, max(1, shards // GROUPS_AT_LEAST))
    cuts = {}
    for split, samples, total in totals:
        wanted = recipe.min_shards if samples >= recipe.min_shards else 0
        if total < wanted * shard:  # they can't all be full, so they shall be equal
            pieces = min(samples, max(wanted, math.ceil(total / (BALANCED_FILL * shard))))
            cuts[split] = _Cut(samples, usual, pieces)
        else:
            most = shard * int(total / wanted / shard) if wanted else usual
            cuts[split] = _Cut(samples, min(usual, most), 0)
    return cuts


def _numbered(
    batches: Iterator[pa.RecordBatch], cuts: dict[int, _Cut], groups: list[Group]
) -> Iterator[pa.RecordBatch]:
    current, count, place, piece, filled, variance = -1, 0, 0, 0, 0.0, 0.0
    for batch in batches:
        numbers = np.empty(batch.num_rows, np.int32)
        lines = zip(*(batch[name].to_pylist() for name in ("split", "estimate", "spread")), strict=True)
        for line, (split, size, spread) in enumerate(lines):
            cut = cuts[split]
            place = place + 1 if split == current else 0
            following = place * cut.pieces // cut.samples
            needed = filled + size + SURE * math.sqrt(variance + spread * spread)
            full = following != piece if cut.pieces else needed > cut.capacity
            if split != current or full:
                if count:
                    groups.append(Group(SPLITS[current], count))
                current, count, piece, filled, variance = split, 0, following, 0.0, 0.0
            count, filled, variance = count + 1, filled + size, variance + spread * spread
            numbers[line] = len(groups)
        yield pa.RecordBatch.from_arrays(
            [to_array(numbers), *(batch[name] for name in COLUMNS.names[1:])], names=COLUMNS.names
        )
    groups.append(Group(SPLITS[current], count))
