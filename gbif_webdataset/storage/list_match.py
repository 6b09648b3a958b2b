"""How many entries of a user's list occur in the data."""

from gbif_webdataset.errors import SelectionError


def describe_match(option: str, entries: str, found: int, listed: int, remedy: str) -> str:
    """A sentence with the counts, which starts with WARNING if fewer than half of the entries occur.

    `option` is the parameter with its value, `entries` names what the list has, such as `keys`.

    Raises:
        SelectionError: the list has entries, but none occurs.
    """
    if listed and not found:
        raise SelectionError(f"{option}: none of its {listed:,} {entries} occurs in the archive; {remedy}")
    verb = "occurs" if found == 1 else "occur"
    sentence = f"{option}: {found:,} of {listed:,} {entries} {verb} in the archive"
    return f"WARNING: {sentence}; {remedy}" if 2 * found < listed else sentence
