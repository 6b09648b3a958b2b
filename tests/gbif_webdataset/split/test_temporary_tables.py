from pathlib import Path

import pytest

from gbif_webdataset.split.assign_images import assign_images
from gbif_webdataset.split.options import Limits, SplitOptions
from gbif_webdataset.split.temporary_tables import TABLES
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage import tables
from tests.support.split_run import USUAL, SplitRun, observed_images

CONDITIONAL = {"held_out_values", "group_names"}


@pytest.mark.parametrize("is_grouped", [True, False])
def test_the_database_has_the_described_tables_with_the_described_columns(
    splitting: SplitRun, tmp_path: Path, is_grouped: bool
) -> None:
    splitting.run(observed_images(100), USUAL)
    options = SplitOptions(
        "speciesKey",
        USUAL,
        1,
        limits=Limits(50, 2),
        grouping=Grouping(("observer",) if is_grouped else ()),
        previous_splits=splitting.splits,
        holdout_key="genusKey" if is_grouped else "",
    )
    with tables.open_database(tmp_path / "scratch") as connection:
        assign_images(connection, splitting.clean, splitting.duplicates, options)
        names = {name for (name,) in tables.fetch_rows(connection, "SHOW TABLES")} - {"clean"}
        assert names == (TABLES.keys() if is_grouped else TABLES.keys() - CONDITIONAL)
        for name in names:
            columns = [column for column, *_ in tables.fetch_rows(connection, f"DESCRIBE {name}")]
            assert columns == list(TABLES[name].columns)
