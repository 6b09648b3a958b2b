"""Types of parameters. Their help states the default; an error names the option, or the line in luigi.cfg."""

import os.path
import re
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility, _no_value

from gbif_webdataset.errors import ParameterError, option_text
from gbif_webdataset.remote.input_copies import RemoteInput
from gbif_webdataset.remote.store_address import HUB, StoreAddress, check_packages, is_store_address
from tasks.framework import settings


class CheckedParameter(luigi.Parameter[Any]):
    """A parameter whose value is checked. `expected` describes the values that it accepts.

    Luigi's page and history show it only if it is `on_page`: a row with forty parameters cannot be read.
    """

    expected = "a text"
    _owner: type | None = None

    def __init__(self, default: Any = _no_value, on_page: bool = False, **options: Any) -> None:
        if default is not _no_value:
            shown = str(default).lower() if isinstance(default, bool) else "empty" if default in ("", None) else default
            options["description"] = f"{options['description']} [default: {shown}]".replace("%", "%%")
        visibility = ParameterVisibility.PUBLIC if on_page else ParameterVisibility.PRIVATE
        super().__init__(default=default, visibility=visibility, **options)

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the task that declares the parameter."""
        super().__set_name__(owner, name)  # type: ignore[no-untyped-call]
        self._owner = owner

    @property
    def option(self) -> str:
        """The option as users type it: `--SplitDataset-test-frac`, or `--chunks` for one that all tasks share."""
        task = "" if self._owner is None or self._owner.__subclasses__() else f"{self._owner.__name__}-"
        name = "output" if self._attribute_name == "folder" else str(self._attribute_name)
        return f"--{task}{name.replace('_', '-')}"

    def has_task_value(self, task_name: str, param_name: str) -> bool:
        """Return true. Raises ParameterError if the parameter has neither a value nor a default."""
        if not super().has_task_value(task_name, param_name):  # type: ignore[no-untyped-call]
            remedy = f"add {self.option} VALUE ({str(self.description).removesuffix('.')})"
            raise ParameterError.at(self.option, f"{task_name} needs this parameter", remedy)
        return True

    def parse(self, x: str) -> Any:
        """Return the value of a text from the command line or luigi.cfg."""
        try:
            return super().parse(x)  # type: ignore[no-untyped-call]
        except ValueError:
            raise self._error(x) from None

    def _error(self, value: object) -> ParameterError:
        return ParameterError.at(option_text(self.option, value), "not a valid value", f"give {self.expected}")

    def _get_value_from_config(self, section: str, name: str) -> Any:
        """Return the value from luigi.cfg, checked here so that an error names the line."""
        try:
            value = super()._get_value_from_config(section, name)  # type: ignore[no-untyped-call]
            return value if value == _no_value else self.normalize(value)  # type: ignore[no-untyped-call]
        except ParameterError as error:
            setting = settings.find_setting(section, name)
            raise (ParameterError(f"{setting.place}: {error}") if setting else error) from None


class Number(CheckedParameter):
    """A number from `minimum` to `maximum`."""

    def __init__(self, *arguments: Any, minimum: float = 0, maximum: float = float("inf"), **options: Any) -> None:
        self._minimum, self._maximum = minimum, maximum
        super().__init__(*arguments, **options)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind of number and its range."""
        kind = "a whole number" if isinstance(self, luigi.IntParameter) else "a number"
        return f"{kind} from {self._minimum:g}" + (f" to {self._maximum:g}" if self._maximum < float("inf") else "")

    def normalize(self, x: Any) -> Any:
        """Return the value. Raises ParameterError if it is out of range."""
        if not self._minimum <= x <= self._maximum:
            raise self._error(x)
        return x


class Count(Number, luigi.IntParameter):
    """A whole number."""


class Real(Number, luigi.FloatParameter):
    """A number with a fraction."""


class Flag(CheckedParameter, luigi.BoolParameter):
    """True or false. On the command line the option without a value means true."""

    expected = "true or false"
    parsing = luigi.BoolParameter.EXPLICIT_PARSING


class Choice(CheckedParameter, luigi.ChoiceParameter):
    """One of a few words."""

    def __init__(self, *arguments: Any, choices: tuple[str, ...], **options: Any) -> None:
        self.expected = f"one of {', '.join(choices)}"
        super().__init__(*arguments, choices=choices, var_type=str, **options)
        self.description = str(self.description).partition(" Choices: ")[0]  # Luigi adds them in random order


class Text(CheckedParameter, luigi.Parameter[str]):
    """A text."""


class Template(Text):
    """A text that names columns in braces."""


class FilePath(Text):
    """The path of a file or a folder. A leading ~ is the home folder."""

    expected = "a path"

    def normalize(self, x: Any) -> Any:
        """Return the path with the home folder in place of ~, which a shell leaves if it is quoted or follows a =."""
        return os.path.expanduser(x)  # noqa: PTH111  # Path.expanduser raises for an unknown user


