"""A damaged file of a dataset counts as absent, or gives one sentence: never a traceback, never other shards."""

import json
import shutil
from itertools import product

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.fetch.ledger import Outcome, outcome_values
from sample.server import PhotoServer
from tests.support.datasets import Dataset
from tests.support.file_damage import CONTENTS, replace_content

FILES = (
    *(".made/ReadArchive.json", ".made/FetchChunk-00001.json", ".made/VerifyChunk-00001.json"),
    *(".made/VerifyImages.json", ".made/DeleteImages.json", ".made/CleanDataset.json", ".made/SplitDataset.json"),
    *(".made/CreateWebDataset.json", ".made/ReportDataset.json"),
    *("manifest/chunk-00001.parquet", "manifest/rejected.parquet", "manifest/source.json"),
    *("fetched/chunk-00001.parquet", "fetched/chunk-00000.attempts", "fetched/chunk-00001.journal"),
    *("verified/chunk-00001.parquet", "verified.parquet", "errors.csv", "deleted.csv"),
    *("clean.parquet", "clean-dropped.parquet", "duplicates.parquet"),
    *("splits/train.csv", "splits/dropped.csv", "splits/balance.csv", "splits/leakage.csv"),
    *("shards/shards.csv", "shards/classes.csv", "shards/category_map.json", "shards/dropped.csv"),
    *("accounting.csv", "report/costs.csv", "report/attribution.parquet"),
)
CASES = [pair for number, pair in enumerate(product(FILES, CONTENTS)) if number % 3 == 0]
"""A third of all pairs: each file with two or three kinds of damage, each kind with a third of the files."""
EVERY_STAGE = [
    *("ReadArchive", "FetchChunk-00000", "FetchChunk-00001", "FetchChunk-00002", "FetchChunk-00003"),
    *("VerifyImages", "DeleteImages", "CleanDataset", "SplitDataset", "CreateWebDataset", "ReportDataset"),
    *("VerifyChunk-00000", "VerifyChunk-00001", "VerifyChunk-00002", "VerifyChunk-00003"),
]


@pytest.fixture(scope="module")
def dataset(made: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A copy of the dataset with a journal, which each test restores."""
    return made.copy(tmp_path_factory.mktemp("damaged") / "dataset")


def restore(dataset: Dataset, made: Dataset) -> None:
    shutil.rmtree(dataset.output)
    made.copy(dataset.output)
    ledger = pq.read_table(made.output / "fetched" / "chunk-00001.parquet").to_pylist()
    names = Outcome.__dataclass_fields__
    lines = [json.dumps(outcome_values(Outcome(**{name: row[name] for name in names}))) + "\n" for row in ledger]
    (dataset.output / "fetched" / "chunk-00001.journal").write_text("".join(lines))


def run_to_the_end(dataset: Dataset, made: Dataset, file: str) -> None:
    """Run the job, which ends with the same shards, or with one sentence that names the file and a remedy."""
    for _ in range(3):
        ended = dataset.run()
        assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
        if ended.returncode == 0:
            assert dataset.shards() == made.shards()
            return
        (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
        assert str(dataset.output / file) in sentence, sentence
        if "changed places" in sentence:
            (dataset.output / file).rmdir()
        elif "make audit ARGS=--AuditDataset-repair" in sentence:
            assert dataset.run("--AuditDataset-repair", task="AuditDataset").returncode == 0
        else:
            assert "run the same command again" in sentence, sentence
    pytest.fail(f"the job does not end: {ended.stderr}")


@pytest.mark.slow
@pytest.mark.parametrize(("file", "damage"), CASES)
def test_a_damaged_file_of_a_finished_dataset_does_no_harm_when_all_stages_run_again(
    dataset: Dataset, made: Dataset, photos: PhotoServer, file: str, damage: str
) -> None:
    restore(dataset, made)
    replace_content(dataset.output / file, damage)
    if file == "manifest/chunk-00001.parquet" or file.startswith(".made/"):
        run_to_the_end(dataset, made, file)
        return
    owner = owner_of(made, file)
    for label in EVERY_STAGE:  # the stages that read the file run again
        if label != owner:
            (dataset.output / ".made" / f"{label}.json").unlink(missing_ok=True)
    run_to_the_end(dataset, made, file)


def owner_of(made: Dataset, file: str) -> str:
    """The label of the record that names a file."""
    records = {path.stem: json.loads(path.read_text()) for path in (made.output / ".made").glob("*.json")}
    return next((label for label, record in records.items() if file in record["files"]), "")
