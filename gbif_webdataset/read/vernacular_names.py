"""Names of taxa in the languages of people, from the archive's extension of vernacular names."""

from collections.abc import Sequence
from contextlib import closing

import duckdb
import pyarrow as pa

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import RECORD_ID, ColumnSelection, cast_texts, coalesce_columns, trim_texts
from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read_ahead import read_ahead
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.tables import quote_text

NAME, LANGUAGE, PREFERRED = "vernacularName", "language", "isPreferredName"
LANGUAGES = {
    "eng": "en", "english": "en", "fra": "fr", "fre": "fr", "french": "fr", "deu": "de", "ger": "de", "german": "de",
    "spa": "es", "spanish": "es", "por": "pt", "portuguese": "pt", "ita": "it", "italian": "it", "nld": "nl",
    "dut": "nl", "dutch": "nl", "swe": "sv", "swedish": "sv", "dan": "da", "danish": "da", "nor": "no", "nob": "nb",
    "norwegian": "no", "fin": "fi", "finnish": "fi", "pol": "pl", "polish": "pl", "ces": "cs", "cze": "cs",
    "czech": "cs", "rus": "ru", "russian": "ru", "jpn": "ja", "japanese": "ja", "zho": "zh", "chi": "zh",
    "chinese": "zh", "kor": "ko", "korean": "ko", "ara": "ar", "arabic": "ar", "tur": "tr", "turkish": "tr",
}  # fmt: skip
"""Two-letter codes of ISO 639 by three-letter codes and English names; other codes stay as they are."""
CREATE = "CREATE TABLE vernacular_rows (id VARCHAR, name VARCHAR, language VARCHAR, preferred VARCHAR)"


class VernacularNames:
    """The name of each record in the first of `languages` that has one.

    Without such a name it is that of the records' own column, or else one in another language. Of several names, the
    preferred one is taken, then the first in the order of their text.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, archive: Archive, layout: FileLayout, languages: Sequence[str]
    ) -> None:
        self._connection = connection
        connection.execute(CREATE)
        selection = ColumnSelection.from_layout(layout, (NAME, LANGUAGE, PREFERRED))
        wrapped = [self._read_file(archive, layout, location, selection) for location in layout.locations]
        self._choose_names(languages, all(wrapped))

    def add_names(self, records: pa.Table) -> pa.Table:
        """The records with the name of each in NAME."""
        ids, own = trim_texts(records.column(RECORD_ID)), arrow.decode_dictionary(coalesce_columns(records, (NAME,)))
        self._connection.register("ids", pa.table({"id": ids, "own": own}))
        query = """SELECT CASE WHEN is_in_language THEN name ELSE coalesce(own, name) END AS name
            FROM (SELECT *, row_number() OVER () AS position FROM ids) LEFT JOIN vernacular USING (id)
            ORDER BY position"""
        names = cast_texts(self._connection.sql(query).to_arrow_table().column("name"), arrow.RECURRING)
        if NAME in records.column_names:
            return records.set_column(records.column_names.index(NAME), NAME, names)
        return records.append_column(NAME, names)

    def _read_file(self, archive: Archive, layout: FileLayout, location: str, selection: ColumnSelection) -> bool:
        """Load a file into `vernacular_rows`; whether its fields with quotes are wrapped in quotes."""
        reader = RowReader(location, layout, selection)
        values = [
            f'"{name}"' if name in selection.indexes else quote_text(selection.defaults.get(name, ""))
            for name in (NAME, LANGUAGE, PREFERRED)
        ]
        with (
            archive.open(location) as file,
            dwca.report_decoding(location, layout),
            closing(read_ahead(reader.read(file, ignore_progress), 1)) as batches,
        ):
            for batch in batches:
                self._connection.register("names", batch.rows)
                insert = f"""INSERT INTO vernacular_rows SELECT "{RECORD_ID}", {", ".join(values)} FROM names"""
                self._connection.execute(insert)
        return not reader.has_raw_quotes

    def _choose_names(self, languages: Sequence[str], is_wrapped: bool) -> None:
        """Create `vernacular` (id, name, is_in_language), a row for each id."""
        name = "unwrap_id(name)" if is_wrapped else "trim(name)"
        codes = " ".join(f"WHEN {quote_text(long)} THEN '{short}'" for long, short in LANGUAGES.items())
        listed = ", ".join(quote_text(find_language(language)) for language in languages)
        rank = f"coalesce(list_position([{listed}]::VARCHAR[], language), {len(languages) + 1})"
        self._connection.execute(
            f"""CREATE TABLE vernacular AS SELECT id, name, {rank} <= {len(languages)} AS is_in_language FROM (
                SELECT unwrap_id(id) AS id, {name} AS name, preferred,
                    CASE split_part(split_part(lower(trim(language)), '-', 1), '_', 1) {codes}
                    ELSE split_part(split_part(lower(trim(language)), '-', 1), '_', 1) END AS language
                FROM vernacular_rows)
            WHERE name <> '' QUALIFY row_number() OVER (PARTITION BY id ORDER BY {rank},
                lower(coalesce(preferred, '')) NOT IN ('true', '1', 'yes'), name) = 1"""
        )
        self._connection.execute("DROP TABLE vernacular_rows")


def find_language(text: str) -> str:
    """The code of a language, in lower case, without its region: `en` for English, eng and en-GB."""
    language = text.strip().lower().replace("_", "-").partition("-")[0]
    return LANGUAGES.get(language, language)
