import pytest

from gbif_webdataset.read.dwca import MEDIA, RECORDS, open_archive
from gbif_webdataset.read.event_keys import EventKeys
from tests.support.archives import find_case


@pytest.mark.parametrize(
    ("name", "keys", "ids"),
    [
        ("event-media-some-occurrenceid", EventKeys(0, (0,)), (1, 1)),
        ("gbif-event-download", EventKeys(0, (24, 1), (1, 2)), (0, 0)),
    ],
)
def test_media_name_their_event_by_these_columns(name: str, keys: EventKeys, ids: tuple[int, int]) -> None:
    with open_archive(find_case(f"archives/{name}.zip")) as archive:
        assert archive.event_keys == keys
        assert (archive.layouts[RECORDS].id_index, archive.layouts[MEDIA].id_index) == ids


def test_archives_of_occurrences_have_no_keys_of_events() -> None:
    with open_archive(find_case("archives/url-forms.zip")) as archive:
        assert archive.event_keys is None
