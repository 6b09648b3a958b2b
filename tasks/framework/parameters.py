"""Parameters whose help names their default, and whose bad value is answered with one sentence."""

import re
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import _no_value

from gbif_webdataset.errors import ParameterError


class Checked(luigi.Parameter[Any]):
    """Adds the default to the description, and names the parameter where a value can't be parsed."""

    expected = "a text"
    _owner: type | None = None

    def __init__(self, default: Any = _no_value, **options: Any) -> None:
        if default is not _no_value:
            shown = "none" if default in ("", None) else default
            options["description"] = f"{options['description']} [default: {shown}]".replace("%", "%%")
        super().__init__(default=default, **options)

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember which task the parameter belongs to."""
        super().__set_name__(owner, name)  # type: ignore[no-untyped-call]
        self._owner = owner

    @property
    def option(self) -> str:
        """What users type: `--SplitDataset-test-frac`, or `--chunks` for what all tasks share."""
        task = "" if self._owner is None or self._owner.__subclasses__() else f"{self._owner.__name__}-"
        return f"--{task}{str(self._attribute_name).replace('_', '-')}"

    def has_task_value(self, task_name: str, param_name: str) -> bool:
        """Whether there is a value; ParameterError where there has to be one."""
        if not super().has_task_value(task_name, param_name):  # type: ignore[no-untyped-call]
            raise ParameterError(f"{task_name} needs {self.option}: {self.description}")
        return True

    def parse(self, x: str) -> Any:
        """The value of a text from the command line or luigi.cfg."""
        try:
            return super().parse(x)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise self._refused(x) from error

    def _refused(self, value: object) -> ParameterError:
        where = "mend it on the command line or in luigi.cfg"
        return ParameterError(f"{self.option} takes {self.expected}, not {str(value)!r}; {where}")


class Number(Checked):
    """A number from `minimum` to `maximum`."""

    def __init__(self, *arguments: Any, minimum: float = 0, maximum: float = float("inf"), **options: Any) -> None:
        self._minimum, self._maximum = minimum, maximum
        super().__init__(*arguments, **options)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """What a user may give."""
        kind = "a whole number" if isinstance(self, luigi.IntParameter) else "a number"
        return f"{kind} from {self._minimum:g}" + (f" to {self._maximum:g}" if self._maximum < float("inf") else "")

    def normalize(self, x: Any) -> Any:
        """The value, if it is in range."""
        if not self._minimum <= x <= self._maximum:
            raise self._refused(x)
        return x


class Count(Number, luigi.IntParameter):
    """A whole number."""


class Real(Number, luigi.FloatParameter):
    """A number with a fraction."""


class Flag(Checked, luigi.BoolParameter):
    """True or false; on the command line its name alone means true."""

    expected = "true or false"
    parsing = luigi.BoolParameter.EXPLICIT_PARSING


class Choice(Checked, luigi.ChoiceParameter):
    """One of a few words."""

    def __init__(self, *arguments: Any, choices: tuple[str, ...], **options: Any) -> None:
        self.expected = f"one of {', '.join(choices)}"
        super().__init__(*arguments, choices=choices, var_type=str, **options)
        self.description = str(self.description).partition(" Choices: ")[0]  # Luigi lists them again, in any order


class Text(Checked, luigi.Parameter[str]):
    """A text."""


class InputFile(Text):
    """The path of a file that is read; a target made from it is remade when its content changes."""

    expected = "the path of a file"

    def normalize(self, x: Any) -> Any:
        """The path, if there is a file: hours of fetching would go before the stage that reads it."""
        if x and not Path(x).exists():
            raise ParameterError(f"{self.option}: there is no file {x}; check the path")
        if x and not Path(x).is_file():
            raise self._refused(x)
        return x


class InputFolder(Text):
    """The path of a folder whose CSVs are read; a target made from it is remade when their content changes."""

    expected = "the path of a folder"

    def normalize(self, x: Any) -> Any:
        """The path, if there is such a folder."""
        if x and not Path(x).is_dir():
            raise ParameterError(f"{self.option}: there is no folder {x}; check the path")
        return x


class WebAddress(Text):
    """An address that begins with http:// or https://."""

    expected = "an address that begins with https:// or http://"

    def normalize(self, x: Any) -> Any:
        """The address, if it is one."""
        if x and not re.fullmatch(r"https?://[^\s/]\S*", x):
            raise self._refused(x)
        return x


def listed(value: str, separator: str = ",") -> tuple[str, ...]:
    """The entries of a list that is written with commas, or another separator."""
    return tuple(entry.strip() for entry in value.split(separator) if entry.strip())
