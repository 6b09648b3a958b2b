from pathlib import Path

import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_counts import COUNTED_ELSEWHERE, HOMONYM, WITHOUT_MEDIA
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage.atomic import file_sha256
from tests.gbif_webdataset.read.test_subset_match import ALL, BIRD, COLUMNS, GAMMA, PLANT, read_subset, select
from tests.support.archives import MEDIA, PHOTO, make_gbif_meta_xml, make_lines, make_medium, write_download, write_zip
from tests.support.manifests import make_manifest


def test_the_records_and_images_of_each_key_are_counted(tmp_path: Path) -> None:
    occurrences = [{"gbifID": str(number), "acceptedTaxonKey": f"T{number % 3}"} for number in range(9)]
    media = [
        {"gbifID": str(number), "type": "StillImage", "identifier": f"{PHOTO}{number}.jpg"}
        for number in (0, 1, 3, 4, 8)
    ]
    media += [media[0] | {"identifier": f"{PHOTO}second.jpg"}, media[1] | {"type": "Sound"}]
    archive = write_download(tmp_path / "a.zip", [*occurrences, occurrences[0]], media)
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", SubsetList.of(("T0", "T1", "X9"))))
    assert (manifest.counts.subset_keys, manifest.counts.subset_found) == (3, 2)
    assert (manifest.folder / "subset.csv").read_text() == (
        "entry,requested,matched,key,name,kingdom,occurrences,images,note\n"
        "1,T0,acceptedTaxonKey,T0,,,2,3,\n2,T1,acceptedTaxonKey,T1,,,2,2,\n3,X9,,,,,0,0,\n"
    )


def test_homonyms_have_a_row_each_and_are_reported(tmp_path: Path) -> None:
    manifest = select(tmp_path, SubsetList.of(("Oenanthe",)))
    assert [(row["key"], row["images"], row["note"]) for row in read_subset(manifest)] == [
        ("5", "1", HOMONYM),
        ("6", "2", HOMONYM),
    ]
    assert (
        f"--ReadArchive-subset-list: Oenanthe: {HOMONYM}; the images of all of them are taken" in manifest.counts.notes
    )


def test_homonyms_without_keys_are_found_by_their_kingdoms(tmp_path: Path) -> None:
    rows = [row | {"genusKey": ""} for row in (BIRD, PLANT)]
    assert [row["note"] for row in read_subset(select(tmp_path, SubsetList.of(("Oenanthe",)), rows))] == [HOMONYM] * 2


def test_a_taxon_without_media_is_told_from_one_that_is_not_in_the_archive(tmp_path: Path) -> None:
    rows = [GAMMA] * 3000 + [GAMMA | {"species": f"Autographa s{number}"} for number in range(3000)]
    listed = SubsetList.of(tuple(sorted({*(row["species"] for row in rows), "Felis catus"})))
    occurrences = [row | {"gbifID": str(number)} for number, row in enumerate(rows)]
    media = make_lines(MEDIA, [make_medium(number, f"{PHOTO}{number}/{'x' * 2000}") for number in range(3000)])
    files = {"meta.xml": make_gbif_meta_xml(COLUMNS), "occurrence.txt": make_lines(COLUMNS, occurrences)}
    archive = write_zip(tmp_path / "a.zip", files | {"multimedia.txt": media})
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", listed))
    counts = manifest.counts
    assert (counts.subset_keys, counts.subset_found, counts.subset_without_media) == (3002, 3001, 3000)
    found = read_subset(manifest)
    assert {row["note"] for row in found if row["requested"].startswith("Autographa s")} == {WITHOUT_MEDIA}
    assert [(row["images"], row["note"]) for row in found if row["requested"] == "Felis catus"] == [("0", "")]
    assert sum(int(row["images"]) for row in found) == len(manifest.rows) == 3000


def test_records_without_media_are_compared_by_key_rank_and_kingdom_too(tmp_path: Path) -> None:
    """Their fields may be enclosed in quotes."""
    quoted = {name: f'"{value}"' for name, value in PLANT.items()} | {"gbifID": "2"}
    occurrences = [GAMMA | {"gbifID": "1", "scientificName": '"Autographa gamma"'}, quoted, quoted]
    files = {"meta.xml": make_gbif_meta_xml(COLUMNS), "occurrence.txt": make_lines(COLUMNS, occurrences)}
    archive = write_zip(tmp_path / "a.zip", files | {"multimedia.txt": make_lines(MEDIA, [make_medium(1)])})
    listed = SubsetList(
        ("1", "6", "", ""), ("", "", "Oenanthe", "Oenanthe"), ("", "", "genus", "genus"), ("", "", "plantae", "fungi")
    )
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", listed))
    assert [(row["requested"], row["occurrences"], row["note"]) for row in read_subset(manifest)] == [
        ("1", "1", ""),
        ("6", "0", WITHOUT_MEDIA),
        ("Oenanthe", "0", WITHOUT_MEDIA),
        ("Oenanthe", "0", ""),
    ]


def test_close_names_are_suggested_and_never_taken(tmp_path: Path) -> None:
    manifest = select(tmp_path, SubsetList.of(("Arctia caja", "Autografa gamma")))
    [found, missing] = read_subset(manifest)
    assert (found["key"], found["images"]) == ("3", "1")
    assert (missing["images"], missing["note"]) == ("0", "did you mean Autographa gamma?")
    [note] = [note for note in manifest.counts.notes if "Autografa" in note]
    assert note.endswith("no occurrence has this name; did you mean Autographa gamma?")


def test_an_image_counts_for_its_most_specific_entry(tmp_path: Path) -> None:
    rows = read_subset(select(tmp_path, SubsetList.of(("Autographa gamma", "Lepidoptera", "Noctuidae"))))
    assert [(row["requested"], row["images"], row["note"]) for row in rows] == [
        ("Autographa gamma", "2", ""),
        ("Lepidoptera", "1", ""),
        ("Noctuidae", "1", ""),
    ]
    listed = SubsetList.of(("Autographa gamma", "Autographa gamma (Linnaeus, 1758)"))
    assert [(row["images"], row["note"]) for row in read_subset(select(tmp_path, listed, [GAMMA]))] == [
        ("0", COUNTED_ELSEWHERE),
        ("1", ""),
    ]


def test_names_of_which_none_occurs_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"none of its 1 names is that of an image in .*check subset_list$"):
        select(tmp_path, SubsetList.of(("Felis catus",)))


def test_the_files_do_not_depend_on_the_order_of_the_rows(tmp_path: Path) -> None:
    digests = []
    for name, step in (("a", 1), ("b", -1)):
        (tmp_path / name).mkdir()
        rows = [ALL[number % len(ALL)] for number in range(200)]
        ids = list(range(200))[::step]
        manifest = select(tmp_path / name, SubsetList.of(("Lepidoptera", "Oenanthe")), rows, ids=ids)
        digests.append({path.name: file_sha256(path) for path in manifest.folder.glob("subset*")})
    assert digests[0] == digests[1]
