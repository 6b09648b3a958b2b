"""Disjoint sets (union-find) over arrays: items that are joined, directly or through others, are in one set."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Indexes = np.ndarray[Any, np.dtype[np.integer[Any]]]


class DisjointSets:
    """Sets of the items 0 to `size` - 1, each item in a set of its own at first. A set's root is its smallest item.

    Memory: 4 bytes for each item.
    """

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size, dtype=np.int32)

    def join(self, one: Indexes, other: Indexes) -> None:
        """Join the sets of one[i] and other[i], for every i."""
        while len(one):
            one, other = self.find_roots(one), self.find_roots(other)
            apart = one != other
            one, other = one[apart], other[apart]
            # Several pairs may give one root a new parent. It gets the smallest; the next round joins the other pairs.
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))

    def find_roots(self, items: Indexes) -> Indexes:
        """The root of each item. Afterwards each item points to its root directly."""
        roots: Indexes = self._parent[items]
        while True:
            parents = self._parent[roots]
            if np.array_equal(parents, roots):
                break
            roots = parents
        self._parent[items] = roots
        return roots

    def find_all_roots(self) -> Indexes:
        """The root of every item, as int32."""
        while True:
            parents = self._parent[self._parent]
            if np.array_equal(parents, self._parent):
                return parents
            self._parent = parents

    def select_joined(self, batch_size: int) -> Iterator[tuple[Indexes, Indexes]]:
        """The items that are not the root of their set, and their roots, in arrays of at most `batch_size`."""
        roots = self.find_all_roots()
        joined = np.flatnonzero(roots != np.arange(len(roots), dtype=np.int32)).astype(np.int32)
        for start in range(0, len(joined), batch_size):
            items = joined[start : start + batch_size]
            yield items, roots[items]
