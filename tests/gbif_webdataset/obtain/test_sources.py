import zipfile
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.obtain.sources import (
    ArchiveUrl,
    DownloadDoi,
    DownloadKey,
    LocalArchive,
    RequestFile,
    name_folder,
    parse_sources,
)

KEY = "0001234-260507073636908"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_zip(path: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.xml", "<archive/>")
    return Path(path)


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (KEY, DownloadKey(KEY)),
        (f" {KEY} ", DownloadKey(KEY)),
        ("10.15468/dl.abc123", DownloadDoi("10.15468/dl.abc123")),
        ("10.15468/DL.ABC123", DownloadDoi("10.15468/dl.abc123")),
        ("doi:10.15468/dl.abc123", DownloadDoi("10.15468/dl.abc123")),
        ("https://doi.org/10.15468/dl.abc123", DownloadDoi("10.15468/dl.abc123")),
        ("http://dx.doi.org/10.15468/dl.abc123", DownloadDoi("10.15468/dl.abc123")),
        (f"https://www.gbif.org/occurrence/download/{KEY}", DownloadKey(KEY)),
        (f"https://www.gbif.org/fr/occurrence/download/{KEY}#x", DownloadKey(KEY)),
        (f"https://api.gbif.org/v1/occurrence/download/request/{KEY}.zip", DownloadKey(KEY)),
        ("https://example.org/a/moths.zip?x=1", ArchiveUrl("https://example.org/a/moths.zip?x=1")),
        ("s3://bucket/a/moths.zip", ArchiveUrl("s3://bucket/a/moths.zip")),
        ("hf://datasets/me/moths/a.zip", ArchiveUrl("hf://datasets/me/moths/a.zip")),
    ],
)
def test_a_value_is_read_as_key_doi_or_address(value: str, source: object) -> None:
    assert parse_sources(value) == (source,)


@pytest.mark.parametrize("name", [KEY, "a,b.zip", "my 'old' \"archive\".zip", f"{KEY},{KEY}", " spaces .zip", "a,,b"])
def test_an_existing_path_wins_over_every_other_reading(name: str) -> None:
    write_zip(name)
    assert parse_sources(name) == (LocalArchive(Path(name)),)


def test_an_existing_path_wins_within_a_list() -> None:
    write_zip("a,b.zip")
    write_zip("c.zip")
    expected = (DownloadKey(KEY), LocalArchive(Path("a,b.zip")), LocalArchive(Path("c.zip")))
    assert parse_sources(f"{KEY}, a,b.zip,c.zip") == expected


def test_a_folder_with_the_form_of_a_doi_wins() -> None:
    Path("10.15468/dl.abc123").mkdir(parents=True)
    assert parse_sources("10.15468/dl.abc123") == (LocalArchive(Path("10.15468/dl.abc123")),)


def test_the_home_folder_is_expanded_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_zip("a.zip")
    assert parse_sources(f"{KEY},~/a.zip") == (DownloadKey(KEY), LocalArchive(tmp_path / "a.zip"))


def test_an_address_of_a_folder_of_this_machine_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b.zip").touch()
    assert parse_sources(f"file://{tmp_path}/a%20b.zip") == (LocalArchive(tmp_path / "a b.zip"),)


def test_a_list_that_is_too_long_for_a_file_name_is_a_list() -> None:
    keys = [f"{number:07}-260507073636908" for number in range(100)]
    assert parse_sources(",".join(keys)) == tuple(map(DownloadKey, keys))


def test_a_source_that_is_named_twice_counts_once() -> None:
    assert parse_sources(f"{KEY},10.15468/dl.abc123,{KEY},") == (DownloadKey(KEY), DownloadDoi("10.15468/dl.abc123"))


def test_a_json_file_is_a_request() -> None:
    Path("request.json").write_text('{"format": "DWCA"}', encoding="utf-8")
    assert parse_sources("request.json") == (RequestFile(Path("request.json")),)


def test_a_large_json_file_is_a_request_and_a_large_text_file_a_list() -> None:
    Path("request.json").write_text("\ufeff\n {" + " " * 20_000_000, encoding="utf-8")
    Path("all.txt").write_text("# a comment\n" * 10_000 + KEY, encoding="utf-8")
    assert parse_sources("request.json,all.txt") == (RequestFile(Path("request.json")), DownloadKey(KEY))


