"""Whether the keys in the user's list of taxa are those of the archive's taxonomy, and their translation."""

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList, is_like_name
from gbif_webdataset.read.subset_match import SubsetMatcher
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.terms.checklists import Checklist, Relation

REMEDY = (
    "make a crosswalk (make crosswalk OLD=... NEW=...) and set --ReadArchive-crosswalk, list names, or set "
    "--same-taxonomy if the keys mean the same taxa"
)
OTHER_CHECKLIST = "its key belongs to another checklist"


def relate_keys(options: SelectionOptions, matcher: SubsetMatcher, checklist: Checklist) -> dict[int, str]:
    """Let the matcher compare the keys that the archive's `checklist` has; remarks on entries, by number.

    With a crosswalk, old keys are replaced by the new ones that they have become. Keys of another checklist are not
    compared. If it is unknown whether the checklists are the same, a key counts only where the entry has no name.

    Raises:
        SelectionError: the keys belong to another checklist, and there are no names.
    """
    listed = options.subset or SubsetList.of(())
    if options.crosswalk is not None:
        return _translate_keys(listed, matcher, options.crosswalk)
    relation = Relation.SAME if options.same_taxonomy else listed.checklist.compare(checklist)
    if relation is Relation.DIFFERENT and not any(listed.names):
        raise SelectionError(
            f"--ReadArchive-subset-list: its keys belong to the checklist {listed.checklist}, but those of the archive "
            f"to {checklist}; {REMEDY}"
        )
    if relation is not Relation.SAME and listed.keys is not listed.names:
        is_compared = relation is Relation.UNKNOWN
        pairs = enumerate(listed.pairs)
        by_key = {key: entry for entry, (key, name) in pairs if key and not name}
        matcher.replace_keys(by_key if is_compared else {})
        return {} if is_compared else dict.fromkeys(by_key.values(), OTHER_CHECKLIST)
    return {}


def _translate_keys(listed: SubsetList, matcher: SubsetMatcher, crosswalk: CrosswalkTable) -> dict[int, str]:
    links = crosswalk.find_by_key(listed.keys)
    remarks: dict[int, str] = {}
    entries: dict[str, int] = {}
    for entry, key in enumerate(listed.keys):
        if not key:
            continue
        decided = [link for link in links.get(key, []) if link.is_decided]
        for link in decided:
            first = entries.setdefault(link.new, entry)
            if first != entry:
                remarks[entry] = f"the same taxon as {listed.describe(first)} in the newer taxonomy"
        if not decided and key in links:
            remarks[entry] = f"in the crosswalk: {links[key][0].kind.meaning}"
        elif not decided and not is_like_name(key):
            remarks[entry] = "the crosswalk does not list this key"
    matcher.replace_keys(entries)
    return remarks
