"""Which taxa of the newer taxonomy are those of the older one, by the evidence that decides it."""

from dataclasses import dataclass

import duckdb

from gbif_webdataset.crosswalk.read_taxa import ACCEPTED_KEYS, ACCEPTED_NAMES
from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind, Evidence
from gbif_webdataset.terms.ranks import KEY_COLUMNS, RANKS

ROUNDING = 1e-9  # of shares such as 1 - 0.9
POSITIONS = tuple(Evidence)
# Each pair of keys once for each kind of evidence; `position` is the order in which evidence counts.
CREATE_EVIDENCE = """CREATE TABLE evidence (position INT, old_key VARCHAR, new_key VARCHAR, is_decisive BOOLEAN)"""


@dataclass(frozen=True)
class EvidenceLimits:
    """When occurrences are evidence.

    A new key is a part of an old one if it has at least 1 - `min_share` of the old key's shared occurrences, and at
    least `min_occurrences`. The parts together must have at least `min_share`.

    Raises:
        ParameterError: a limit is out of range.
    """

    min_share: float = 0.9
    min_occurrences: int = 3

    def __post_init__(self) -> None:
        if not 0.5 < self.min_share <= 1:
            raise ParameterError(
                f"--MakeCrosswalk-min-share {self.min_share:g}: out of range; give a number above 0.5, at most 1"
            )
        if self.min_occurrences < 1:
            raise ParameterError(
                f"--MakeCrosswalk-min-occurrences {self.min_occurrences}: out of range; give a whole number from 1"
            )


def link_taxa(connection: duckdb.DuckDBPyConnection, limits: EvidenceLimits, official: str = "") -> None:
    """Create `links`: the columns of a crosswalk that are keys and codes, a row for each pair of keys.

    The tables are those of `load_taxa` and `create_keys`. `official` is SQL that gives the pairs (old_key, new_key) of
    the official table.
    """
    _count_shared(connection)
    connection.execute(CREATE_EVIDENCE)
    _add_occurrences(connection, limits)
    if official:
        listed = (
            f"SELECT old_key, new_key FROM ({official}) JOIN old_keys USING (old_key) JOIN new_keys USING (new_key)"
        )
        _add_candidates(connection, Evidence.TABLE, listed, "count(*) OVER (PARTITION BY old_key) = 1")
    _add_candidates(
        connection,
        Evidence.NAME,
        "SELECT old_key, new_key FROM old_keys o JOIN new_keys n ON o.rank = n.rank AND o.name = n.name "
        "AND o.name <> '' AND (o.kingdom = n.kingdom OR o.kingdom = '' OR n.kingdom = '')",
        "count(*) OVER (PARTITION BY old_key) = 1 AND count(*) OVER (PARTITION BY new_key) = 1",
    )
    # shared occurrences that are too few to decide, for keys without any other evidence
    connection.execute(
        f"INSERT INTO evidence SELECT {POSITIONS.index(Evidence.OCCURRENCES)}, old_key, new_key, false "
        "FROM shared ANTI JOIN evidence USING (old_key)"
    )
    _decide(connection)


def create_keys(connection: duckdb.DuckDBPyConnection, side: str) -> None:
    """Create `<side>_taxon_keys`, the keys of each `taxon`, and `<side>_keys`: rank, key, name and kingdom of each.

    A taxon has a key at each rank. Its accepted key is one of these, or that of another rank, such as subspecies. The
    name of a key is its most frequent one.
    """
    at_ranks = [
        f"SELECT taxon, '{rank}' AS rank, {tables.quote_name(key)} AS key, {tables.quote_name(rank)} AS name, "
        f"kingdom, false AS is_accepted FROM {side}_taxa"
        for rank, key in zip(RANKS, KEY_COLUMNS, strict=True)
    ]
    listed = "[" + ", ".join(map(tables.quote_name, KEY_COLUMNS)) + "]"
    accepted = f"coalesce({', '.join(ACCEPTED_KEYS)})"
    rank = "lower(coalesce(taxonRank, ''))"
    own_names = " ".join(f"WHEN '{rank}' THEN {tables.quote_name(rank)}" for rank in RANKS)
    name = f"coalesce(CASE {rank} {own_names} END, {', '.join(ACCEPTED_NAMES)})"
    query = " UNION ALL ".join(
        [
            *at_ranks,
            f"SELECT taxon, {rank}, {accepted}, {name}, kingdom, true FROM {side}_taxa "
            f"WHERE NOT coalesce(list_contains({listed}, {accepted}), false)",
        ]
    )
    connection.execute(f"CREATE TABLE {side}_taxon_keys AS SELECT taxon, rank, key AS {side}_key, "
                       "coalesce(name, '') AS name, coalesce(kingdom, '') AS kingdom, is_accepted "
                       f"FROM ({query}) WHERE key IS NOT NULL")  # fmt: skip
    connection.execute(
        f"CREATE TABLE {side}_keys AS SELECT rank, {side}_key, name, kingdom FROM (SELECT rank, {side}_key, name, "
        f"kingdom, sum(number) AS number FROM {side}_taxon_keys JOIN (SELECT taxon, count(*) AS number FROM "
        f"{side}_occurrences GROUP BY taxon) USING (taxon) GROUP BY ALL) QUALIFY row_number() OVER "
        f"(PARTITION BY {side}_key ORDER BY number DESC, rank, name, kingdom) = 1"
    )


