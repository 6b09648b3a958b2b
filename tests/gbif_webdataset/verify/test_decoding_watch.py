import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from gbif_webdataset.images.large_images import decode_alone
from gbif_webdataset.verify import decoding_watch
from gbif_webdataset.verify.decoding_watch import DecodingWatch, HungDecoderError


def test_the_sentence_names_an_image_that_takes_too_long_and_how_to_leave_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = DecodingWatch()
    thread = threading.Thread(target=watch.start, args=("d/a.jpg", "http://a.org/d'a.jpg"))
    thread.start()
    thread.join()
    watch.start("d/b.jpg", "http://a.org/b.jpg")
    watch.check()
    watch.stop()
    monkeypatch.setattr(decoding_watch, "MAX_DECODING_SECONDS", 0.0)
    sentence = (
        r"^images/d/a\.jpg: this image has been decoded for more than 0 minutes, so its decoder hangs; .*"
        r"--ReadArchive-media-where \"identifier <> 'http://a\.org/d''a\.jpg'\"$"
    )
    with pytest.raises(HungDecoderError, match=sentence):
        watch.check()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_an_image_that_waits_for_its_turn_does_not_hang(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, waits, has_turn, end = DecodingWatch(), threading.Event(), threading.Event(), threading.Event()

    def wait_for_turn(is_large: bool) -> AbstractContextManager[None]:
        waits.set()
        return decode_alone(is_large)

    monkeypatch.setattr(decoding_watch, "MAX_DECODING_SECONDS", -1.0)
    monkeypatch.setattr(decoding_watch, "decode_alone", wait_for_turn)

    def decode() -> None:
        watch.start("d/a.jpg", "http://a.org/a.jpg")
        with watch.decode_alone(True):
            has_turn.set()
            end.wait(30)

    with decode_alone(True):
        decoding = pool.submit(decode)
        waits.wait(30)
        assert not has_turn.wait(0.1)
        watch.check()
    has_turn.wait(30)
    with pytest.raises(HungDecoderError):
        watch.check()
    end.set()
    decoding.result()


def test_a_decoder_that_hangs_keeps_no_other_large_image_waiting(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, has_turn, end = DecodingWatch(), threading.Event(), threading.Event()

    def hang() -> None:
        watch.start("d/a.jpg", "http://a.org/a.jpg")
        with watch.decode_alone(True):
            has_turn.set()
            end.wait(30)

    def decode() -> None:
        with decode_alone(True):
            pass

    hung = pool.submit(hang)
    has_turn.wait(30)
    monkeypatch.setattr(decoding_watch, "MAX_DECODING_SECONDS", -1.0)
    with pytest.raises(HungDecoderError):
        watch.check()
    pool.submit(decode).result(timeout=10)
    assert not hung.done()
    end.set()
    hung.result()
