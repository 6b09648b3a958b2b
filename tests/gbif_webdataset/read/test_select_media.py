import random
from collections import Counter
from pathlib import Path

from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from tests.support.archives import PHOTO, make_medium, make_occurrence, write_download
from tests.support.manifests import make_manifest

LICENCES = ("CC0_1_0", "http://creativecommons.org/licenses/by/4.0/", "© all rights reserved", "")


def test_images_of_an_occurrence_are_in_one_chunk_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    occurrences = [make_occurrence(n) for n in range(60)]
    media = [make_medium(n, f"{PHOTO}{n}-{i}.jpg") for n in range(60) for i in range(1 + n % 4)]
    manifest = make_manifest(write_download(tmp_path / "a.zip", occurrences, media), tmp_path, chunks=7)
    assert all(table.num_rows for table in manifest.chunks)
    ids = [{row["coreid"] for row in table.to_pylist()} for table in manifest.chunks]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 60
    random.Random(1).shuffle(occurrences)
    random.Random(2).shuffle(media)
    other = make_manifest(write_download(tmp_path / "b.zip", occurrences, media), tmp_path, chunks=7)
    assert manifest.files == other.files


def test_a_subset_of_many_keys_licences_a_condition_and_a_limit_apply_together(tmp_path: Path) -> None:
    occurrences = [
        make_occurrence(n, acceptedTaxonKey=f"T{n % 40}", lifeStage=("Adult", "")[n // 4 % 2]) for n in range(4000)
    ]
    media = [
        make_medium(n, f"{PHOTO}{n}/{i}", license=LICENCES[(n + i) % 4]) for n in range(4040) for i in range(n % 4)
    ]
    archive = write_download(tmp_path / "a.zip", occurrences, media)
    expected: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for n in range(4040):
        for i in range(n % 4):
            if n >= 4000:
                expected["orphaned"] += 1
            elif n % 40 >= 30:
                expected["not-in-subset"] += 1
            elif n // 4 % 2:
                expected["not-where"] += 1
            elif (n + i) % 4 > 1:
                expected["unusable-licence"] += 1
            else:
                taken[f"T{n % 40}"] += 1
    expected["over-cap"] = sum(max(0, count - 20) for count in taken.values())
    keys = (*(f"T{n}" for n in range(30)), *(f"X{n}" for n in range(100_000)))
    options = SelectionOptions(
        "acceptedTaxonKey", SubsetList.of(keys), 20, 7, (), ("cc0", "cc-by"), "lifeStage = 'Adult'"
    )
    manifest = make_manifest(archive, tmp_path, options)
    assert manifest.reasons == expected
    by_key = Counter(row["acceptedTaxonKey"] for row in manifest.rows)
    assert by_key == {key: min(20, count) for key, count in taken.items()}
    assert {row["lifeStage"] for row in manifest.rows} == {"Adult"}
    assert {(row["mediaLicense"], row["licenseCode"]) for row in manifest.rows} == {
        (LICENCES[0], "cc0"), (LICENCES[1], "cc-by"),
    }  # fmt: skip
