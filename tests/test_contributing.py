"""The worked example of CONTRIBUTING.md: a new filter, added to a copy of the code as the document says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
import csv
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from gbif_webdataset.clean.clean_dataset import CleanFiles, Filters, clean_dataset
from gbif_webdataset.terms.reasons import MEANINGS

names = ("coreid", "identifier", "image_path", "year", "error")
rows = [dict.fromkeys(names, None) | {"coreid": y or "none", "identifier": f"http://a/{y}", "image_path": f"d/{y}.jpg",
        "year": y, "valid": True, "width": 640, "height": 480} for y in ("1999", "2020", None)]
pq.write_table(pa.Table.from_pylist(rows), "verified.parquet")
Path("deleted.csv").write_text("image_path,identifier,sha256,reason,deleted_at\\n")
files = CleanFiles(*(Path(n) for n in ("verified.parquet", "deleted.csv", "clean.parquet", "dropped.parquet", "d.parquet")))
clean_dataset(files, Filters(min_year=2000), Path("scratch"))
print([row["reason"] for row in pq.read_table("dropped.parquet").to_pylist()])
print([row["coreid"] for row in pq.read_table("clean.parquet").to_pylist()])
print(MEANINGS["too-old"])
"""


def snippets() -> list[str]:
    """The code blocks of the section, without their indentation in the list."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a filter")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^ {7,}\S.*\n)+", section, re.MULTILINE)
    return ["".join(line[7:] + "\n" for line in block.splitlines()) for block in blocks]


def insert(path: Path, code: str, before: str, indent: int, after: str = "") -> None:
    """Insert `code` before the first line that starts with `before`, below a line that contains `after`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if after in line)
    place = next(number for number in range(start, len(lines)) if lines[number].startswith(before))
    lines[place:place] = [" " * indent + line for line in code.splitlines(keepends=True)]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of both packages with the changes of the example."""
    for package in ("gbif_webdataset", "tasks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    reason, rule, parameter = snippets()
    insert(tmp_path / "gbif_webdataset/terms/reasons.py", reason, '    NO_LABEL = "no-label"', 4)
    clean = tmp_path / "gbif_webdataset/clean/clean_dataset.py"
    insert(clean, "min_year: int = 0\n", "    duplicates: DuplicateOptions = field", 4)
    insert(clean, rule, "    return rules", 4)
    task = tmp_path / "tasks/clean.py"
    insert(task, parameter, "    def requires(self)", 4)
    insert(task, "min_year=self.min_year,\n", "        )", 12, after="return Filters(")
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder), "PATH": ""}, capture_output=True, text=True, check=True
    ).stdout


def test_the_example_of_a_filter_drops_old_images_and_keeps_those_without_a_year(copy: Path) -> None:
    reasons, kept, meaning = run(copy, "-c", USE).splitlines()
    assert reasons == "['too-old']"
    assert sorted(kept) == sorted("['2020', 'none']")
    assert meaning == "it was taken before min_year"
    assert "--min-year" in run(copy, "-m", "luigi", "--module", "tasks", "CleanDataset", "--help")
