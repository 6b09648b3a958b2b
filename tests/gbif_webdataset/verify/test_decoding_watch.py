import threading
from pathlib import Path

import pytest

from gbif_webdataset.verify import decoding_watch
from gbif_webdataset.verify.decoding_watch import DecodingWatch, HungDecoderError


def test_the_sentence_names_an_image_that_takes_too_long_and_how_to_leave_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = DecodingWatch()
    thread = threading.Thread(target=watch.start, args=(Path("images/d/a.jpg"), "http://a.org/d'a.jpg"))
    thread.start()
    thread.join()
    watch.start(Path("images/d/b.jpg"), "http://a.org/b.jpg")
    watch.check()
    watch.stop()
    monkeypatch.setattr(decoding_watch, "MAX_DECODING_SECONDS", 0.0)
    sentence = (
        r"^images/d/a\.jpg: this image has been decoded for more than 0 minutes, so its decoder hangs; .*"
        r"--ReadArchive-media-where \"identifier <> 'http://a\.org/d''a\.jpg'\"$"
    )
    with pytest.raises(HungDecoderError, match=sentence):
        watch.check()


def test_the_time_before_a_restart_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(decoding_watch.time, "monotonic", lambda: now[0])
    watch = DecodingWatch()
    watch.start(Path("images/d/a.jpg"), "http://a.org/a.jpg")
    now[0] = 599.0
    watch.restart()
    now[0] = 1198.0
    watch.check()
    now[0] = 1200.0
    with pytest.raises(HungDecoderError):
        watch.check()
