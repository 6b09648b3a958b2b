"""Marks in the ledger: images that changed or disappeared, so that the next run downloads them again."""

from collections.abc import Collection, Mapping
from pathlib import Path

from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.outcomes import Status


def has_image(ledger: Path, images: Collection[str]) -> bool:
    """Whether one of the images, given by their paths, is in a ledger."""
    return not set(images).isdisjoint(arrow.read_parquet(ledger, ["image_path"])["image_path"].to_pylist())


def mark_in_ledger(ledger: Path, changed: Mapping[str, str]) -> None:
    """Mark images in a ledger as failed, with their Defect as the error; `changed` has it for each image by its path.

    The caller deletes the record of the ledger before. A run that is killed in between would otherwise leave a record
    of other bytes, which counts as damage.
    """
    table = arrow.read_parquet(ledger)
    paths = table["image_path"].to_pylist()
    marks = {"status": dict.fromkeys(changed, str(Status.FAILED)), "error": changed}
    for name, by_path in marks.items():
        at = table.schema.get_field_index(name)
        values = [by_path.get(path, value) for path, value in zip(paths, table[name].to_pylist(), strict=True)]
        table = table.set_column(at, table.schema.field(at), arrow.to_typed_array(values, table.schema.field(at).type))
    arrow.write_parquet(table.to_batches(), ledger, table.schema)