class InputFile(FilePath):
    """The path of a file that is read. A target made from it is rebuilt when the content changes.

    With `beside` it may be an address such as s3://bucket/file. `beside` are the names of files that are read as well
    if they exist beside the file.
    """

    expected = "the path of a file"

    def __init__(self, *arguments: Any, beside: tuple[str, ...] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._beside = beside

    def find_remote(self, value: str) -> RemoteInput | None:
        """Return the input at an address; None if the value is a path. Raises ParameterError for a wrong address."""
        if self._beside is None or not is_store_address(value):
            return None
        return RemoteInput(StoreAddress.parse(value, option_name=self.option), beside=self._beside)

    def normalize(self, x: Any) -> Any:
        """Return the path. Raises ParameterError if there is no such file, before earlier stages run for hours."""
        path = super().normalize(x)
        if self.find_remote(path):
            return path
        if path and not Path(path).exists():
            raise ParameterError.at(option_text(self.option, x), "there is no such file", "check the path")
        if path and not Path(path).is_file():
            raise self._error(x)
        return path


class InputPath(FilePath):
    """The path of a file or a folder that is read."""

    def normalize(self, x: Any) -> Any:
        """Return the path. Raises ParameterError if there is no such file or folder."""
        path = super().normalize(x)
        if not Path(path).exists():
            raise ParameterError.at(option_text(self.option, x), "there is no such file or folder", "check the path")
        return path


class InputFolder(FilePath):
    """The path of a folder whose CSV files are read. A target made from it is rebuilt when their content changes.

    With `files`, the names of the files that are read, it may be an address such as s3://bucket/folder.
    """

    expected = "the path of a folder"

    def __init__(self, *arguments: Any, files: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._files = files

    def find_remote(self, value: str) -> RemoteInput | None:
        """Return the input at an address; None if the value is a path. Raises ParameterError for a wrong address."""
        if not self._files or not is_store_address(value):
            return None
        return RemoteInput(StoreAddress.parse(value, option_name=self.option), self._files)

    def normalize(self, x: Any) -> Any:
        """Return the path. Raises ParameterError if there is no such folder."""
        path = super().normalize(x)
        if self.find_remote(path):
            return path
        if path and not Path(path).is_dir():
            raise ParameterError.at(option_text(self.option, x), "there is no such folder", "check the path")
        return path


class StoreFolder(Text):
    """The address of a folder in a bucket, or of a folder on this machine, to which files are written."""

    expected = "an address such as s3://bucket/moths"

    def normalize(self, x: Any) -> Any:
        """Return the address. Raises ParameterError if it is not one, or if a package that it needs is missing."""
        if not x:
            return x
        address = StoreAddress.parse(x, option_name=self.option)
        if address.scheme == HUB:
            problem = "files are written one by one, which a repository of the Hub does not take"
            remedy = "write to a bucket or a folder, and use `make publish` for the Hub"
            raise ParameterError.at(address.option, problem, remedy)
        check_packages(address.scheme, self.option)
        return address.address


class WebAddress(Text):
    """An address that begins with http:// or https:// and has neither user name nor password: everyone can see it."""

    expected = "an address that begins with https:// or http://, without user name and password"

    def normalize(self, x: Any) -> Any:
        """Return the address. Raises ParameterError if it is not one; the error does not show a password."""
        if x and not re.fullmatch(r"https?://(?:\[[^\s@\]]+\]|[^\s/?#@:\[]+)(?::\d+)?(?:[/?#]\S*)?", x):
            raise self._error(re.sub("//.*@", "//...@", x))
        return x


class Doi(Text):
    """A DOI, without https://doi.org/."""

    expected = "a DOI, such as 10.15468/dl.9f3k2q"

    def normalize(self, x: Any) -> Any:
        """Return the DOI without a prefix. Raises ParameterError if it is not one."""
        doi = re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)", "", x.strip(), flags=re.IGNORECASE)
        if doi and not re.fullmatch(r"10\.\d{4,9}(\.\d+)*/[^\s\"<>]+", doi):
            raise self._error(x)
        return doi


class SemanticVersion(Text):
    """A version as in https://semver.org: three numbers, and possibly a label such as -beta.1."""

    expected = "a version of three numbers, such as 1.0.0"

    def normalize(self, x: Any) -> Any:
        """Return the version. Raises ParameterError if it is not one."""
        number, label = r"(?:0|[1-9]\d*)", r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
        if not re.fullmatch(rf"{number}\.{number}\.{number}(?:-{label})?(?:\+{label})?", x.strip(), re.ASCII):
            raise self._error(x)
        return x.strip()


def split_list(value: str, separator: str = ",") -> tuple[str, ...]:
    """Return the entries of a list that is written with commas, or another separator, between them."""
    return tuple(entry.strip() for entry in value.split(separator) if entry.strip())
