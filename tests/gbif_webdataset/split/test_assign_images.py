from pathlib import Path

from gbif_webdataset.split.assign_images import assign_images
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.storage import tables
from tests.support.split_run import USUAL, SplitRun, observed_images


def test_every_clean_image_has_a_destination(splitting: SplitRun, tmp_path: Path) -> None:
    counts = splitting.run(observed_images(200), USUAL, exact_fractions=False)
    options = SplitOptions("speciesKey", USUAL, 1)
    with tables.open_database(tmp_path / "scratch") as connection:
        assign_images(connection, splitting.clean, splitting.duplicates, options)
        query = "SELECT destination, count(*) FROM clean POSITIONAL JOIN destinations GROUP BY destination"
        found = dict(tables.fetch_rows(connection, query))
    assert found == {name: count for name, count in counts.items() if count}
