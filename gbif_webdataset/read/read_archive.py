"""The manifest: one row per photo of an archive, dealt into chunks, and every other line with its reason.

Both data files are read once. Their rows are dealt to buckets by a hash of the record's id, so that all of a record
is in one bucket, whatever the order of the lines; bucket after bucket is joined, judged and written. Rows are
in the order of that hash, then by image_path, and a chunk is a range of it.
"""

import contextlib
import itertools
import json
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.errors import ArchiveError, ParameterError, SelectionError
from gbif_webdataset.read import dwca
from gbif_webdataset.read.hash_partitions import share_of
from gbif_webdataset.read.partition_archive import CHECKLIST, Dealt, Resources, write_rejected
from gbif_webdataset.read.provenance import digested, keep
from gbif_webdataset.read.select_media import Decided, Judge, Selection
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.chunks import chunk_name

REASONS = {
    "orphaned": "whose occurrence is not in the archive",
    "several-occurrences": "of events with several occurrences",
    "no-url": "without a URL",
    "not-http": "whose URL is not http or https",
    "not-still-image": "that are no still images",
    "duplicate-medium": "that an occurrence names twice",
    "not-in-subset": "that are not in subset_list",
    "not-where": "of occurrences that where leaves out",
    "unusable-licence": "whose licence is none of licenses",
    "over-cap": "beyond num_images_per_category",
}
WRITERS = 2
SETTINGS = {"not-in-subset", "not-where", "unusable-licence"}


