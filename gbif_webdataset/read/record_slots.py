"""Which ids of records media have, in a fixed amount of memory."""

from typing import Any

import numpy as np

from gbif_webdataset.read.hash_partitions import Hashes

MIN_SLOTS, MAX_SLOTS = 1 << 16, 1 << 27
MEDIUM_BYTES = 64
IS_MEDIUM, IS_RECORD = 1, 2
Truths = np.ndarray[Any, np.dtype[np.bool_]]


class RecordSlots:
    """A byte for the last bits of each hash of an id. Different ids may share a slot.

    `media_bytes` is the size of the files of media.
    """

    def __init__(self, media_bytes: int) -> None:
        slots = MIN_SLOTS
        while slots < min(MAX_SLOTS, media_bytes // MEDIUM_BYTES):
            slots *= 2
        self._slots = np.zeros(slots, np.uint8)

    def clear(self) -> None:
        """Forget all ids."""
        self._slots[:] = 0

    def add_media(self, hashes: Hashes) -> None:
        """Add the hashes of ids of media."""
        self._slots[self._find(hashes)] = IS_MEDIUM

    def add_records(self, hashes: Hashes) -> Truths:
        """Add the hashes of ids of records after those of all media; for each whether it may have media."""
        may_have_media = self.may_be_medium(hashes)
        self._slots[self._find(hashes[may_have_media])] |= IS_RECORD
        return may_have_media

    def may_be_medium(self, hashes: Hashes) -> Truths:
        """For each hash of an id whether a medium may have the id."""
        is_used: Truths = self._slots[self._find(hashes)] != 0
        return is_used

    def has_orphans(self) -> bool:
        """Whether media have an id of no record. Few orphans may share their slots with records and be missed."""
        blocks = (self._slots[begin : begin + MIN_SLOTS] for begin in range(0, len(self._slots), MIN_SLOTS))
        return any(bool((block == IS_MEDIUM).any()) for block in blocks)

    def _find(self, hashes: Hashes) -> Hashes:
        return hashes & np.uint64(len(self._slots) - 1)
