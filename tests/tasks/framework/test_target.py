"""Targets with the records of earlier versions."""

import json
from pathlib import Path

import pytest

from tasks import CleanDataset

# As version 0.4 wrote it, for the sample.
RECORD = """{
 "facts": {
  "funnel": [
   {"after": 394, "before": 399, "reason": "truncated", "stage": "verify"},
   {"after": 388, "before": 394, "reason": "thumbnail", "stage": "clean"}
  ]
 },
 "files": {
  "clean-dropped.parquet": {
   "bytes": 1534,
   "sha256": "846e1aae3f92d309914517edca77839aad8d4038781ec0f4042163d784538cf3"
  },
  "clean.parquet": {
   "bytes": 70683,
   "sha256": "51a06bb35ccf0e256f915ce13e2bf0b13cae0616d7c4032160e173da2de8c4b1"
  }
 },
 "made_from": {
  "format": 2,
  "inputs": {
   "DeleteImages": "9e7a17dde244317c4a6166b322b353c08c9ff695a194eed444ffa18c09a5fc4f",
   "VerifyImages": "04398829d829b2795c2270f758bcc4849fbe6a8683c75cef24298784ae132c8d"
  },
  "parameters": {
   "category_key": "acceptedTaxonKey",
   "ignore_dataset_by_key": "",
   "life_stage_predictions": "",
   "near_distance": 6,
   "remove_duplicate_content": "all-but-one",
   "remove_duplicate_url": "all-but-one",
   "remove_flat": false,
   "remove_near_duplicates": "none",
   "remove_non_adults": false,
   "remove_thumbnails": true,
   "thumb_size": 64
  }
 },
 "peak_bytes": 252903424,
 "seconds": 0.088,
 "task": "CleanDataset"
}
"""


@pytest.fixture
def task(tmp_path: Path) -> CleanDataset:
    """A task whose target was made by 0.4, with files of the right size."""
    task = CleanDataset(dwca=str(tmp_path / "archive.zip"), output=str(tmp_path))
    task.paths.record("CleanDataset").parent.mkdir()
    task.paths.record("CleanDataset").write_text(RECORD)
    for name, file in json.loads(RECORD)["files"].items():
        with (tmp_path / name).open("wb") as empty:
            empty.truncate(file["bytes"])
    return task


def test_a_target_of_version_0_4_is_up_to_date(task: CleanDataset) -> None:
    assert task.output().find_reason(with_inputs=False) is None
    assert task.output().record.seconds == 0.088


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"near_distance": 6,', "", None),
        ('"near_distance": 6,', '"near_distance": 6, "remove_blurred": true,', None),
        ('"thumb_size": 64', '"thumb_size": 32', "thumb_size changed from 32 to 64"),
        ('"format": 2', '"format": 1', "made by an older version"),
        ('"format": 2', '"format": 99', "made by a newer version"),
    ],
)
def test_a_record_counts_a_parameter_that_it_lacks_as_the_default_and_ignores_a_removed_one(
    task: CleanDataset, before: str, after: str, reason: str | None
) -> None:
    task.paths.record("CleanDataset").write_text(RECORD.replace(before, after))
    assert task.output().find_reason(with_inputs=False) == reason
