"""Marks in the ledger: images that changed or disappeared, so that the next run downloads them again."""

from collections.abc import Mapping
from pathlib import Path

from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.outcomes import Status


def mark_in_ledgers(ledgers: list[Path], changed: Mapping[str, str]) -> list[Path]:
    """Mark images in the ledgers as failed, with their Defect as the error. The ledgers that were written again.

    `changed` has the Defect of each image by its path.
    """
    return [ledger for ledger in ledgers if _mark_in_ledger(ledger, changed)]


def _mark_in_ledger(ledger: Path, changed: Mapping[str, str]) -> bool:
    paths = arrow.read_parquet(ledger, ["image_path"])["image_path"].to_pylist()
    if not changed.keys() & paths:
        return False
    table = arrow.read_parquet(ledger)
    marks = {"status": dict.fromkeys(changed, str(Status.FAILED)), "error": changed}
    for name, by_path in marks.items():
        at = table.schema.get_field_index(name)
        values = [by_path.get(path, value) for path, value in zip(paths, table[name].to_pylist(), strict=True)]
        table = table.set_column(at, table.schema.field(at), arrow.to_typed_array(values, table.schema.field(at).type))
    arrow.write_parquet(table.to_batches(), ledger, table.schema)
    return True
