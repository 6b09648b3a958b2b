"""Luigi's command line: the package's defaults, checked settings and options, and errors of one sentence."""

import argparse
import atexit
import functools
import gc
import os
import re
import warnings
from collections.abc import Callable
from configparser import InterpolationError
from typing import Any, NoReturn

import luigi
from luigi import interface, rpc
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config
from luigi.parameter import UnconsumedParameterWarning
from luigi.task_register import Register

from gbif_webdataset.errors import DatasetError, did_you_mean, escape_text, option_text
from gbif_webdataset.obtain.credentials import take_from_environment
from tasks.framework import memory, settings
from tasks.framework.settings import SettingsError

USAGE = "gbif-webdataset TASK --dwca ARCHIVE.zip [--output DIR] [--chunks N] [--TASK-parameter VALUE ...]"
CONNECT_SECONDS = 5.0
# Keys of [core] that Luigi reads without a parameter.
CORE_KEYS = {"rpc_connect_timeout", "rpc_log_retries", "rpc_retry_attempts", "rpc_retry_wait"}

_hooks: list[Callable[[], None]] = []


class CommandLine(argparse.ArgumentParser):
    """Luigi's command line. Options are not abbreviated: `--chunk` does not mean `--chunks`."""

    def error(self, message: str) -> NoReturn:
        """Exit with one sentence in place of the usage of every parameter."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown:
            options = [name for name in self._option_string_actions if name.startswith("--")]
            remedy = did_you_mean(unknown[0].partition("=")[0], options)
            remedy = remedy or "see --help for the parameters of this task, --help-all for those of all tasks"
            message = f"{unknown[0]}: there is no such parameter; {remedy}"
        if option := re.fullmatch(r"argument (\S+): expected one argument", message):
            message = f"{option[1]}: the value is missing; write {option[1]}=VALUE"
        self.exit(2, f"ERROR: {escape_text(message)}\n")


def install(*hooks: Callable[[], None]) -> None:
    """Have Luigi build its command line parser as this module does. `hooks` install what a run needs.

    This alone happens when a Python script imports the tasks. Whatever else changes in the process (log filter,
    excepthook, signals, Luigi's settings) waits for the first command line: `from tasks import ReadArchive` must not
    change how the script's own errors, warnings and Luigi tasks behave.
    """
    _hooks[:] = hooks
    build_parser: Callable[..., argparse.ArgumentParser] = CmdlineParser._build_parser

    @functools.cache
    def build_once(_: int, *arguments: Any, **options: Any) -> argparse.ArgumentParser:
        parser = build_parser(*arguments, **options)
        parser.__class__, parser.allow_abbrev, parser.usage = CommandLine, False, USAGE
        parser.epilog = f"The tasks are {', '.join(_public_tasks())}."
        for action in parser._actions:
            if action.option_strings and action.nargs != 0:
                action.metavar = "VALUE"
            if action.dest == "root_task":
                action.type, action.metavar, action.help = _check_task, "TASK", "name of the task to run"
            elif action.dest.startswith("core_"):
                action.type = functools.partial(_check_core_option, action.dest.removeprefix("core_"))
        return parser

    def build(*arguments: Any, **options: Any) -> argparse.ArgumentParser:
        begin_run()
        # Luigi builds each parser three times, with several hundred options. It depends on the tasks defined so far.
        return build_once(len(Register._reg), *arguments, **options)

    CmdlineParser._build_parser = staticmethod(build)  # type: ignore[method-assign]


@functools.cache
def begin_run() -> None:
    """Apply the settings and install the hooks, once in the process of a command line and in each worker process.

    Raises SettingsError for a mistake in the settings files.
    """
    memory.share_heap()
    take_from_environment()
    # `--local-scheduler false` overrides the settings; Luigi's own flag can only be given or not.
    vars(interface.core)["local_scheduler"].parsing = luigi.BoolParameter.EXPLICIT_PARSING
    config = get_config()
    for section, key, value in settings.read_defaults():
        if not config.has_option(section, key):
            config.set(section, key, value)
    _check_settings()
    warnings.simplefilter("ignore", UnconsumedParameterWarning)  # the line above reports them with file and line
    interface._WorkerSchedulerFactory.create_remote_scheduler = _connect  # type: ignore[method-assign]
    atexit.register(gc.disable)  # otherwise Python first searches all objects for cycles, which takes 50 ms
    for hook in _hooks:
        hook()


def _check_settings() -> None:
    sections = _registered()
    parameters = {name: dict(found.get_params()) for name, found in sections.items()}
    keys = {name: {*parameters[name], *getattr(found, "ignore_unconsumed", ())} for name, found in sections.items()}
    keys["core"].update(CORE_KEYS)
    for parameter in (parameter for found in parameters.values() for parameter in found.values()):
        if old := parameter._config_path:
            keys.setdefault(old["section"], set()).add(old["name"].replace("-", "_"))
    settings.check_names(keys)
    for setting in filter(lambda one: one.key, settings.read_settings()):
        found = sections.get(setting.section)
        of_luigi = found is not None and found.__module__.startswith("luigi.")
        _check_value(setting, parameters[setting.section].get(setting.key) if of_luigi else None)


def _check_value(setting: settings.Setting, parameter: luigi.Parameter[Any] | None) -> None:
    try:
        value = get_config().get(setting.section, setting.key)
    except InterpolationError:
        raise _interpolation_error(setting) from None
    if parameter is not None and (expected := _find_violation(setting.key, parameter, value)):
        place = f"{setting.place}, {setting.key} = {value}"
        raise SettingsError.at(place, "not a valid value", f"give {expected}")


def _interpolation_error(setting: settings.Setting) -> SettingsError:
    raw = get_config().get(setting.section, setting.key, raw=True)
    for variable in re.findall(r"\$\{([^}]+)\}", raw):
        if variable not in os.environ:
            problem = f"there is no environment variable {variable}"
            return SettingsError.at(f"{setting.place}, {setting.key}", problem, "set it before the run")
    remedy = f"write {setting.key} = {re.sub('%+', '%%', raw)}"
    return SettingsError.at(f"{setting.place}, {setting.key}", "a % is written %% in this file", remedy)


def _find_violation(name: str, parameter: luigi.Parameter[Any], text: str) -> str:
    """Return what the value of a parameter of Luigi has to be; an empty text if the value is valid."""
    try:
        value = parameter.parse(text)
    except ValueError:
        value = None
    if isinstance(parameter, luigi.IntParameter):
        minimum = 1 if name == "workers" else 0
        return "" if value is not None and value >= minimum else f"a whole number from {minimum}"
    if isinstance(parameter, luigi.BoolParameter):
        return "" if value is not None else "true or false"
    if isinstance(parameter, luigi.ChoiceParameter):
        return "" if value is not None else f"one of {', '.join(sorted(parameter._choices))}"
    return ""


def _check_core_option(name: str, text: str) -> str:
    if expected := _find_violation(name, vars(interface.core)[name], text):
        option = f"--{name.replace('_', '-')}"
        after = ", after the name of the task" if expected == "true or false" else ""
        CommandLine().error(f"{option_text(option, text)}: not a valid value; give {expected}{after}")
    return text


def _check_task(name: str) -> str:
    if name not in _registered():
        remedy = did_you_mean(name, _public_tasks()) or f"the tasks are {', '.join(_public_tasks())}"
        CommandLine().error(f"{name}: there is no such task; {remedy}")
    return name


def _public_tasks() -> list[str]:
    ours = {name: task for name, task in _registered().items() if task.__module__.startswith("tasks.")}
    return [name for name, task in ours.items() if not task.__subclasses__() and not issubclass(task, luigi.Config)]


def _registered() -> dict[str, type[luigi.Task]]:
    return {name: found for name, found in Register._get_reg().items() if found is not Register.AMBIGUOUS_CLASS}


def _connect(factory: object, url: str) -> rpc.RemoteScheduler:
    """Connect to a central scheduler. Luigi itself would retry for a minute and print a traceback each time."""
    scheduler = rpc.RemoteScheduler(url)
    fetcher: Any = scheduler._fetcher
    try:
        fetcher.fetch(f"{url.rstrip('/')}/api/is_pause_enabled", {"data": "{}"}, CONNECT_SECONDS)
    except fetcher.raises:
        raise DatasetError.at(
            url, "no Luigi scheduler answers there", "start one with `make scheduler`, or run without SCHEDULER"
        ) from None
    return scheduler
