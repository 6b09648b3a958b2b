"""num_images_per_category: a random choice of images, which does not depend on the order of the rows."""

from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.read.columns import coalesce_columns
from gbif_webdataset.read.media_decisions import MediaDecisions, Numbers
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage import arrow

CREATE = "CREATE TABLE last_draws (category VARCHAR, draw UBIGINT, coreid VARCHAR, url VARCHAR, archive INT)"


class CategoryCap:
    """Limits the images of each category. Each image has a seeded hash, and the images with the lowest are taken.

    So a higher limit takes the same images and more.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, options: SelectionOptions) -> None:
        self._connection, self._options = connection, options
        connection.execute(CREATE)

    def find_limits(self, partitions: Iterable[tuple[pa.Table, MediaDecisions]]) -> None:
        """Find the last image to take of each category, from the records and decisions of all partitions."""
        self._connection.execute("CREATE TABLE draws AS FROM last_draws LIMIT 0")
        for records, decisions in partitions:
            self._draw(records, decisions)
            self._connection.execute("INSERT INTO draws SELECT category, draw, coreid, url, archive FROM drawn")
        self._connection.execute(
            "INSERT INTO last_draws SELECT * FROM draws QUALIFY row_number() OVER "
            f"(PARTITION BY category ORDER BY draw, coreid, url, archive) = {self._options.num_images_per_category}"
        )
        self._connection.execute("DROP TABLE draws")

    def is_over(self, records: pa.Table, decisions: MediaDecisions) -> Numbers:
        """For each medium of a partition whether it is an image after the last one to take of its category."""
        self._draw(records, decisions)
        query = """SELECT medium FROM drawn d JOIN last_draws l ON l.category IS NOT DISTINCT FROM d.category
            WHERE (d.draw, d.coreid, d.url, d.archive) > (l.draw, l.coreid, l.url, l.archive)"""
        is_over = np.zeros(len(decisions.reason), bool)
        is_over[self._connection.execute(query).fetchnumpy()["medium"]] = True
        return is_over

    def _draw(self, records: pa.Table, decisions: MediaDecisions) -> None:
        """Create the table `drawn` of a partition's images, each with its hash in the column `draw`."""
        rows, record = arrow.to_array(decisions.images), arrow.to_array(decisions.record[decisions.images])
        category = coalesce_columns(records, (self._options.subset_key,)).take(record)
        archive = arrow.to_array(decisions.archive[decisions.images])
        columns = [rows, category, decisions.coreid.take(rows), decisions.url.take(rows), archive]
        self._connection.register("images", pa.table(columns, ["medium", "category", "coreid", "url", "archive"]))
        draw = f"md5_number_lower('{self._options.random_seed}|' || coreid || '|' || url)"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE drawn AS SELECT *, {draw} AS draw FROM images")
