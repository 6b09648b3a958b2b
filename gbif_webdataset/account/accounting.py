"""Where every image of the archive went, counted from the files that the stages wrote."""

from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import whole_file

MEANINGS = {
    "orphaned": "their occurrence is not in the archive",
    "no-url": "no URL",
    "not-http": "the URL is neither http nor https",
    "not-still-image": "sound, video or a page, not a still image",
    "duplicate-medium": "the occurrence names the URL twice",
    "not-in-subset": "not in subset_list",
    "not-where": "its occurrence does not meet the condition where",
    "unusable-licence": "its licence is not among licenses",
    "several-occurrences": "its event has several occurrences, and it names none",
    "over-cap": "beyond num_images_per_category",
    "ragged-line": "the line has too few or too many fields",
    "blank-line": "a line with nothing on it",
    "invalid-text": "the line is not in the encoding that the archive declares",
    "not-found": "HTTP 404, not found",
    "gone": "HTTP 410, gone",
    "forbidden": "HTTP 403, forbidden",
    "unauthorized": "HTTP 401, unauthorized",
    "too-many-requests": "HTTP 429, too many requests, to the end",
    "server-error": "HTTP 5xx, the server's error, to the end",
    "timeout": "no answer in time, to the end",
    "too-slow": "more than max_seconds_per_image",
    "connection": "no connection, or it broke, to the end",
    "name-not-resolved": "the host's name is unknown",
    "bad-url": "the URL is not a valid one",
    "bad-redirect": "redirected to what is neither http nor https",
    "too-many-redirects": "redirected too often",
    "host-unavailable": "the host was left alone after it failed too often, or asked for a long pause",
    "tls": "no encrypted connection came about",
    "bad-certificate": "the host's TLS certificate is not valid",
    "blocked-address": "the host's address is not public",
    "too-large": "more than max_image_bytes",
    "empty": "the host sent nothing",
    "not-an-image": "the bytes are no image",
    "truncated": "the image breaks off",
    "opted-out": "the host asks not to be used for this (X-Robots-Tag)",
    "corrupt-data": "the decoder found damage",
    "too-many-pixels": "more than max_pixels",
    "unsupported-format": "an image of a format without a decoder here, such as HEIC",
    "jfif-revision": "strict: a JPEG of an unknown revision of JFIF",
    "stray-bytes": "strict: a JPEG with stray bytes in its header",
    "padding": "strict: a JPEG with padding before its end",
    "missing-file": "the file has gone",
    "changed-file": "the file is no longer what was fetched",
    "deleted": "deleted on request",
    "duplicate-url": "the URL stands at another occurrence too",
    "conflicting-labels": "the same bytes under different labels, of which one at least is wrong",
    "duplicate-content": "the same bytes as another image",
    "near-conflicting-labels": "nearly the same picture as one with another label",
    "near-duplicate": "nearly the same picture as another image",
    "flat": "one shade all over, such as a plate in place of a photo",
    "ignored-dataset": "in ignore_dataset_by_key",
    "thumbnail": "a side is below thumb_size",
    "not-adult": "the life stage is not adult",
    "life-stage-unknown": "the life stage is not known",
    "no-label": "without a label",
    "over-max-instances": "beyond max_instances",
    "under-min-instances": "a class with fewer than min_instances",
}


@dataclass(frozen=True)
class Line:
    """So many images left the way at `stage` for `reason`, or, where `kept`, became samples of the split `reason`."""

    stage: str
    reason: str
    images: int
    kept: bool = False


@dataclass(frozen=True)
class Tables:
    """The files that are counted."""

    rejected: Path
    media_files: tuple[str, ...]
    fetched: tuple[Path, ...]
    clean_dropped: Path
    split_dropped: Path
    shards_dropped: Path
    shards: Path


def account(media_lines: int, counted: Tables, scratch: Path) -> list[Line]:
    """Every image of an archive with `media_lines` media, by where it went.

    Raises MissingPieceError where the lines don't add up to `media_lines`.
    """
    media = ", ".join(tables.text(name) for name in counted.media_files)
    queries = (
        f"SELECT 'read', reason, count(*) FROM {tables.parquet([counted.rejected])} WHERE file IN ({media}) GROUP BY 2",
        f"SELECT 'fetch', error, count(*) FROM {tables.parquet(counted.fetched)} WHERE status = 'failed' GROUP BY 2",
        f"SELECT stage, reason, count(*) FROM {tables.parquet([counted.clean_dropped])} GROUP BY 1, 2",
        f"SELECT stage, reason, count(*) FROM {tables.csv(counted.split_dropped)} GROUP BY 1, 2",
        f"SELECT stage, reason, count(*) FROM {tables.csv(counted.shards_dropped)} GROUP BY 1, 2",
    )
    with tables.database(scratch) as connection:
        ordered = (f"{query} ORDER BY 1 DESC, 3 DESC, 2" for query in queries)
        lines = [Line(*row) for query in ordered for row in tables.rows(connection, query)]
        samples = f"SELECT split, sum(samples::BIGINT)::BIGINT FROM {tables.csv(counted.shards)} GROUP BY 1"
        kept = dict(tables.rows(connection, samples))
    splits = dict.fromkeys(("train", "val", "test", *kept))
    lines += [Line("sample", split, kept.get(split, 0), kept=True) for split in splits]
    total = sum(line.images for line in lines)
    if total != media_lines:
        raise MissingPieceError(
            f"the archive has {media_lines:,} media, but {total:,} are accounted for; report this as a bug, with: "
            + ", ".join(f"{line.stage} {line.reason} {line.images:,}" for line in lines)
        )
    return lines


def write(path: Path, media_lines: int, lines: list[Line]) -> None:
    """Write accounting.csv: what the archive holds, then each line; they add up to the first."""
    rows = [("stage", "reason", "images"), ("archive", "media-lines", str(media_lines))]
    rows += [(line.stage, line.reason, str(line.images)) for line in lines]
    with whole_file(path) as temporary:
        temporary.write_text("".join(",".join(row) + "\n" for row in rows))
