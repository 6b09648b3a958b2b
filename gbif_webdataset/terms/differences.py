"""What an audit finds about a file."""

from gbif_webdataset.terms.codes import Code


class Difference(Code):
    """The column `kind` of audit.csv."""

    MISSING = "missing", "a record or a ledger names the file, but it does not exist"
    TRUNCATED = "truncated", "the file is shorter than when it was written"
    CHANGED = "changed", "the file has other bytes than when it was written"
    UNREADABLE = "unreadable", "the file cannot be read"
    NOT_RECORDED = "not-recorded", "no record and no ledger names the file"
    TEMPORARY = "temporary", "a temporary file that a killed run left; it does no harm"
    NO_CHECKSUM = "without-checksum", "a record that a version before 0.5 wrote; it does no harm"


HARMLESS = frozenset({Difference.TEMPORARY, Difference.NO_CHECKSUM})
"""Kinds that an audit lists, although the dataset is as it was written."""
