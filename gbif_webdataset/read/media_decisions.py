"""What is decided about the media of a partition: images to fetch, or rejected with a reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.reasons import MediumReason

Numbers = np.ndarray[Any, np.dtype[Any]]
REASONS = ("", *map(str, MediumReason))
"""The codes that `MediaDecisions.reason` numbers; 0 is for images to fetch."""


@dataclass(frozen=True)
class MediaDecisions:
    """The decisions; each array has one entry per medium, except `repeated_records`.

    Attributes:
        record: row of its record; -1 without one.
        coreid: id of its record.
        url: its URL.
        licence: code of its licence.
        licence_text: text of its licence, a dictionary.
        image_number: its number among the images of its record, from 0.
        reason: position in REASONS.
        archive: number of its archive, lower for a preferred archive.
        repeated_records: rows of the records whose id an earlier record has.
    """

    record: Numbers
    coreid: pa.ChunkedArray
    url: pa.ChunkedArray
    licence: pa.ChunkedArray
    licence_text: pa.DictionaryArray
    image_number: Numbers
    reason: Numbers
    archive: Numbers
    repeated_records: Numbers

    @property
    def images(self) -> Numbers:
        """Rows of the media that are images to fetch."""
        return np.flatnonzero(self.reason == 0)

    @property
    def rejected(self) -> Numbers:
        """Rows of the other media."""
        return np.flatnonzero(self.reason)

    def reject(self, reason: MediumReason, applies: Numbers) -> None:
        """Reject the media to which a reason applies, unless an earlier reason did. `applies` has truth values."""
        self.reason[applies & (self.reason == 0)] = REASONS.index(reason)

    def number_images(self, owner: Numbers) -> None:
        """Number the images of each owner in the order of their URLs; reject those that repeat a URL."""
        images, is_repeated = self._sort_by_url(owner)
        self.reason[images[is_repeated]] = REASONS.index(MediumReason.DUPLICATE_MEDIUM)
        images = images[~is_repeated]
        starts = np.flatnonzero(np.diff(owner[images], prepend=-1))
        firsts = np.repeat(starts, np.diff(starts, append=len(images)))
        self.image_number[images] = np.arange(len(images)) - firsts

    def reject_in_another_archive(self, owner: Numbers) -> None:
        """Reject media whose owner has the same URL in a preferred archive, whatever that archive states of it."""
        media, is_repeated = self._sort_by_url(owner)
        firsts = np.maximum.accumulate(np.where(is_repeated, 0, np.arange(len(media))))
        is_elsewhere = self.archive[media] != self.archive[media[firsts]]
        self.reason[media[is_elsewhere]] = REASONS.index(MediumReason.IN_ANOTHER_ARCHIVE)

    def _sort_by_url(self, owner: Numbers) -> tuple[Numbers, Numbers]:
        """Media of owners with several that are not rejected, by owner and URL, those of preferred archives first.

        And whether each one repeats the URL of the one before it.
        """
        media = self.images
        media = media[np.bincount(owner[media], minlength=1)[owner[media]] > 1]
        urls = np.from_dlpack(pc.rank(self.url.take(arrow.to_array(media)), tiebreaker="dense"))
        order = np.lexsort((urls, owner[media]))  # it is stable, and media of preferred archives come first
        media, urls = media[order], urls[order].astype(np.int64)
        is_repeated = (np.diff(owner[media], prepend=-1) == 0) & (np.diff(urls, prepend=-1) == 0)
        return media, is_repeated


def number_values(column: pa.ChunkedArray) -> tuple[Numbers, int]:
    """A number for each row, the same for equal values, and how many numbers there are. Null has the last one."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    count = len(encoded.dictionary)
    numbers = pc.fill_null(encoded.indices.cast(pa.int64()), arrow.to_scalar(count))
    return np.from_dlpack(numbers), count + 1


def find_first_rows(numbers: Numbers, count: int) -> Numbers:
    """The first row of each number below `count`; -1 for a number that no row has."""
    first_rows = np.full(count, -1)
    first_rows[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first_rows


def to_truths(column: pa.ChunkedArray | pa.Array) -> Numbers:
    """Truth values as a numpy array, false for null."""
    filled = pc.fill_null(column, arrow.to_scalar(False)).cast(pa.uint8())
    return np.from_dlpack(filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled).astype(bool)
