import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.union_find import DisjointSets


def relabel(size: int, joins: list[tuple[int, int]]) -> list[int]:
    labels = list(range(size))
    for one, other in joins:
        low, high = sorted((labels[one], labels[other]))
        labels = [low if label == high else label for label in labels]
    return labels


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.integers(1, 40))
def test_items_joined_through_others_have_the_smallest_item_as_root(data: st.DataObject, size: int) -> None:
    items = st.integers(0, size - 1)
    batches = data.draw(st.lists(st.lists(st.tuples(items, items), max_size=20), max_size=4))
    sets = DisjointSets(size)
    for batch in batches:
        one, other = np.array(batch, np.int64).reshape(-1, 2).T
        sets.join(one, other)
    joins = [pair for batch in batches for pair in batch]
    assert sets.find_all_roots().tolist() == relabel(size, joins)
    assert sets.find_roots(np.arange(size)).tolist() == relabel(size, joins)


def test_joined_items_are_selected_with_their_roots_in_batches() -> None:
    sets = DisjointSets(6)
    sets.join(np.array([5, 3, 2]), np.array([3, 1, 4]))
    batches = [(items.tolist(), roots.tolist()) for items, roots in sets.select_joined(2)]
    assert batches == [([3, 4], [1, 2]), ([5], [1])]
