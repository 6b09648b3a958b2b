"""Groups of images that stay in one split."""

from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.split.fractions import NO_SPLIT
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.previous_splits import create_previous
from gbif_webdataset.split.temporary_tables import create_table, create_view
from gbif_webdataset.split.traits import NEAR_DUPLICATES, Grouping, trait_value
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.union_find import DisjointSets


def create_groups(connection: duckdb.DuckDBPyConnection, duplicates: Path, options: SplitOptions) -> None:
    """Create `units`, `previous`, `members`, `group_names`, `group_classes`, and the groups of one and several classes.

    `duplicates` is CleanDataset's duplicates.parquet.
    """
    name = "unit" if options.split_by_occurrence else "min(image_path)"
    create_table(
        connection,
        "units",
        f"""SELECT unit, min(class) AS class, count(*) AS size, {name} AS name
        FROM images WHERE class IS NOT NULL AND unit IS NOT NULL GROUP BY unit""",
    )
    create_previous(connection, options)
    if options.grouping.links:
        _connect_units(connection, options.grouping, duplicates)
    else:
        create_view(connection, "members", "SELECT unit, unit AS group_id FROM units")
    _create_group_classes(connection, options)
    create_table(
        connection, "single_class_groups", "SELECT * FROM group_classes WHERE classes = 1", order="class, hash, name"
    )
    create_table(
        connection, "mixed_groups", "SELECT * FROM group_classes WHERE classes > 1", order="hash, group_id, class"
    )


def _create_group_classes(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> None:
    own_hash = f"{options.seeded_hash('name')} AS hash"
    if options.grouping.links:
        create_table(
            connection,
            "group_classes",
            f"""SELECT *, {own_hash}, count(*) OVER (PARTITION BY group_id) AS classes
            FROM (
                SELECT group_id, class, sum(size)::BIGINT AS size FROM units JOIN members USING (unit) GROUP BY ALL)
            JOIN group_names USING (group_id)
            JOIN (
                SELECT group_id, coalesce(max(previous_split), {NO_SPLIT})::UTINYINT AS previous_split
                FROM members LEFT JOIN previous USING (unit) GROUP BY group_id) USING (group_id)""",
        )
    else:
        create_view(
            connection,
            "group_classes",
            f"""SELECT unit AS group_id, class, size, name, {own_hash},
                coalesce(previous_split, {NO_SPLIT})::UTINYINT AS previous_split, 1 AS classes
            FROM units LEFT JOIN previous USING (unit)""",
        )


def _connect_units(connection: duckdb.DuckDBPyConnection, grouping: Grouping, duplicates: Path) -> None:
    """Create `members` and `group_names`.

    A group is named after the first trait that connects its units, so that it keeps its name when units are added. The
    name does not depend on near duplicates.
    """
    connection.execute(
        "CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY name) - 1 AS number, unit, name FROM units"
    )
    _create_links(connection, grouping, duplicates)
    _create_roots(connection)
    create_table(
        connection,
        "members",
        "SELECT unit, coalesce(root, number) AS group_id FROM numbered LEFT JOIN roots USING (number)",
    )
    near = tables.quote_text(f"|{NEAR_DUPLICATES}|")
    create_table(
        connection,
        "group_names",
        f"""SELECT group_id, coalesce(by_trait.name, by_unit.name) AS name
        FROM (
            SELECT coalesce(root, number) AS group_id, min(name) AS name
            FROM numbered LEFT JOIN roots USING (number) GROUP BY 1) AS by_unit
        LEFT JOIN (
            SELECT coalesce(root, number) AS group_id, substr(min(kind || value), 3) AS name
            FROM links LEFT JOIN roots USING (number) WHERE NOT contains(kind, {near}) GROUP BY 1) AS by_trait
        USING (group_id)""",
    )
    connection.execute("DROP TABLE links; DROP TABLE numbered; DROP TABLE roots")


def _create_links(connection: duckdb.DuckDBPyConnection, grouping: Grouping, duplicates: Path) -> None:
    """Create the table `links` (number, kind, value): units with the same kind and value are in one group."""
    connection.execute("CREATE TABLE links (number BIGINT, kind VARCHAR, value VARCHAR)")
    for place, entry in enumerate(grouping.links):
        source = "clean JOIN images USING (row_index) JOIN numbered USING (unit)"
        if entry == NEAR_DUPLICATES:
            source += f" JOIN {tables.parquet_source([duplicates])} AS copies ON copies.image_path = clean.image_path"
            value = "copies.kind || '|' || copies.\"group\""
        else:
            value = trait_value(entry, grouping.place_km)
        kind = tables.quote_text(f"{place}|{entry}|")
        query = f"SELECT DISTINCT number, {kind} AS kind, {value} AS value FROM {source} WHERE images.class IS NOT NULL"
        connection.execute(f"INSERT INTO links SELECT * FROM ({query}) WHERE value IS NOT NULL")


def _create_roots(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table `roots` (number, root): units that are not the first of their group, and the first one."""
    [(count,)] = tables.fetch_rows(connection, "SELECT count(*) FROM numbered")
    groups = DisjointSets(count)
    first = "SELECT number, min(number) OVER (PARTITION BY kind, value) AS first FROM links"
    with connection.cursor() as cursor:
        for batch in tables.select_batches(cursor, f"SELECT * FROM ({first}) WHERE number <> first"):
            groups.join(*(arrow.to_numpy(column) for column in batch.columns))
    connection.execute("CREATE TABLE roots (number BIGINT, root BIGINT)")
    for numbers, roots in groups.select_joined(arrow.ROW_GROUP):
        batch = pa.record_batch([arrow.to_array(numbers), arrow.to_array(roots)], names=["number", "root"])
        connection.register("batch", batch)
        connection.execute("INSERT INTO roots SELECT * FROM batch")
        connection.unregister("batch")
