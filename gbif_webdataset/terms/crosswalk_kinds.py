"""What becomes of a taxon in a newer taxonomy, and what shows it: the columns `kind` and `evidence` of crosswalks."""

from gbif_webdataset.terms.codes import Code


class ChangeKind(Code):
    """What becomes of a taxon."""

    SAME = "same", "the key and the name are the same"
    RENAMED = "renamed", "the taxon has another key or another name"
    LUMPED = "lumped", "several older taxa are one"
    SPLIT = "split", "the older taxon is several"
    GONE = "gone", "the newer dataset has no such taxon"
    NEW = "new", "the older dataset has no such taxon"
    AMBIGUOUS = "ambiguous", "no evidence decides which newer taxon it is"


class Evidence(Code):
    """What shows that a newer taxon is an older one or a part of it."""

    OCCURRENCES = "occurrences", "the same occurrences have both keys"
    TABLE = "table", "the official table lists both keys together"
    NAME = "name", "name, rank and kingdom are equal"
