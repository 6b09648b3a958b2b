"""Two datasets to compare."""

from pathlib import Path

import pytest

from tests.support.output_folder import OutputFolder


@pytest.fixture
def old_and_new(tmp_path: Path) -> tuple[OutputFolder, OutputFolder]:
    """Four images are in both: one unchanged, one with another label, one in another split, one with both changes.

    Three images are dropped, three are added.
    """
    old, new = OutputFolder(tmp_path / "old"), OutputFolder(tmp_path / "new")
    for output, changed in ((old, ("a", "train", "a", "train")), (new, ("b", "test", "b", "val"))):
        output.add("train", "same")
        output.add("train", "label", changed[0])
        output.add(changed[1], "split")
        output.add(changed[3], "both", changed[2])
    for coreid in ("small", "gone", "failed"):
        old.add("test", coreid)
    new.drop("rejected", "small", "no-url")
    new.drop("clean", "small", "thumbnail")
    new.drop("failed", "failed", "not-found")
    for coreid in ("new", "once-small", "once-rare"):
        new.add("val", coreid)
    old.drop("clean", "once-small", "thumbnail")
    old.drop("split", "once-rare", "under-min-instances")
    return old, new
