import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.upload.publish_options import PublishOptions, check_options

HUB, BUCKET = StoreAddress("hf", "me/moths", ""), StoreAddress("s3", "bucket", "x")


@pytest.mark.parametrize(
    ("options", "name"),
    [(PublishOptions(only=("x",)), "--only"), (PublishOptions(bytes_per_second=1), "--bytes-per-second")],
)
def test_the_hub_has_no_parts_and_no_limit(options: PublishOptions, name: str) -> None:
    with pytest.raises(
        ParameterError, match=f"^{name}: the Hub takes a version as one commit, at full speed; leave it out"
    ):
        check_options(HUB, options)
    check_options(BUCKET, options)
    check_options(HUB, PublishOptions(prune=True, dry_run=True, public_url="https://x.example"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (PublishOptions(only=("x",), prune=True), "--only: --prune has no effect with it; leave one of them out"),
        (PublishOptions(public_url="https://x.example/?a=b"), r"--public-url: has \? or #"),
        (PublishOptions(public_url="https://x.example/#a"), r"--public-url: has \? or #"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(options: PublishOptions, sentence: str) -> None:
    with pytest.raises(ParameterError, match=f"^{sentence}"):
        check_options(BUCKET, options)