@dataclass
class Counts:
    """Lines of the archive's files and what became of them; `images` by chunk, `rejected` by file and reason.

    `checklist` is the key of the one that taxon keys belong to, where the archive says it.
    `passed_over` are files that hold media, too, and were not read, by their row type: one extension's media are read.
    """

    media_files: tuple[str, ...]
    media_lines: int
    record_lines: int
    checklist: str | None
    images: list[int] = field(default_factory=list)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of a subset list: a JSON list, or a text with a key a line. Numbers come as they are written."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        is_json = content.lstrip().startswith(("[", "{"))
        keys = json.loads(content, parse_int=str, parse_float=str) if is_json else content.split("\n")
    except (OSError, ValueError) as error:
        raise ParameterError(f"subset_list {path} can't be read: {error}") from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ParameterError(f"subset_list {path} must be a JSON list of keys, or a text with a key a line")
    keys = sorted({key.strip() for key in keys} - {""})
    if not keys:
        raise ParameterError(f"subset_list {path} holds no key")
    return tuple(keys)


def build(
    archive: Path,
    folder: Path,
    chunks: int,
    selection: Selection,
    resources: Resources,
    progress: Callable[[int, int], None],
) -> Counts:
    """Write `folder`/chunk-NNNNN.parquet, an image a row, and `folder`/rejected.parquet, every other line.

    Beside them lies what `source.keep` writes of where the archive is from. A record's images are in one chunk, chosen
    by its id alone. Raises ArchiveError for an archive that can't be read, SelectionError where nothing is left of it.
    `progress` is told the bytes read so far and in all.
    """
    with ExitStack() as stack:
        source = stack.enter_context(dwca.opened(archive, resources.max_expansion))
        digest = stack.enter_context(digested(archive))
        connection = stack.enter_context(tables.open_database(resources.scratch, f"{resources.memory // 2 >> 20}MB"))
        judge = Judge(connection, source, selection)
        dealt = stack.enter_context(Dealt(source, connection, judge, resources, progress))
        if selection.cap:
            judge.rank(dealt.pair(bucket) for bucket in range(dealt.buckets))
        pieces = _pieces((judge.decide(*dealt.pair(bucket)) for bucket in range(dealt.buckets)), chunks)
        counts = Counts(
            source.media.locations, dealt.media_lines, dealt.record_lines, dealt.checklist or source.checklist
        )
        counts.passed_over = source.passed_over
        schema = judge.schema.with_metadata({CHECKLIST: counts.checklist}) if counts.checklist else judge.schema
        counts.images = _write_chunks(folder, chunks, schema, pieces)
        write_rejected(folder / "rejected.parquet", source, connection)
        counts.rejected = _rejected(connection)
        if not sum(counts.images):
            raise SelectionError(_emptied(archive, counts, selection))
        if counts.media_lines != sum(counts.images) + sum(counts.rejected["media"].values()):
            raise ArchiveError(f"{archive}: media do not add up ({counts}); report this as a bug")
        keep(source, folder, digest.result())
        return counts


def bytes_of(archive: Path, max_expansion: float = dwca.MAX_EXPANSION) -> int:
    """Bytes that `build` reads of an archive, inflated."""
    with dwca.opened(archive, max_expansion) as source:
        return source.size_in_all


def _pieces(buckets: Iterator[Decided], chunks: int) -> Iterator[tuple[int, Decided]]:
    """The images of each bucket, cut where a chunk ends."""
    for decided in buckets:
        hashes = np.from_dlpack(decided.found.column("hash").combine_chunks()).astype(np.uint64, copy=False)
        places = share_of(hashes, chunks)
        bounds = np.searchsorted(places, np.arange(chunks + 1))
        for chunk in np.unique(places).tolist():
            yield chunk, decided.slice(int(bounds[chunk]), int(bounds[chunk + 1]))


class _Feed:
    """The pieces of a chunk, handed from the thread that finds them to the one that writes them, one at a time."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[Decided | BaseException | None] = queue.Queue(1)

    def put(self, piece: Decided | None, writing: Future[int]) -> None:
        """Hand over a piece, or None after the last; raises what the writer failed with."""
        while True:
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=0.1)
                return
            if writing.done():
                writing.result()

    def fail(self, error: BaseException) -> None:
        """Let the writer fail, too."""
        with contextlib.suppress(queue.Empty):
            self._pieces.get_nowait()
        self._pieces.put(error)

    def __iter__(self) -> Iterator[Decided]:
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def _write_chunks(folder: Path, chunks: int, schema: pa.Schema, pieces: Iterator[tuple[int, Decided]]) -> list[int]:
    """Write each chunk from its pieces, which come in the chunks' order, two at a time; the images of each.

    However many buckets a chunk is of, few of them are held.
    """
    counts: list[Future[int]] = []
    with ThreadPoolExecutor(WRITERS, "chunk") as pool:
        by_chunk = itertools.groupby(pieces, key=itemgetter(0))
        chunk, found = next(by_chunk, (chunks, iter(())))
        for number in range(chunks):
            feed = _Feed()
            counts.append(pool.submit(_write_chunk, folder / chunk_name(number), schema, feed))
            try:
                if chunk == number:
                    for _, piece in found:
                        feed.put(piece, counts[-1])
                    chunk, found = next(by_chunk, (chunks, iter(())))
                feed.put(None, counts[-1])
            except BaseException as error:
                feed.fail(error)
                raise
            wait(counts[:-WRITERS])
    return [count.result() for count in counts]


def _write_chunk(path: Path, schema: pa.Schema, pieces: Iterable[Decided]) -> int:
    return arrow.write_parquet((b for piece in pieces for b in piece.images().to_batches()), path, schema)


def _rejected(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {"media": {}, "records": {}}
    query = "SELECT kind, reason, count(*) FROM rejected GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    for kind, reason, count in tables.fetch_rows(connection, query):
        counted[kind][reason] = count
    return counted


def _emptied(archive: Path, counts: Counts, selection: Selection) -> str:
    """Which filter left nothing of the archive, in one sentence."""
    media = counts.rejected["media"]
    lines = f"{archive}: none of its {counts.media_lines:,} media is left"
    if not counts.media_lines:
        return f"{archive}: its media file is empty; {dwca.GET_THE_RIGHT_ONE}"
    if media.get("not-in-subset") and not (SETTINGS - {"not-in-subset"}) & set(media):
        return (
            f"{lines}: subset_list holds {len(selection.subset or ()):,} keys, and no image's {selection.key} is among "
            f"them ({media['not-in-subset']:,} images); check subset_list and subset_key"
        )
    reasons = ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in media.items())
    remedy = "change that setting" if SETTINGS & set(media) else dwca.GET_THE_RIGHT_ONE
    return f"{lines}: {reasons}; {remedy}"