def test_a_text_file_lists_sources_with_paths_relative_to_it() -> None:
    Path("lists").mkdir()
    write_zip("lists/a, b.zip")
    Path("lists/request.json").write_text("{}", encoding="utf-8")
    lines = [
        "\ufeff# downloads of 2026",
        "",
        "\t# indented.zip",
        f"  {KEY}",
        "a, b.zip",
        "request.json",
        "https://example.org/c.zip",
    ]
    Path("lists/all.txt").write_text("\r\n".join(lines), encoding="utf-8")
    assert parse_sources("lists/all.txt") == (
        DownloadKey(KEY),
        LocalArchive(Path("lists/a, b.zip")),
        RequestFile(Path("lists/request.json")),
        ArchiveUrl("https://example.org/c.zip"),
    )


def test_a_mistake_in_a_list_is_reported_with_file_and_line() -> None:
    Path("all.txt").write_text(f"{KEY}\nmissing.zip\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"^all\.txt, line 2, missing\.zip: there is no such file or folder; give"):
        parse_sources("all.txt")


def test_a_list_of_mistakes_is_reported_with_its_first_line() -> None:
    Path("all.txt").write_text("# two\nmissing.zip\nmissing too.zip\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"^all\.txt, line 2, missing\.zip: there is no such file or folder; give"):
        parse_sources("all.txt")


def test_a_list_of_comments_names_no_archive() -> None:
    Path("all.txt").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"^all\.txt: the file lists no archive; give"):
        parse_sources("all.txt")


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"{\0", b"a.zip\n\xff", b"a.zip\n" * 3_000_000])
def test_any_other_file_is_taken_for_an_archive(content: bytes) -> None:
    Path("archive.dat").write_bytes(content)
    assert parse_sources("archive.dat") == (LocalArchive(Path("archive.dat")),)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "arcive.zip",
            r"--dwca arcive\.zip: there is no such file or folder; give the path of an archive, the key .*DOI",
        ),
        (f"{KEY},arcive.zip", r"--dwca arcive\.zip: there is no such file or folder; give"),
        (f"{KEY}.zip", rf"no such file or folder \(the key of the download is {KEY}, without \.zip\)"),
        ("10.15468/39omei", r"not the DOI of a GBIF download, which looks like .* not that of a dataset"),
        ("https://doi.org/10.5281/zenodo.123", r"not the DOI of a GBIF download"),
        ("http://example.org/a.zip", r"not an https:// address"),
        ("ftp://example.org/a.zip", r"not an https:// address"),
        ("https://user:secret@example.org/a.zip", r"not an https:// address without a password"),
        ("https:///a.zip", r"not an https:// address"),
        ("s3://bucket", r"--dwca s3://bucket: there is no such file"),
        ("s3://bucket/a.zip?token=x", r"which would be recorded; leave it out"),
        ("file:///missing.zip", r"there is no such file or folder"),
        ("  ", r"no archive is named"),
        ("\0", r"there is no such file"),
    ],
)
def test_everything_else_gives_one_sentence(value: str, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence) as error:
        parse_sources(value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (KEY, KEY),
        ("https://doi.org/10.15468/dl.abc123", "10.15468-dl.abc123"),
        ("https://example.org/a/moths%20of%2Fhere.zip?x=1", "moths_of_here"),
        ("https://example.org/", "example.org"),
        ("s3://bucket/a/moths.zip", "moths"),
        ("https://example.org/...", "archive"),
        (f"https://example.org/{'a' * 300}.zip", "a" * 100),
        ("missing/moths.tar.gz", "moths"),
        ("", "dataset"),
    ],
)
def test_the_folder_is_named_after_the_source(value: str, name: str) -> None:
    assert name_folder(value) == name


def test_the_folder_of_a_local_archive_has_its_name_without_the_ending() -> None:
    write_zip("moths, 2026.zip")
    assert name_folder("moths, 2026.zip") == "moths, 2026"


@pytest.mark.parametrize("value", ["request.json", f"{KEY},10.15468/dl.abc123"])
def test_requests_and_lists_need_an_output(value: str) -> None:
    Path("request.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"no default folder for the dataset; add --output FOLDER"):
        name_folder(value)
