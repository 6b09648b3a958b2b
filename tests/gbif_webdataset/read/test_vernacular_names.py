from pathlib import Path

import pytest

from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.vernacular_names import find_language
from tests.support.archives import (
    GBIF,
    MEDIA,
    OCCURRENCE,
    make_lines,
    make_medium,
    make_meta_xml,
    make_occurrence,
    make_part,
    read_zip,
    write_zip,
)
from tests.support.manifests import make_manifest

DWC = "http://rs.tdwg.org/dwc/terms/"
NAMES = ("taxonID", "vernacularName", "language", "isPreferredName")


def write_archive(path: Path, names: list[tuple[str, str, str, str]], own: str = "own name") -> Path:
    """Three occurrences with photos, of which the first two have a vernacularName of their own."""
    columns = (*OCCURRENCE, "vernacularName")
    rows = [make_occurrence(number, vernacularName=own if number < 3 else "") for number in (1, 2, 3)]
    files = {
        "meta.xml": make_meta_xml(
            make_part("core", f"{DWC}Occurrence", "occurrence.txt", columns),
            make_part("extension", f"{GBIF}Multimedia", "multimedia.txt", MEDIA),
            make_part("extension", f"{GBIF}VernacularName", "names.txt", NAMES),
        ),
        "occurrence.txt": make_lines(columns, rows),
        "multimedia.txt": make_lines(MEDIA, [make_medium(number) for number in (1, 2, 3)]),
        "names.txt": make_lines(NAMES, [dict(zip(NAMES, name, strict=True)) for name in names]),
    }
    return write_zip(path, files)


def read_names(folder: Path, names: list[tuple[str, str, str, str]], *languages: str) -> dict[str, str]:
    archive = write_archive(folder / "a.zip", names)
    options = SelectionOptions("acceptedTaxonKey", vernacular_languages=languages)
    return make_manifest(archive, folder, options).values("vernacularName")


def test_the_first_language_that_has_a_name_counts_then_the_own_column_then_any_other(tmp_path: Path) -> None:
    names = [
        ("1", "Gamma", "deu", ""), ("1", "silver Y", "en-GB", ""), ("1", "gammafly", "Swedish", ""),
        ("2", "gammafly", "sv", ""), ("3", "gammafly", "sv", ""),
    ]  # fmt: skip
    assert read_names(tmp_path, names, "en", "de") == {"1": "silver Y", "2": "own name", "3": "gammafly"}
    assert read_names(tmp_path, names, "de", "en") == {"1": "Gamma", "2": "own name", "3": "gammafly"}
    assert read_names(tmp_path, names, "sv") == {"1": "gammafly", "2": "gammafly", "3": "gammafly"}
    assert read_names(tmp_path, names) == {"1": "own name", "2": "own name", "3": "gammafly"}


def test_the_preferred_name_counts_and_quotes_are_removed(tmp_path: Path) -> None:
    names = [
        ("1", "a moth", "en", ""),
        ("1", '"silver ""Y"""', "en", "true"),
        (" 3 ", "b", "en", ""),
        ("3", "a", "en", ""),
    ]
    assert read_names(tmp_path, names, "en") == {"1": 'silver "Y"', "2": "own name", "3": "a"}


def test_without_names_the_own_column_is_kept(tmp_path: Path) -> None:
    assert read_names(tmp_path, [], "en") == {"1": "own name", "2": "own name", "3": None}


def test_an_extension_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", [])
    members = read_zip(archive) | {"names.txt": b"taxonID\n1\n2\n"}
    manifest = make_manifest(write_zip(archive, members), tmp_path)
    assert manifest.values("vernacularName") == {"1": "own name", "2": "own name", "3": None}
    [note] = [note for note in manifest.counts.notes if "vernacular" in note]
    assert note.startswith("the vernacular names are not used: names.txt: has 1 columns, but in meta.xml")


@pytest.mark.parametrize(("text", "code"), [("English", "en"), ("en_GB", "en"), ("FRA", "fr"), (" x ", "x")])
def test_languages_are_codes_of_two_letters(text: str, code: str) -> None:
    assert find_language(text) == code
