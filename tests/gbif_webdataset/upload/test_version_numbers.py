import random

import pytest

from gbif_webdataset.upload.version_numbers import Part, order_version, propose_version


@pytest.mark.parametrize(("part", "proposed"), [(Part.MAJOR, "2.0.0"), (Part.MINOR, "1.3.0"), (Part.PATCH, "1.2.6")])
def test_the_next_version_raises_one_part(part: Part, proposed: str) -> None:
    assert propose_version("1.2.5", part) == proposed
    assert propose_version("1.2.5+x", part) == proposed


def test_versions_are_ordered_as_semver_orders_them() -> None:
    ordered = ["0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
               "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]  # fmt: skip
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=order_version) == ordered
    assert order_version("1.0.0+one") == order_version("1.0.0+two")


@pytest.mark.parametrize(
    ("published", "part", "proposed"),
    [
        ("1.3.0-beta.1", Part.PATCH, "1.3.0"),
        ("1.3.0-beta.1", Part.MINOR, "1.3.0"),
        ("1.3.0-beta.1", Part.MAJOR, "2.0.0"),
        ("1.3.1-beta.1", Part.MINOR, "1.4.0"),
        ("2.0.0-beta.1", Part.MAJOR, "2.0.0"),
    ],
)
def test_a_version_follows_its_own_pre_release(published: str, part: Part, proposed: str) -> None:
    assert propose_version(published, part) == proposed
