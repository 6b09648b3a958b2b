from dataclasses import replace

from tests.support.fetch_run import OPTIONS


def test_each_pause_is_twice_as_long_as_the_one_before_up_to_a_minute() -> None:
    options = replace(OPTIONS, retry_pause=1.5)
    assert [options.find_retry_pause(attempts) for attempts in (1, 2, 3, 9)] == [1.5, 3.0, 6.0, 60.0]
