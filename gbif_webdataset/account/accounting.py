"""Where every image of the archive went, counted from the files that the stages wrote."""

from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES


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
    media = ", ".join(tables.quote_text(name) for name in counted.media_files)
    rejected, fetched = tables.parquet_source([counted.rejected]), tables.parquet_source(counted.fetched)
    queries = (
        f"SELECT 'read', reason, count(*) FROM {rejected} WHERE file IN ({media}) GROUP BY 2",
        f"SELECT 'fetch', error, count(*) FROM {fetched} WHERE status = '{Status.FAILED}' GROUP BY 2",
        f"SELECT stage, reason, count(*) FROM {tables.parquet_source([counted.clean_dropped])} GROUP BY 1, 2",
        f"SELECT stage, reason, count(*) FROM {tables.csv_source(counted.split_dropped)} GROUP BY 1, 2",
        f"SELECT stage, reason, count(*) FROM {tables.csv_source(counted.shards_dropped)} GROUP BY 1, 2",
    )
    with tables.open_database(scratch) as connection:
        ordered = (f"{query} ORDER BY 1 DESC, 3 DESC, 2" for query in queries)
        lines = [Line(*row) for query in ordered for row in tables.fetch_rows(connection, query)]
        samples = f"SELECT split, sum(samples::BIGINT)::BIGINT FROM {tables.csv_source(counted.shards)} GROUP BY 1"
        kept = dict(tables.fetch_rows(connection, samples))
    splits = dict.fromkeys((*SPLITS_OF_CLASSES, *kept))
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
    with atomic_file(path) as temporary:
        temporary.write_text("".join(",".join(row) + "\n" for row in rows))