def _count_shared(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `shared`, the shared occurrences of each pair of keys, and `totals`, those of each old key.

    A key of a rank is compared with keys of the same rank; the key of another rank with the accepted key.
    """
    connection.execute(
        "CREATE TABLE pairs AS SELECT o.taxon AS old_taxon, n.taxon AS new_taxon, count(*) AS occurrences "
        "FROM old_occurrences o JOIN new_occurrences n USING (coreid) GROUP BY ALL"
    )
    accepted = f"coalesce({', '.join((*ACCEPTED_KEYS, *KEY_COLUMNS))})"
    at_rank = """SELECT o.old_key, n.new_key, occurrences FROM pairs
        JOIN old_taxon_keys o ON o.taxon = old_taxon AND NOT o.is_accepted
        JOIN (FROM new_taxon_keys QUALIFY row_number() OVER (PARTITION BY taxon, rank ORDER BY is_accepted) = 1) n
            ON n.taxon = new_taxon AND n.rank = o.rank"""
    at_any_rank = f"""SELECT o.old_key, n.new_key, occurrences FROM pairs
        JOIN old_taxon_keys o ON o.taxon = old_taxon AND o.is_accepted
        JOIN (SELECT taxon, {accepted} AS new_key FROM new_taxa) n ON n.taxon = new_taxon"""
    connection.execute(
        f"CREATE TABLE shared AS SELECT old_key, new_key, sum(occurrences)::BIGINT AS occurrences "
        f"FROM ({at_rank} UNION ALL {at_any_rank}) WHERE new_key IS NOT NULL GROUP BY ALL"
    )
    connection.execute(
        "CREATE TABLE totals AS SELECT old_key, sum(occurrences)::BIGINT AS occurrences FROM pairs "
        "JOIN old_taxon_keys ON taxon = old_taxon GROUP BY ALL"
    )


def _add_occurrences(connection: duckdb.DuckDBPyConnection, limits: EvidenceLimits) -> None:
    """Add the parts of old keys to `evidence`. They are decisive if they together have `min_share`."""
    connection.execute(
        f"""INSERT INTO evidence SELECT {POSITIONS.index(Evidence.OCCURRENCES)}, old_key, new_key,
            sum(shared.occurrences) OVER (PARTITION BY old_key) >= totals.occurrences * {limits.min_share} - {ROUNDING}
        FROM shared JOIN totals USING (old_key)
        WHERE shared.occurrences >= {limits.min_occurrences}
            AND shared.occurrences >= totals.occurrences * (1 - {limits.min_share}) - {ROUNDING}"""
    )


def _add_candidates(connection: duckdb.DuckDBPyConnection, evidence: Evidence, pairs: str, is_decisive: str) -> None:
    """Add the pairs of keys of a query to `evidence`. `is_decisive` is SQL on all pairs."""
    connection.execute(
        f"INSERT INTO evidence SELECT {POSITIONS.index(evidence)}, old_key, new_key, {is_decisive} "
        f"FROM (SELECT DISTINCT * FROM ({pairs}))"
    )


def _decide(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `links`. The first decisive evidence of an old key counts; without one, its first evidence."""
    codes = ", ".join(map(tables.quote_text, POSITIONS))
    connection.execute(
        "CREATE TABLE chosen AS SELECT old_key, new_key, is_decisive, position FROM evidence "
        "QUALIFY rank() OVER (PARTITION BY old_key ORDER BY is_decisive DESC, position) = 1"
    )
    connection.execute(
        f"""CREATE TABLE links AS SELECT coalesce(o.rank, n.rank) AS rank, o.old_key, o.name AS old_name, n.new_key,
            n.name AS new_name, CASE
                WHEN o.old_key IS NULL THEN '{ChangeKind.NEW}'
                WHEN chosen.new_key IS NULL THEN '{ChangeKind.GONE}'
                WHEN NOT is_decisive THEN '{ChangeKind.AMBIGUOUS}'
                WHEN count(*) OVER (PARTITION BY o.old_key) > 1 THEN '{ChangeKind.SPLIT}'
                WHEN count(*) FILTER (is_decisive) OVER (PARTITION BY n.new_key) > 1 THEN '{ChangeKind.LUMPED}'
                WHEN o.old_key = n.new_key AND o.name = n.name THEN '{ChangeKind.SAME}'
                ELSE '{ChangeKind.RENAMED}' END AS kind,
            [{codes}][position + 1] AS evidence,
            CASE WHEN chosen.new_key IS NOT NULL THEN coalesce(shared.occurrences, 0) END AS shared_occurrences,
            round(shared_occurrences / nullif(totals.occurrences, 0), 4) AS share
        FROM old_keys o LEFT JOIN chosen USING (old_key) FULL JOIN new_keys n ON n.new_key = chosen.new_key
            LEFT JOIN shared ON shared.old_key = o.old_key AND shared.new_key = n.new_key
            LEFT JOIN totals ON totals.old_key = o.old_key"""
    )
