"""Connected components by union-find, over arrays: what is joined, directly or through others, has one root."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Indexes = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Forest:
    """`size` things, numbered from 0; 4 bytes each. A component's root is its smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size, dtype=np.int32)

    def join(self, one: Indexes, other: Indexes) -> None:
        """Join one[i] with other[i], for every i."""
        while len(one):
            one, other = self.roots(one), self.roots(other)
            apart = one != other
            one, other = one[apart], other[apart]
            # A root gets the smallest of those that it is to hang on, so the rest is left for another round.
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))

    def roots(self, things: Indexes) -> Indexes:
        """The root of each thing; the paths that were walked are shortened."""
        found: Indexes = self._parent[things]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                break
            found = above
        self._parent[things] = found
        return found

    def all_roots(self) -> Indexes:
        """The root of everything (int32, as long as there are things)."""
        while True:
            above = self._parent[self._parent]
            if np.array_equal(above, self._parent):
                return above
            self._parent = above

    def hanging(self, size: int) -> Iterator[tuple[Indexes, Indexes]]:
        """All that are not their own root, and their roots, in arrays of at most `size`."""
        roots = self.all_roots()
        members = np.flatnonzero(roots != np.arange(len(roots), dtype=np.int32)).astype(np.int32)
        for start in range(0, len(members), size):
            some = members[start : start + size]
            yield some, roots[some]
