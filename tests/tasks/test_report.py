"""ReportDataset as a command."""

import re
import subprocess
import sys

from tests.support.datasets import ROOT, Dataset


def test_declaring_the_tasks_imports_neither_pandas_nor_jinja() -> None:
    code = "import sys, tasks; print(sorted({'pandas', 'jinja2'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_card_lists_the_parameters_that_the_user_chose(dataset: Dataset) -> None:
    dataset.make("--SplitDataset-random-seed", "7")
    card = (dataset.output / "shards" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (.*) \|$", card.partition("## How it was made")[2], re.MULTILINE)
    assert rows == [("task", "parameter", "value"), ("SplitDataset", "random_seed", "7")]


def test_a_report_that_is_up_to_date_repeats_its_summary(made: Dataset, dataset: Dataset) -> None:
    first = (made.output.parent / "stdout").read_text()
    again = dataset.make()
    assert again.startswith("Nothing new: everything is up to date.\n")
    assert first.splitlines()[-1] in again
    assert "samples of" in again
