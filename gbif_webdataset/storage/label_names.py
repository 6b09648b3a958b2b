"""The SQL of the scientific names of labels."""

from collections.abc import Collection

from gbif_webdataset.storage.tables import quote_name
from gbif_webdataset.terms.ranks import KEY_COLUMNS, LABEL_NAME_COLUMNS, MAIN_NAME_COLUMNS
from gbif_webdataset.terms.splits import LABEL

MAX_NAME_CHARACTERS = 500


def select_frequent_names(source: str, label: str, name: str) -> str:
    """The SQL query of label and most frequent name of its images. `source` is a table or its SQL; it becomes `clean`.

    `label` and `name` are the SQL of an image's label and of its name.
    """
    counted = f"""SELECT {label}::VARCHAR AS label, left({name}, {MAX_NAME_CHARACTERS}) AS name, count(*) AS images
        FROM {source} AS clean WHERE {name} IS NOT NULL GROUP BY ALL"""
    return f"SELECT label, arg_max(name, (images, name)) FROM ({counted}) GROUP BY label"


def select_label_name(label_column: str, label: str, columns: Collection[str]) -> str:
    """The SQL expression of the scientific name of an image's label; empty if the archive has none.

    `label` is the SQL of the label. `columns` are those of the table, which the query calls `clean`. With roll_up the
    label is the key of one of the ranks, and the name is that of the same rank.
    """
    if label_column == LABEL:
        ranks = zip(KEY_COLUMNS, MAIN_NAME_COLUMNS, strict=True)
        names = [
            f"WHEN clean.{quote_name(key)} = {label} THEN clean.{quote_name(name)}"
            for key, name in ranks
            if key in columns and name in columns
        ]
        return f"CASE {' '.join(names)} END" if names else ""
    candidates = LABEL_NAME_COLUMNS.get(label_column, ())
    column = next((name for name in candidates if name in columns), None)
    return f"clean.{quote_name(column)}" if column else ""
