import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import USUAL, SplitRun, image, observed_images


def test_every_class_is_listed_and_those_furthest_off_first(splitting: SplitRun) -> None:
    images = observed_images()
    splitting.run(images, USUAL, grouping=Grouping(("observer",)), exact_fractions=False)
    rows = splitting.rows("balance")
    assert {row["label"]: int(row["images"]) for row in rows} == {
        label: sum(row["speciesKey"] == label for row in images) for label in "abcdefgh"
    }
    for split in SPLITS_OF_CLASSES:
        assert {row["label"]: int(row[split]) for row in rows} == splitting.labels(split)
    for row in rows:
        assert float(row["test_off"]) == round(int(row["test"]) - 0.2 * int(row["images"]), 1)
        assert float(row["val_off"]) == round(int(row["val"]) - 0.1 * int(row["images"]), 1)
    off = [max(abs(float(row["val_off"])), abs(float(row["test_off"]))) for row in rows]
    assert off == sorted(off, reverse=True)


def test_a_class_has_its_most_frequent_scientific_name(splitting: SplitRun) -> None:
    splitting.run([image(number, "ab"[number // 5]) for number in range(10)], USUAL)
    names = ["Arctia caja", None, "Arctia", "Arctia caja", None, *[None] * 5]
    table = pq.read_table(splitting.clean).append_column("species", pa.array(names, pa.string()))
    pq.write_table(table, splitting.clean)
    splitting.run(None, USUAL)
    assert {row["label"]: row["name"] for row in splitting.rows("balance")} == {"a": "Arctia caja", "b": ""}
