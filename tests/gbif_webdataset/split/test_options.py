import duckdb
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.options import Limits, SplitOptions
from tests.support.split_run import HALF, hash_text


@pytest.mark.parametrize("name", ["max_instances", "min_instances"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"^--SplitDataset-{name.replace('_', '-')} -1: below 0; "):
        Limits(**{name: -1})


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_holdout_of_none_or_all_is_refused(fraction: float) -> None:
    with pytest.raises(ParameterError, match=rf"^--SplitDataset-holdout-frac {fraction}: "):
        SplitOptions("speciesKey", HALF, 1, holdout_frac=fraction)


def test_the_seeded_hash_is_half_of_an_md5() -> None:
    query = f"SELECT {SplitOptions('speciesKey', HALF, 7).seeded_hash('name')} FROM (SELECT 'o1' AS name)"
    with duckdb.connect() as connection:
        [(value,)] = connection.execute(query).fetchall()
    assert value == hash_text(7, "o1")
