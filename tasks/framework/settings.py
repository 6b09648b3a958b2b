"""The settings files that Luigi reads: their mistakes, with file and line, and the defaults of this package.

Luigi reads the files while it is imported, and ignores sections and keys that it does not know.
"""

import configparser
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import ParameterError, did_you_mean

DEFAULTS = Path(__file__).with_name("defaults.cfg")
# Luigi's own list, LuigiConfigParser._config_paths: importing it would already read the files.
FILES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
VARIABLE = "LUIGI_CONFIG_PATH"
# Luigi's sections that no imported module declares.
LUIGI_SECTIONS = {
    "DEFAULT", "OpenPai", "batch_notifier", "cors", "datadog", "elasticsearch", "gcs", "hadoop", "hadoopcli", "hdfs",
    "hive", "kubernetes", "logging", "mssql", "mysql", "pig", "postgres", "presto", "prometheus", "redshift",
    "resources", "s3", "salesforce", "scalding", "spark", "sqlalchemy", "sge", "task_history", "upstream", "webhdfs",
}  # fmt: skip


class SettingsError(ParameterError, SystemExit):
    """A mistake in a settings file.

    A command ends with the sentence and exit status 1 even before hooks are installed, since Python prints the `code`
    of a SystemExit that nobody catches. Scripts can catch it like every other error.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = f"ERROR: {self}"


@dataclass(frozen=True)
class Setting:
    """A line that begins a section (`key` is empty) or sets a key of it."""

    file: Path
    line: int
    section: str
    key: str = ""

    @property
    def place(self) -> str:
        """The file and line."""
        return f"{self.file}, line {self.line}"


def check_syntax() -> None:
    """Raise SettingsError if Luigi could not read one of the files."""
    named = os.environ.get(VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError.at(f"{VARIABLE} {named}", "there is no such file", f"correct the path, or unset {VARIABLE}")
    for file in _find_files():
        data = file.read_bytes()
        if data.startswith(b"\xef\xbb\xbf"):
            raise SettingsError.at(
                f"{file}, line 1", "the file begins with a byte order mark (BOM)", "save it as UTF-8 without BOM"
            )
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise SettingsError.at(f"{file}, line {line}", "the text is not UTF-8", "save the file as UTF-8") from None
        _check_lines(file, text)


def read_settings() -> list[Setting]:
    """Return the lines of all files that begin a section or set a key. The last line that sets a key counts."""
    return [setting for file in _find_files() for setting in _scan(file, file.read_text(encoding="utf-8"))]


def find_setting(section: str, key: str) -> Setting | None:
    """Return the line that sets a key; None if no file does."""
    found = [one for one in read_settings() if (one.section, _underscored(one.key)) == (section, key)]
    return found[-1] if found else None


def check_names(keys: Mapping[str, Collection[str]]) -> None:
    """Raise SettingsError for a section or a key that does not exist; `keys` are those of each section, by its name."""
    sections = {*keys, *LUIGI_SECTIONS}
    for setting in read_settings():
        section, key = setting.section, _underscored(setting.key)
        if section not in sections:
            remedy = (
                did_you_mean(f"[{section}]", [f"[{name}]" for name in keys])
                or "a section has the name of a task, such as [FetchChunk]"
            )
            raise SettingsError.at(setting.place, f"there is no section [{section}]", remedy)
        if key and section in keys and key not in keys[section]:
            remedy = did_you_mean(key, keys[section]) or f"the settings are {', '.join(sorted(keys[section]))}"
            raise SettingsError.at(setting.place, f"[{section}] has no setting {setting.key}", remedy)


def read_defaults() -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of each default."""
    parser = configparser.ConfigParser()
    parser.read_string(DEFAULTS.read_text(encoding="utf-8"))
    for section in parser.sections():
        for key, value in parser.items(section):
            yield section, key, value


def _find_files() -> list[Path]:
    names = [*FILES, os.environ.get(VARIABLE, "")]
    return [Path(name) for name in names if name and Path(name).is_file()]


def _scan(file: Path, text: str) -> Iterator[Setting]:
    """Find sections and keys as configparser does: an indented line continues the value above it."""
    section, key, indent = "", "", 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if not stripped or stripped[0] in "#;" or (key and depth > indent):
            continue
        indent = depth
        if header := re.match(r"\[(.+)\]", stripped):
            section, key = header[1], ""
        else:
            key = re.split("[=:]", stripped, maxsplit=1)[0].strip()
        yield Setting(file, number, section, key)


def _check_lines(file: Path, text: str) -> None:
    lines = text.split("\n")
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as Luigi's own parser
    try:
        parser.read_string(text)
    except configparser.DuplicateOptionError as error:
        first = next(one.line for one in _scan(file, text) if (one.section, one.key) == (error.section, error.option))
        problem, remedy = f"[{error.section}] {error.option} is set twice", f"delete this line or line {first}"
        raise SettingsError.at(f"{file}, line {error.lineno}", problem, remedy) from None
    except configparser.DuplicateSectionError as error:
        first = next(one.line for one in _scan(file, text) if one.section == error.section)
        problem, remedy = f"there are two sections [{error.section}]", f"move these settings to the one in line {first}"
        raise SettingsError.at(f"{file}, line {error.lineno}", problem, remedy) from None
    except configparser.MissingSectionHeaderError as error:
        problem = f"{lines[error.lineno - 1].strip()!r} is in no section"
        remedy = "write the name of its task in a line above it, such as [FetchChunk]"
        raise SettingsError.at(f"{file}, line {error.lineno}", problem, remedy) from None
    except configparser.ParsingError as error:
        number = error.errors[0][0]
        problem = f"{lines[number - 1].strip()!r} is neither a section nor a setting"
        raise SettingsError.at(
            f"{file}, line {number}", problem, "write [section], name = value or # comment"
        ) from None


def _underscored(key: str) -> str:
    return key.replace("-", "_")
