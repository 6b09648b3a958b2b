import numpy as np

from gbif_webdataset.read.record_slots import MAX_SLOTS, MIN_SLOTS, RecordSlots


def test_records_may_have_media_if_a_medium_has_their_id() -> None:
    slots = RecordSlots(0)
    slots.add_media(np.array([1, 2, 2**63], np.uint64))
    assert slots.add_records(np.array([1, 3, 2**63], np.uint64)).tolist() == [True, False, True]
    assert slots.may_be_medium(np.array([1, 2, 3], np.uint64)).tolist() == [True, True, False]


def test_media_without_a_record_are_orphans() -> None:
    slots = RecordSlots(100 << 20)
    slots.add_media(np.array([1, 5 * MIN_SLOTS], np.uint64))
    slots.add_records(np.array([1, 7], np.uint64))
    assert slots.has_orphans()
    slots.add_records(np.array([5 * MIN_SLOTS], np.uint64))
    assert not slots.has_orphans()
    slots.add_media(np.array([9], np.uint64))
    slots.clear()
    assert not slots.has_orphans()


def test_the_number_of_slots_is_limited() -> None:
    assert RecordSlots(2**40).may_be_medium(np.array([MAX_SLOTS + 1], np.uint64)).tolist() == [False]
