from pathlib import Path
from typing import Any

import luigi
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.store_address import StoreAddress
from tasks.framework.parameters import (
    Choice,
    Count,
    Doi,
    FilePath,
    Flag,
    InputFile,
    InputFolder,
    Real,
    SemanticVersion,
    StoreFolder,
    WebAddress,
    split_list,
)


class Example(luigi.Task):
    """A task with a parameter of each type."""

    task_namespace = "test"

    count: int = Count(default=3, minimum=1, maximum=9, description="a count")
    share: float = Real(default=0.5, maximum=1, description="50 % of all")
    flag: bool = Flag(default=False, description="a flag")
    word: str = Choice(default="one", choices=("one", "two"), description="a word")
    path: str = FilePath(default="", description="a path")
    file: str = InputFile(default="", description="a file")
    directory: str = InputFolder(default="", description="a folder")
    address: str = WebAddress(default="", description="an address")
    store: str = StoreFolder(default="", description="a folder in a bucket")
    doi: str = Doi(default="", description="a DOI")
    version: str = SemanticVersion(default="1.0.0", description="a version")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("count", "0", "--Example-count 0: not a valid value; give a whole number from 1 to 9"),
        ("count", "1.5", "--Example-count 1.5: not a valid value; give a whole number from 1 to 9"),
        ("share", "1.5", "--Example-share 1.5: not a valid value; give a number from 0 to 1"),
        ("share", "half", "--Example-share half: not a valid value; give a number from 0 to 1"),
        ("doi", "dl.9f3k2q", "--Example-doi dl.9f3k2q: not a valid value; give a DOI, such as 10.15468/dl.9f3k2q"),
        ("version", "1.0", "--Example-version 1.0: not a valid value; give a version of three numbers, such as 1.0.0"),
        (
            "version",
            "v1.0.0",
            "--Example-version v1.0.0: not a valid value; give a version of three numbers, such as 1.0.0",
        ),
        (
            "version",
            "01.0.0",
            "--Example-version 01.0.0: not a valid value; give a version of three numbers, such as 1.0.0",
        ),
        ("flag", "maybe", "--Example-flag maybe: not a valid value; give true or false"),
        ("word", "three", "--Example-word three: not a valid value; give one of one, two"),
        ("file", "/nowhere/a b", '--Example-file "/nowhere/a b": there is no such file; check the path'),
        ("file", "/", "--Example-file /: not a valid value; give the path of a file"),
        ("directory", "/nowhere", "--Example-directory /nowhere: there is no such folder; check the path"),
        (
            "address",
            "me@example.org",
            "--Example-address me@example.org: not a valid value; give an address that begins with https:// or http://, "
            "without user name and password",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_option_and_the_accepted_values(name: str, text: str, sentence: str) -> None:
    parameter: Any = vars(Example)[name]
    with pytest.raises(ParameterError) as raised:
        parameter.normalize(parameter.parse(text))
    assert str(raised.value) == sentence


@pytest.mark.parametrize("password", ["s3cret", "s3#cret", "s3/cret", "s3?cret", "s3@cret"])
def test_an_address_with_a_password_is_refused_without_showing_it(password: str) -> None:
    with pytest.raises(ParameterError) as raised:
        Example(address=f"https://me:{password}@example.org")
    assert "cret" not in str(raised.value)
    for address in ("https://example.org/@moths", "http://127.0.0.1:80", "http://[::1]:80/?a@b", "https://a.b#c"):
        assert Example(address=address).address == address


def test_the_help_states_the_default() -> None:
    parameters: dict[str, Any] = dict(Example.get_params())  # type: ignore[no-untyped-call]
    assert parameters["count"].description == "a count [default: 3]"
    assert parameters["share"].description == "50 %% of all [default: 0.5]"  # argparse replaces %% by %
    assert parameters["path"].description == "a path [default: empty]"


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "it's a list").touch()
    task = Example(path="~/new", file="~/it's a list", directory="~")
    assert (task.path, task.file, task.directory) == (f"{tmp_path}/new", f"{tmp_path}/it's a list", str(tmp_path))
    assert Example(path="~nobody-has-this-name/x").path == "~nobody-has-this-name/x"


def test_a_list_is_split_at_its_separator_and_has_no_empty_entry() -> None:
    assert split_list("a, b,,c ") == ("a", "b", "c")
    assert split_list("A. Author; B. Author", ";") == ("A. Author", "B. Author")
    assert split_list("") == ()


@pytest.mark.parametrize("prefix", ["", "https://doi.org/", "http://dx.doi.org/", "doi:", "DOI: "])
def test_a_doi_is_stored_without_its_prefix(prefix: str) -> None:
    assert Example(doi=f" {prefix}10.15468/dl.9f3k2q ").doi == "10.15468/dl.9f3k2q"
    assert Example(doi="").doi == ""


@pytest.mark.parametrize("version", ["0.1.0", "1.10.3", "2.0.0-beta.1", "1.0.0+2026.11"])
def test_a_semantic_version_is_accepted(version: str) -> None:
    assert Example(version=f" {version} ").version == version


@pytest.mark.parametrize(
    "address", ["file:///mnt/100%2525", "file:///mnt/a%23b", "file:///mnt/a%20b", "s3://bucket/a%23b"]
)
def test_the_address_of_a_folder_is_unquoted_once(address: str) -> None:
    parameter: Any = vars(Example)["store"]
    value = parameter.normalize(parameter.normalize(address))
    assert StoreAddress.parse(value).prefix == StoreAddress.parse(address).prefix
