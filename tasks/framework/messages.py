"""One sentence for an error that the user can mend, where Luigi would print a traceback or a page of usage."""

import argparse
import difflib
import logging
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import core
from luigi.parameter import UnconsumedParameterWarning
from luigi.task_register import Register

from gbif_webdataset.errors import sentence

LOGGER = logging.getLogger("luigi-interface")
USAGE = "luigi --module tasks TASK --dwca ARCHIVE.zip [--output DIR] [--chunks N] [--TASK-parameter VALUE ...]"


def explanation(error: BaseException) -> str | None:
    """The sentence for an error, or for the one that it was raised from; None for a defect of ours."""
    told = sentence(error)
    if told is None and error.__cause__ is not None:
        return explanation(error.__cause__)
    return told


class OneSentence(logging.Filter):
    """Takes the traceback from the log record of an error that has a sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; never drop it."""
        error = record.exc_info[1] if record.exc_info else None
        told = explanation(error) if error else None
        if told is None and error is not None and type(error).__module__ == "luigi.parameter":
            told = str(error)
        if told is not None:
            task = record.args[-1] if isinstance(record.args, tuple) and record.args else None
            label = f"{task.label}: " if hasattr(task, "label") else ""
            record.msg, record.args, record.exc_info = f"{label}{told}", (), None
        return True


class CommandLine(argparse.ArgumentParser):
    """Luigi's command line, read to the letter: `--chunk` is no short form of `--chunks`."""

    def error(self, message: str) -> NoReturn:
        """End with one sentence in place of the usage of every parameter."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], known, 3, 0.8)
            hint = f"did you mean {' or '.join(near)}?" if near else "see --help for this task's, --help-all for all"
            message = f"there is no parameter {unknown[0]}; {hint}"
        self.exit(2, f"ERROR: {message}\n")


def install() -> None:
    """Have Luigi speak in sentences."""
    if any(isinstance(present, OneSentence) for present in LOGGER.filters):
        return
    LOGGER.addFilter(OneSentence())
    warnings.simplefilter("error", UnconsumedParameterWarning)  # a misspelt setting would do nothing, in silence
    # `--local-scheduler false` overrules luigi.cfg; Luigi's own flag can only be given or not.
    vars(core)["local_scheduler"].parsing = luigi.BoolParameter.EXPLICIT_PARSING
    luigis_own: Callable[..., argparse.ArgumentParser] = CmdlineParser._build_parser

    def build(*arguments: Any, **options: Any) -> argparse.ArgumentParser:
        parser = luigis_own(*arguments, **options)
        parser.__class__, parser.allow_abbrev, parser.usage = CommandLine, False, USAGE
        for action in parser._actions:
            action.type = {"root_task": _task, "local_scheduler": _truth}.get(action.dest, action.type)
        return parser

    CmdlineParser._build_parser = staticmethod(build)  # type: ignore[method-assign]
    hook = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("Stopped; the same command goes on from here.", file=sys.stderr)
        else:
            hook(kind, error, trace)

    sys.excepthook = end


def _task(name: str) -> str:
    known: dict[str, type] = Register._get_reg()  # type: ignore[no-untyped-call]
    if name not in known:
        ours = {other: task for other, task in known.items() if task.__module__.startswith("tasks.")}
        no_tasks = [task for task in ours.values() if task.__subclasses__() or issubclass(task, luigi.Config)]
        public = ", ".join(other for other, task in ours.items() if task not in no_tasks)
        CommandLine().error(f"there is no task {name}; the tasks are {public}")
    return name


def _truth(word: str) -> str:
    if word not in ("true", "false"):
        CommandLine().error(f"--local-scheduler takes true or false, not {word!r}; put it behind the task's name")
    return word
