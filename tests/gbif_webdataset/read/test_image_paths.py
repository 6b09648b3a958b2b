import re
import unicodedata
from pathlib import Path

from tests.support.archives import make_medium, make_occurrence, write_download
from tests.support.manifests import make_manifest

SAFE_PATH = r"[A-Za-z0-9~-]+/[A-Za-z0-9~_-]+\.jpg"


def test_a_path_is_the_dataset_the_occurrence_and_a_number_from_the_second_image_on(tmp_path: Path) -> None:
    media = [make_medium(1, f"https://h.example/{name}") for name in "bca"] + [make_medium(2)]
    occurrences = [make_occurrence(1), make_occurrence(2, datasetKey="")]
    manifest = make_manifest(write_download(tmp_path / "a.zip", occurrences, media), tmp_path)
    assert {row["identifier"]: row["image_path"] for row in manifest.rows} == {
        "https://h.example/a": "d1/1.jpg",
        "https://h.example/b": "d1/1_1.jpg",
        "https://h.example/c": "d1/1_2.jpg",
        "https://photos.example/2.jpg": "no-dataset/2.jpg",
    }


def test_names_that_are_not_safe_get_a_digest_so_that_no_two_paths_are_equal(tmp_path: Path) -> None:
    occurrences = [
        make_occurrence(1), make_occurrence(2, datasetKey="../../etc"), make_occurrence(3, datasetKey="/root"),
        make_occurrence(4, datasetKey=""),
        *(make_occurrence(5, gbifID=name) for name in ("a/b", "1_1", "ABC", "abc", "..", "x" * 300)),
    ]  # fmt: skip
    ids = [row["gbifID"] for row in occurrences]
    media = [make_medium(1, f"https://h.example/{number}", gbifID=name) for number, name in enumerate(ids)]
    media.append(make_medium(1, "https://h.example/0/second"))
    manifest = make_manifest(write_download(tmp_path / "a.zip", occurrences, media), tmp_path)
    paths = [row["image_path"] for row in manifest.rows]
    assert {"d1/1.jpg", "d1/1_1.jpg", "d1/abc.jpg", "no-dataset/4.jpg"} <= set(paths)
    assert len({path.lower() for path in paths}) == len(paths) == len(media)
    assert all(re.fullmatch(SAFE_PATH, path) and len(path) < 230 for path in paths)


def test_no_key_and_no_id_chooses_a_path_outside_the_images_or_of_another_image(tmp_path: Path) -> None:
    keys = ["../../x", "/etc", "", ".", "..", "con", "d1", "D1", "dé", "a\\b", "~root", "d1/", "%2e%2e", "x" * 500]
    ids = [
        "a/b", "A/B", "ab", "aB", "../1", "/1", "1", "1_1", "\u0131", "i", "I", "\u0130", "é", "e\u0301", "-rf",
        "\u202e1",
    ]  # fmt: skip
    occurrences = [{"gbifID": f"{key}{n}", "datasetKey": keys[n % len(keys)]} for n, key in enumerate(ids * 4)]
    occurrences += [{"gbifID": key, "datasetKey": keys[n % len(keys)]} for n, key in enumerate(ids)]
    media = [make_medium(0, gbifID=row["gbifID"]) for row in occurrences]
    media += [{**row, "identifier": "https://photos.example/other.jpg"} for row in media]
    manifest = make_manifest(write_download(tmp_path / "a.zip", occurrences, media), tmp_path)
    paths = [row["image_path"] for row in manifest.rows]
    assert len({path.lower() for path in paths}) == len(paths) == len(media)
    root = tmp_path / "images"
    assert all((root / path).resolve().is_relative_to(root) for path in paths)
    assert all(re.fullmatch(SAFE_PATH, path) and len(path) < 230 for path in paths)


DEVICES = ["con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(10))]


def test_every_name_is_safe_on_windows_macos_and_smb_and_those_of_gbif_stay_the_same(tmp_path: Path) -> None:
    uuid = "3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2"
    names = [
        *DEVICES, *(name.upper() for name in DEVICES), "Con", "con.txt", "nul.jpg", "com\u00b9", "conin$", "clock$",
        "a.", "a ", "a..", " a", "a:b", "a?", "a*", "a|b", 'a"', "a<b>", "a\\b", "a\x7fb", "a\u0085b", "\ue000", ".",
        "\u00e9", "e\u0301", "\u212b", "\u00c5", "A\u030a", "\u00df", "ss", "SS", "\ufb01", "fi", "desktop.ini", "\u2028",
        "\U0001f98b" * 80, "z" * 100, "z" * 101, "z" * 255, "\ud55c" * 200, "1234567890", uuid,
    ]  # fmt: skip
    occurrences = [make_occurrence(1, gbifID=name, datasetKey=name) for name in names if name == name.strip()]
    occurrences = [row for row in occurrences if "\u2028" not in row["gbifID"] and "\u0085" not in row["gbifID"]]
    media = [
        make_medium(0, f"https://h.example/{n}/{m}", gbifID=row["gbifID"])
        for n, row in enumerate(occurrences)
        for m in "ab"
    ]
    manifest = make_manifest(write_download(tmp_path / "a.zip", occurrences, media), tmp_path)
    paths = [row["image_path"] for row in manifest.rows]
    assert len(paths) == len(media)
    assert len({unicodedata.normalize("NFC", path).casefold() for path in paths}) == len(paths)
    for path in paths:
        folder, name = path.split("/")
        assert re.fullmatch(SAFE_PATH, path)
        assert max(len(folder.encode()), len(name.encode())) < 230
        assert folder.lower() not in DEVICES
        assert re.sub(r"(_\d+)?\.jpg$", "", name).lower() not in DEVICES
    assert {f"{uuid}/{uuid}.jpg", f"{uuid}/{uuid}_1.jpg", "1234567890/1234567890.jpg", "fi/fi.jpg"} <= set(paths)
