from typing import Any

import duckdb
import pytest

from gbif_webdataset.storage.label_names import select_label_name
from gbif_webdataset.storage.tables import quote_name

MOTH = {
    "label": "g1", "speciesKey": None, "species": None, "genusKey": "g1", "genus": "Arctia",
    "acceptedTaxonKey": "g1", "acceptedScientificName": "Arctia Schrank, 1802", "taxonKey": "old",
    "scientificName": "Old name",
}  # fmt: skip


def find_name(label_column: str, row: dict[str, Any]) -> Any:
    """The name of the label in a row with these columns; "none" if there is no expression."""
    name = select_label_name(label_column, f"clean.{quote_name(label_column)}", row)
    if not name:
        return "none"
    values = ", ".join(f"?::VARCHAR AS {quote_name(column)}" for column in row)
    with duckdb.connect() as connection:
        query = f"SELECT {name} FROM (SELECT {values}) AS clean"
        return connection.execute(query, list(row.values())).fetchall()[0][0]


@pytest.mark.parametrize(
    ("label_column", "name"),
    [
        ("genusKey", "Arctia"),
        ("speciesKey", None),
        ("acceptedTaxonKey", "Arctia Schrank, 1802"),
        ("taxonKey", "Old name"),
        ("label", "Arctia"),
        ("genus", "none"),
        ("datasetKey", "none"),
    ],
)
def test_the_name_is_the_one_at_the_rank_of_the_label(label_column: str, name: str | None) -> None:
    assert find_name(label_column, MOTH | {"datasetKey": "d"}) == name


def test_without_accepted_names_the_name_of_the_species_is_used() -> None:
    row = {"acceptedTaxonKey": "s1", "species": "Arctia caja", "scientificName": "Bombyx caja"}
    assert find_name("acceptedTaxonKey", row) == "Arctia caja"


def test_an_archive_without_names_has_none() -> None:
    assert find_name("speciesKey", {"speciesKey": "s1"}) == "none"
    assert find_name("label", {"label": "s1", "speciesKey": "s1"}) == "none"
