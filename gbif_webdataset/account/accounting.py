"""accounting.csv: the stage and reason at which each image of the archive was dropped, or its split."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import ACCOUNTING
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES


@dataclass(frozen=True)
class AccountLine:
    """Images that `stage` dropped for `reason`. If `kept`, they are samples, and `reason` is their split."""

    stage: str
    reason: str
    images: int
    kept: bool = False


def account_for_images(paths: DatasetPaths, media_lines: int, media_files: Sequence[str]) -> list[AccountLine]:
    """The lines of accounting.csv after its first, stage by stage, the samples last.

    `media_lines` is the number of media in the archive, `media_files` the names of the archive's files of media.

    Raises:
        MissingPieceError: the images of all lines do not add up to `media_lines`.
    """
    media = ", ".join(tables.quote_text(name) for name in media_files)
    rejected = tables.parquet_source([paths.rejected])
    dropped = (
        tables.parquet_source([paths.clean_dropped]),
        tables.csv_source(paths.split_dropped),
        tables.csv_source(paths.shards_dropped),
    )
    queries = (
        f"SELECT 'read', reason, count(*) FROM {rejected} WHERE file IN ({media}) GROUP BY 2",
        f"SELECT 'fetch', error, count(*) FROM {tables.parquet_source(paths.list_chunks('fetched'))} "
        f"WHERE status = '{Status.FAILED}' GROUP BY 2",
        *(f"SELECT stage, reason, count(*) FROM {source} GROUP BY 1, 2" for source in dropped),
    )
    with tables.open_database(paths.scratch) as connection:
        ordered = (f"{query} ORDER BY 1 DESC, 3 DESC, 2" for query in queries)
        lines = [AccountLine(*row) for query in ordered for row in tables.fetch_rows(connection, query)]
    samples: Counter[str] = Counter(dict.fromkeys(SPLITS_OF_CLASSES, 0))
    with tables.open_csv(paths.shard_list) as shards:
        for shard in shards:
            samples[shard["split"]] += int(shard["samples"])
    lines += [AccountLine("sample", split, images, kept=True) for split, images in samples.items()]
    _check_sum(paths.accounting, lines, media_lines)
    return lines


def _check_sum(path: Path, lines: Sequence[AccountLine], media_lines: int) -> None:
    total = sum(line.images for line in lines)
    if total != media_lines:
        raise MissingPieceError(
            f"{path}: not written, because the archive has {media_lines:,} media, but {total:,} are accounted for; "
            "report this as a bug, with these numbers: "
            + ", ".join(f"{line.stage} {line.reason} {line.images:,}" for line in lines)
        )


def write_accounting(path: Path, media_lines: int, lines: Sequence[AccountLine]) -> None:
    """Write accounting.csv. Its first line counts the media of the archive; the other lines add up to it."""
    rows = [("archive", "media-lines", media_lines), *((line.stage, line.reason, line.images) for line in lines)]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in ACCOUNTING])
        writer.writerows(rows)
