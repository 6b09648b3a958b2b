"""docs/outputs.md is generated from the descriptions of files, columns and codes."""

import re
from pathlib import Path

from gbif_webdataset.terms.output_files import OUTPUTS
from gbif_webdataset.terms.outputs import render_outputs
from tests.support.datasets import Dataset

DOCUMENT = Path(__file__).parents[3] / "docs" / "outputs.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render_outputs(), "run `make docs`"


def test_every_file_of_a_dataset_is_described(made: Dataset) -> None:
    paths = [output.path for output in OUTPUTS]
    paths += [one.path.replace("report/", "shards/") for one in OUTPUTS if "also in `shards/`" in one.meaning]
    described = [pattern for path in paths for pattern in patterns_of(path)]
    files = [path.relative_to(made.output).as_posix() for path in made.output.rglob("*") if path.is_file()]
    assert [name for name in files if not any(re.fullmatch(pattern, name) for pattern in described)] == []


def patterns_of(path: str) -> list[str]:
    """Regular expressions of the paths that a line of the document stands for."""
    if path.endswith("/"):
        return [re.escape(path) + ".*"]
    names = path.split(", ")
    folder = names[0].rpartition("/")[0]
    paths = [names[0], *(f"{folder}/{name}" for name in names[1:])]
    return [
        re.sub(r"<[^>]*>", "[^/]+", one.replace(".", r"\.").replace("[_<n>]", "(_[0-9]+)?"))
        .replace("NNNNNN", "[0-9]{6}")
        .replace("NNNNN", "[0-9]{5}")
        .replace("*", "[^/]*")
        for one in paths
    ]
