from collections import Counter
from pathlib import Path

from gbif_webdataset.read.selection_options import SelectionOptions
from tests.support.archives import make_medium, make_occurrence, write_download
from tests.support.manifests import make_manifest


def test_a_higher_limit_takes_the_same_images_and_more_in_any_row_order(tmp_path: Path) -> None:
    occurrences = [make_occurrence(number, acceptedTaxonKey=str(number % 3)) for number in range(90)]
    media = [make_medium(number) for number in range(90)]
    archive = write_download(tmp_path / "a.zip", occurrences, media)

    def take(limit: int, seed: int = 1, path: Path = archive) -> set[str]:
        options = SelectionOptions("acceptedTaxonKey", num_images_per_category=limit, random_seed=seed)
        manifest = make_manifest(path, tmp_path, options)
        assert Counter(manifest.values("acceptedTaxonKey").values()) == {"0": limit, "1": limit, "2": limit}
        assert manifest.reasons == {"over-cap": 90 - 3 * limit}
        return {row["image_path"] for row in manifest.rows}

    five = take(5)
    assert five < take(12)
    assert five != take(5, seed=2)
    assert five == take(5, path=write_download(tmp_path / "b.zip", occurrences[::-1], media[::-1]))


def test_images_without_a_category_are_a_category_of_their_own(tmp_path: Path) -> None:
    occurrences = [make_occurrence(number, acceptedTaxonKey="" if number % 2 else "a") for number in range(20)]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(number) for number in range(20)])
    options = SelectionOptions("acceptedTaxonKey", num_images_per_category=3)
    manifest = make_manifest(archive, tmp_path, options)
    assert Counter(manifest.values("acceptedTaxonKey").values()) == {None: 3, "a": 3}
